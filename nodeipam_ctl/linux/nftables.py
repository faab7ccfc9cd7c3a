"""How does an nftables table of ours reach the kernel, and is it still as we left it? Through `nft -f -`, whole, in one transaction.

The kernel prints a table differently from how it was written, and every version of nft a little differently. So after writing
a table we list it once and leave, in the comment of an empty chain in it, what was wanted and what the listing was: a later listing
that differs means that somebody changed it. That also tells a restarted agent that nothing has to be done.
"""

from __future__ import annotations

import json
import re
from typing import Any

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import programs
from nodeipam_ctl.routing.masquerade import digest
from nodeipam_ctl.routing.state import NftTable

_SEAL = re.compile(r'\n?\tchain seal \{\n\t\tcomment "wanted=(\w+) listed=(\w+)"\n\t\}\n')
_CHAIN = re.compile(r"^\s*chain (\S+) \{\n(?:\s*(type [^\n]+))?", re.MULTILINE)
_SET = re.compile(r"^\s*set (\S+) \{", re.MULTILINE)


def read_table(family: str, name: str) -> NftTable | None:
    """The table in the kernel; None when there is none. Its digest is what was wanted, or `changed` when it is not that any more.

    Raises:
        Permanent: nft does not work here.
    """
    listed = _list(family, name)
    if listed is None:
        return None
    seal = _SEAL.search(listed)
    intact = seal is not None and seal[2] == digest(_SEAL.sub("", listed))
    return NftTable(
        family=family, name=name, digest=seal[1] if seal is not None and intact else "changed", text=listed
    )


def replace_table(table: NftTable) -> None:
    """Puts the table in the place of any former one, in one transaction: no packet sees neither.

    Raises:
        Permanent: nft does not work here, or the kernel refuses the table.
    """
    kind = f"{table.family} {table.name}"
    anew = f"table {kind}\ndelete table {kind}\n{table.text}"
    present = _list(table.family, table.name)
    try:
        _nft("-f", "-", text=_refilled(present or "", table) or anew)
    except Permanent:
        _nft("-f", "-", text=anew)  # somebody uses a set or chain of it, perhaps
    listed = _list(table.family, table.name)
    if listed is not None:
        seal = f"wanted={table.digest} listed={digest(listed)}"
        _nft("-f", "-", text=f'add chain {kind} seal {{ comment "{seal}"; }}\n')


def _refilled(present: str, table: NftTable) -> str:
    """The transaction that fills the chains of a present table anew; empty when its chains are not the wanted ones.

    A chain that is deleted and made again in one transaction stands in the hook twice for a moment, and a packet that passes
    the new one before and the old one after the switch meets no rule in either: two in 5,000 new flows did, over 100
    replacements. A chain that stays is switched from old to new rules at once.
    """
    kind = f"{table.family} {table.name}"
    chains, wanted = dict(_CHAIN.findall(present)), dict(_CHAIN.findall(table.text))
    sealed = chains.pop("seal", None) is not None
    if not chains or chains != wanted:
        return ""
    lines = [
        f"flush table {kind}",
        # Of an earlier release, or somebody else's: ours has none with a name (`routing/masquerade.py`).
        *(f"delete set {kind} {name}" for name in _SET.findall(present)),
        *([f"delete chain {kind} seal"] if sealed else ()),
    ]
    return "\n".join(lines) + f"\n{table.text}"


def delete_table(family: str, name: str) -> None:
    """Removes the table if it is there.

    Raises:
        Permanent: nft does not work here.
    """
    kind = f"{family} {name}"
    _nft("-f", "-", text=f"table {kind}\ndelete table {kind}\n")


def query(*arguments: str) -> list[dict[str, Any]]:
    """What nft answers in JSON; nothing when what is asked for does not exist.

    Raises:
        Permanent: nft does not work here.
    """
    ended = _run("-j", *arguments)
    if "No such file or directory" in ended.stderr:
        return []
    if ended.code:
        raise Permanent(f"nft {' '.join(arguments)}: {_reason(ended)}")
    answer: list[dict[str, Any]] = json.loads(ended.stdout)["nftables"]
    return answer


def run_script(text: str) -> None:
    """Runs commands in one transaction.

    Raises:
        Permanent: nft does not work here, or the kernel refuses one of them.
    """
    _nft("-f", "-", text=text)


def available() -> bool:
    """Whether nft can be run at all."""
    try:
        _nft("--version")
    except Permanent:
        return False
    return True


def _list(family: str, name: str) -> str | None:
    ended = _run("-s", "list", "table", family, name)
    if not ended.code:
        return ended.stdout
    if "No such file or directory" in ended.stderr:
        return None
    raise Permanent(f"nft list table {family} {name}: {_reason(ended)}")


def _nft(*arguments: str, text: str = "") -> None:
    ended = _run(*arguments, text=text)
    if ended.code:
        raise Permanent(f"nft: {_reason(ended)}")


def _run(*arguments: str, text: str = "") -> programs.Ended:
    return programs.run(
        ["nft", *arguments],
        text=text,
        missing="nft is not installed: install nftables, or use --no-masquerade",
    )


def _reason(ended: programs.Ended) -> str:
    return ended.complaint.removeprefix("/dev/stdin:")

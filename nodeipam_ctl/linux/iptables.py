"""How are rules of iptables read and changed, of either kind? As the programs print them with `-S`, and through their `-restore`.

A table is looked at only when it exists already: the legacy programs would make it, and a new empty table costs every packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import nftables, programs

LEGACY = {
    "iptables-legacy": ("ip", Path("/proc/self/net/ip_tables_names")),
    "ip6tables-legacy": ("ip6", Path("/proc/self/net/ip6_tables_names")),
}
"""The programs for the kernel's older tables: which family they are for, and where the kernel names its tables."""

_DENIED = "permission denied: iptables needs CAP_NET_RAW besides CAP_NET_ADMIN"
_OF_NFT = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}


def legacy_table_exists(tool: str, table: str) -> bool:
    """Whether the kernel has such a table of legacy iptables in this network namespace."""
    _, names = LEGACY[tool]
    try:
        return table in names.read_text(encoding="ascii").split()
    except OSError:
        return False  # a kernel without such tables


def tables(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Tools and tables, for every table of one of the names that exists, of either kind and family.

    Raises:
        Permanent: nft does not work here.
    """
    wanted = tuple(names)
    listed = [entry["table"] for entry in nftables.query("list", "tables") if "table" in entry]
    of_nft = [
        (_OF_NFT[table["family"]], table["name"])
        for table in listed
        if table["family"] in _OF_NFT and table["name"] in wanted
    ]
    of_legacy = [(tool, name) for tool in LEGACY for name in wanted if legacy_table_exists(tool, name)]
    return (*of_nft, *of_legacy)


def saved(tool: str, table: str = "filter") -> list[str]:
    """The table's policies, chains and rules, one a line.

    Raises:
        Permanent: the program is missing or fails.
    """
    return _run([tool, "-w", "-t", table, "-S"]).splitlines()


def restore(tool: str, lines: Iterable[str], table: str = "filter") -> None:
    """Runs the lines on the table in one transaction; nothing else of the table is touched.

    Raises:
        Permanent: the program is missing, or the table does not take them.
    """
    text = "\n".join((f"*{table}", *lines, "COMMIT", ""))
    _run([f"{tool}-restore", "--noflush", "-w"], text)


def _run(command: list[str], text: str = "") -> str:
    name = command[0]
    missing = f"{name} is not installed, but its tables are in use: install iptables"
    ended = programs.run(command, text=text, missing=missing)
    if ended.code:
        denied = "Permission denied" in ended.stderr
        raise Permanent(f"{name}: {_DENIED if denied else ended.complaint}")
    return ended.stdout

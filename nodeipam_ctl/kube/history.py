"""Is this still the server we knew? After a lost connection it may be another, or one whose data were set back.

A watch resumed from a version in the server's future brings neither an error nor what we missed. So the first request after a
lost connection is a list of one object, not older than what we know: a server that is behind us refuses it. One that was set
back and has overtaken us since does not, so we ask for the object that changed last before our version: whenever our kind lost
anything, it lost that change. One reader's contradiction has all of them list again, which is always safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from nodeipam_ctl.errors import Expired, Invalid
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.wire.envelope import decode_list, decode_metadata


def version_of(raw: bytes | Raw) -> str:
    """An object's resourceVersion; empty when it cannot be read."""
    metadata = decode_metadata(raw)
    return metadata.resourceVersion if metadata is not None else ""


def is_behind(version: str, known: str) -> bool:
    """Whether a version is older than one we know; versions of one resource compare as numbers (KEP-5504)."""
    return version.isdecimal() and known.isdecimal() and int(version) < int(known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """The latest change that we know of.

    Attributes:
        name: of the object.
        version: its resourceVersion then.
        gone: it was deleted, or left what our selectors choose.
    """

    name: str
    version: str
    gone: bool = False


def latest(known: Last | None, raw: Raw) -> Last | None:
    """The later change of one that is known and an object of a list, which are in the order of their names."""
    metadata = decode_metadata(raw)
    if metadata is None or not metadata.name:
        return known
    if known is not None and not is_behind(known.version, metadata.resourceVersion):
        return known
    return Last(name=metadata.name, version=metadata.resourceVersion)


async def recognise(
    client: Client, path: str, *, version: str, last: Last | None, fits: Callable[[Raw], bool]
) -> None:
    """Asks a server that is back whether it is the one we knew: for a list of one object, not older than `version`.

    Args:
        client: to ask through.
        path: of that list, with its query, which chooses the object that changed last if there is one.
        version: the resourceVersion that our store is at.
        last: the latest change up to then; None when we never saw an object.
        fits: whether an object that did not change since `version` is what our store has.

    Raises:
        Expired: it is behind us, shows other objects, or cannot tell; `client.reachability` knows it then as well.
    """
    try:
        found = ""
        page = decode_list(await client.get(path))
        if not page.items and last is not None and not last.gone:
            # Deleted since, or never created in this history: only a list tells.
            found = f"{last.name} of version {last.version} is not there"
        for raw in page.items:
            now = version_of(raw)
            if is_behind(version, now):
                continue  # what changed after our version is no contradiction
            if (last is not None and is_behind(now, last.version)) or not fits(raw):
                found = f"an object of version {now} is not what it was at our {version}"
        if found:
            raise Expired(f"LIST {path.partition('?')[0]}: the server came back with other data: {found}")
    except Invalid as exc:  # servers before 1.19 do not know the question
        client.reachability.replaced()
        raise Expired(str(exc)) from exc
    except Expired:
        client.reachability.replaced()
        raise

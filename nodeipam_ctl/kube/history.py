"""Is this still the server we knew? After a lost connection it may be another, or one whose data were set back.

A watch resumed from a version in the server's future brings neither an error nor what we missed. So the first request after a
lost connection is a list of one object, not older than what we know: a server that is behind us refuses it, and what it
shows of one that has overtaken us must agree with our store. One reader's contradiction has all of them list again, which is
always safe.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw

from nodeipam_ctl.errors import Expired, Invalid
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.wire.envelope import decode_list, decode_metadata


def version_of(raw: Raw) -> str:
    """An object's resourceVersion; empty when it cannot be read."""
    metadata = decode_metadata(raw)
    return metadata.resourceVersion if metadata is not None else ""


def is_behind(version: str, known: str) -> bool:
    """Whether a version is older than one we know; versions of one resource compare as numbers (KEP-5504)."""
    return version.isdecimal() and known.isdecimal() and int(version) < int(known)


async def recognise(
    client: Client, path: str, *, version: str, knows_any: bool, fits: Callable[[Raw], bool]
) -> None:
    """Asks a server that is back whether it is the one we knew: for a list of one object, not older than `version`.

    Args:
        client: to ask through.
        path: of that list, with its query.
        version: the resourceVersion that our store is at.
        knows_any: whether there is anything in our store.
        fits: whether an object that did not change since `version` is what our store has.

    Raises:
        Expired: it is behind us, shows other objects, or cannot tell; `client.reachability` knows it then as well.
    """
    try:
        page = decode_list(await client.get(path))
        found = "it has no objects" if knows_any and not page.items else ""
        for raw in page.items:
            # What changed after our version is no contradiction.
            if not is_behind(version, version_of(raw)) and not fits(raw):
                found = f"an object of version {version_of(raw)} is not what it was at our {version}"
        if found:
            raise Expired(f"LIST {path.partition('?')[0]}: the server came back with other data: {found}")
    except Invalid as exc:  # servers before 1.19 do not know the question
        client.reachability.replaced()
        raise Expired(str(exc)) from exc
    except Expired:
        client.reachability.replaced()
        raise

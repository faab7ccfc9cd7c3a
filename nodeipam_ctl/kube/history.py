"""Is this still the server we knew? After a lost connection it may be another, or one whose data were set back.

A watch resumed from a version in the server's future brings neither an error nor what we missed. So the first request after a
lost connection is a list of one object, not older than what we know: a server that is behind us refuses it. One that was set
back and has overtaken us since does not, so we ask for the object that changed last before our version: whenever our kind lost
anything, it lost that change. If that object has changed again, the server is asked for what it was at our version, which takes
the revision from etcd; once etcd has compacted it, we list. One reader's contradiction has all of them list again, which is always safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import Raw

from nodeipam_ctl.errors import Expired, Invalid, Permanent
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
    client: Client,
    question: Callable[[str], str],
    *,
    version: str,
    last: Last | None,
    fits: Callable[[Raw], bool],
) -> None:
    """Asks a server that is back whether it is the one we knew: for a list of one object, not older than `version`.

    Where that object has changed since, it is asked for once more, as it was at exactly `version`.

    Args:
        client: to ask through.
        question: the path of that list for a `resourceVersionMatch`; it chooses the object that changed last if there is one.
        version: the resourceVersion that our store is at.
        last: the latest change up to then; None when we never saw an object.
        fits: whether an object that did not change since `version` is what our store has.

    Raises:
        Expired: it is behind us or shows other objects, and `client.reachability` knows it then as well; or it cannot tell.
    """
    path = question("NotOlderThan")
    try:
        now = decode_list(await client.get(path)).items
    except Invalid as exc:  # servers before 1.19 do not know the question
        client.reachability.replaced()
        raise Expired(str(exc)) from exc
    except Expired:
        client.reachability.replaced()
        raise
    found = ""
    if not now and last is not None and not last.gone:
        # Deleted since, or never created in this history: only a list tells.
        found = f"{last.name} of version {last.version} is not there"
    elif now and not any(is_behind(version, version_of(raw)) for raw in now):
        found = _contradiction(now, version, last, fits)
    elif last is not None or now:
        # What changed after our version is no contradiction and no proof: it may have changed after the loss as well.
        try:
            then = decode_list(await client.get(question("Exact"))).items
        except Permanent as exc:
            raise Expired(f"{exc}; what was there at our {version} is not known any more") from exc
        found = _contradiction(then, version, last, fits)
    if found:
        client.reachability.replaced()
        raise Expired(f"LIST {path.partition('?')[0]}: the server came back with other data: {found}")


def _contradiction(then: Sequence[Raw], version: str, last: Last | None, fits: Callable[[Raw], bool]) -> str:
    """What is not as we knew it in the answer as it was at our version; "" when all is."""
    if not then and last is not None and not last.gone:
        return f"{last.name} was not there at our {version}"
    for raw in then:
        now = version_of(raw)
        moved = last is not None and (is_behind(now, last.version) or is_behind(last.version, now))
        if moved or (last is not None and last.gone) or not fits(raw):
            return f"an object of version {now} is not what it was at our {version}"
    return ""

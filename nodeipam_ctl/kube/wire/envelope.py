"""What is around an object? List pages, watch events, metadata, times; and a reader that survives wrong types."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from nodeipam_ctl.errors import Transient
from nodeipam_ctl.model import Finding, Severity

T = TypeVar("T")

BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for content that is not what we asked for (ValidationError is a DecodeError)."""


class Metadata(msgspec.Struct, gc=False):
    """The fields of meta/v1 ObjectMeta that somebody here reads."""

    name: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - here and below: the API's spelling
    generation: int = 0
    creationTimestamp: str | None = None  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An object of which only the metadata could be understood; it stands in a store where its value would stand."""

    name: str
    uid: str
    resource_version: str
    finding: Finding
    generation: int = 0
    terminating: bool = False
    finalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a chunked list; `more` is the continue token, empty on the last page."""

    items: tuple[Raw, ...]
    resource_version: str
    more: str


class _ListMeta(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: Raw


class _OnlyMetadata(msgspec.Struct):
    metadata: Metadata


_list_decoder = msgspec.json.Decoder(_List)
_event_decoder = msgspec.json.Decoder(_Event)
_metadata_decoder = msgspec.json.Decoder(_OnlyMetadata)


def decode_list(body: bytes) -> ListPage:
    """The items of a list page, still undecoded, so that one bad item spoils nothing.

    Raises:
        Transient: the page as a whole is not a list (a proxy's error page, a cut body).
    """
    try:
        page = _list_decoder.decode(body)
    except BAD_JSON as exc:
        raise Transient(f"the API server's list is not a list: {exc}") from exc
    return ListPage(
        items=tuple(page.items or ()),
        resource_version=page.metadata.resourceVersion,
        more=page.metadata.continue_,
    )


def decode_event(line: bytes) -> tuple[str, Raw]:
    """Type and object of one line of a watch.

    Raises:
        Transient: not a watch event; the stream cannot be trusted any further.
    """
    try:
        event = _event_decoder.decode(line)
    except BAD_JSON as exc:
        raise Transient(f"the API server's watch sent what is no event: {exc}") from exc
    return event.type, event.object


def decode_metadata(raw: bytes | Raw) -> Metadata | None:
    """The metadata of any object, or None when even that cannot be understood."""
    try:
        return _metadata_decoder.decode(raw).metadata
    except BAD_JSON:
        return lenient_metadata(Lenient(raw, "object"))


def seconds(time: str | None) -> float:
    """Seconds since the epoch of an RFC 3339 time (meta/v1 Time and MicroTime); 0 for none or nonsense."""
    if not time:
        return 0.0
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return 0.0


_LAST_S = 253_402_300_799  # of the year 9999


def rfc3339(time_s: float) -> str:
    """meta/v1 Time: whole seconds, UTC; times that it cannot say are 1970's first or 9999's last second."""
    return datetime.fromtimestamp(min(max(time_s, 0.0), _LAST_S), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(time_s: float) -> str:
    """meta/v1 MicroTime: six digits after the point, UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Lenient:
    """Reads an object field by field; what has the wrong type is named in `problems` and read as its default.

    The slow road: taken only for an object on which the strict decoder gave up.
    """

    def __init__(self, raw: bytes | Raw, where: str, problems: list[str] | None = None) -> None:
        self.problems = [] if problems is None else problems
        self._where = where
        self._fields: dict[str, Raw] = {}
        try:
            self._fields = msgspec.json.decode(raw, type=dict[str, Raw])
        except BAD_JSON:
            self.problems.append(f"{where} is not an object")

    def get(self, name: str, kind: type[T], default: T) -> T:
        """One field as `kind`, or the default."""
        raw = self._fields.get(name)
        if raw is None or bytes(raw) == b"null":
            return default
        try:
            return msgspec.json.decode(raw, type=kind)
        except BAD_JSON as exc:
            self.problems.append(f"{self._where}.{name}: {str(exc).split(' - at')[0]}")
            return default

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        raw = self._fields.get(name)
        return raw is not None and bytes(raw) != b"null"

    def inside(self, name: str) -> Lenient:
        """The object in a field; an empty one when the field is absent."""
        raw = self._fields.get(name)
        present = raw if raw is not None and bytes(raw) != b"null" else b"{}"
        return Lenient(present, f"{self._where}.{name}", self.problems)

    def each(self, name: str, kind: type[T]) -> list[T]:
        """The entries of a list that are of `kind`; the others are problems."""
        good: list[T] = []
        for index, raw in enumerate(self.get(name, list[Raw], [])):
            try:
                good.append(msgspec.json.decode(raw, type=kind))
            except BAD_JSON as exc:
                self.problems.append(f"{self._where}.{name}[{index}]: {str(exc).split(' - at')[0]}")
        return good

    def mapping(self, name: str) -> dict[str, str]:
        """The text entries of a map; the others are problems."""
        good: dict[str, str] = {}
        for key, value in self.get(name, dict[str, Any], {}).items():
            if isinstance(value, str):
                good[key] = value
            else:
                self.problems.append(f"{self._where}.{name}[{key!r}]: not text")
        return good


def lenient_metadata(whole: Lenient) -> Metadata | None:
    """Metadata field by field; None without a name, for such an object cannot be spoken about."""
    fields = whole.inside("metadata")
    metadata = Metadata(
        name=fields.get("name", str, ""),
        uid=fields.get("uid", str, ""),
        resourceVersion=fields.get("resourceVersion", str, ""),
        generation=fields.get("generation", int, 0),
        creationTimestamp=fields.get("creationTimestamp", str, "") or None,
        # Whatever stands there: the object is being deleted.
        deletionTimestamp=fields.get("deletionTimestamp", str, "unreadable")
        if fields.has("deletionTimestamp")
        else None,
        labels=fields.mapping("labels"),
        annotations=fields.mapping("annotations"),
        finalizers=fields.each("finalizers", str),
    )
    return metadata if metadata.name else None


def reason_of(exc: Exception) -> str:
    """What is wrong, the field first: `spec.ipv4.cidrs[0]: Expected `str`, got `int``."""
    reason, _, where = str(exc).partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return f"{field}: {reason}" if field else reason


def unreadable(
    kind: str, metadata: Metadata, message: str, *, name: str | None = None, remedy: str | None = None
) -> Unreadable:
    """The stand-in for an object that makes no sense."""
    shown = name or metadata.name
    return Unreadable(
        name=shown,
        uid=metadata.uid,
        resource_version=metadata.resourceVersion,
        generation=metadata.generation,
        terminating=metadata.deletionTimestamp is not None,
        finalizers=tuple(metadata.finalizers or ()),
        finding=Finding(
            severity=Severity.ERROR,
            code=f"Unreadable{kind}",
            subject=f"{kind.lower()}/{shown}",
            message=message,
            remedy=remedy
            or f"correct it with kubectl edit {kind.lower()} {metadata.name}; until then it is not used",
        ),
    )

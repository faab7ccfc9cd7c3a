"""What does a write ask for, and which parts of an object may it touch?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nodeipam_ctl.demo.apiserver import typed, wire
from nodeipam_ctl.demo.apiserver.builtin_shapes import shape_of
from nodeipam_ctl.demo.apiserver.errors import Json, bad_request
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """What the query string of a write says.

    Attributes:
        manager: Field manager; the User-Agent's name when the client gave none.
        manager_given: The client named it (server-side apply insists).
        dry_run: Do everything but the write.
        validation: What happens to unknown fields: Ignore, Warn, Strict.
        force: Server-side apply takes fields from their owners.
    """

    manager: str
    manager_given: bool = False
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to a write."""

    status: int
    raw: bytes
    warnings: tuple[str, ...] = ()


def confine(resource: Resource, subresource: str, old: Json, new: Json) -> None:
    """Let a write change only what its path may change: status apart from all the rest."""
    if subresource == "status":
        status = new.get("status")
        meta = new["metadata"]
        if resource.custom:
            entries = meta.get("managedFields")
            meta = dict(old["metadata"])
            if entries is not None:
                meta["managedFields"] = entries
        new.clear()
        new.update(old)
        new["metadata"] = meta
        if status is not None:
            new["status"] = status
        else:
            new.pop("status", None)
    elif resource.has_status and new.get("status") is not old.get("status"):
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)


def check_kind(resource: Resource, obj: Json) -> None:
    """Refuse a body of another kind or version, or with fields of the wrong type.

    Raises:
        ApiError: 400.
    """
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind == resource.kind and version == resource.group_version:
        typed.check(resource, obj)
        return
    if not kind or not version:
        missing = "Kind" if not kind else "apiVersion"
        raise bad_request(f"Object '{missing}' is missing in '{wire.encode(obj).decode()}'")
    if resource.custom or version != resource.group_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.group_version})"
            if version != resource.group_version
            else f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})"
        )
    package = resource.group.partition(".")[0] or "core"
    raise bad_request(
        f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}: converting '
        f"({resource.version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
    )


def present(resource: Resource, obj: Json) -> None:
    """Turn an object stored in another version into `resource`'s, in place."""
    if resource.convert is not None:
        resource.convert(obj)
    else:
        obj["apiVersion"] = resource.group_version


def lists_of(resource: Resource) -> Shape:
    """How the lists of this resource merge."""
    return resource.custom.shape if resource.custom else shape_of(resource.kind)


_NO_META: Final[Json] = {}


def meta_of(obj: Json) -> Json:
    """The metadata of a request body, empty when there is none.

    Raises:
        ApiError: 400 when it is no object.
    """
    meta = obj.get("metadata", _NO_META)
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise bad_request("json: cannot unmarshal into Go struct field ObjectMeta.metadata")
    return meta


def set_entries(obj: Json, entries: list[Json]) -> None:
    """Write managedFields, or leave them out when nobody owns anything."""
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def desired_changed(resource: Resource, old: Json, new: Json) -> bool:
    """Does the generation go up: has anything but metadata (and a status of its own) changed?"""
    ignored = {"metadata", "status"} if resource.has_status else {"metadata"}
    return any(old.get(key) != new.get(key) for key in old.keys() | new.keys() if key not in ignored)

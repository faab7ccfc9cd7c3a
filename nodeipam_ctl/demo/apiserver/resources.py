"""Which resources does the server serve, and by which rules? The registry; the built-in rows stand in `builtin`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nodeipam_ctl.demo.apiserver.errors import Cause, Json, qualified

if TYPE_CHECKING:
    from nodeipam_ctl.demo.apiserver.crds import CustomKind

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
METADATA_FIELDS: Final = frozenset({"metadata.name", "metadata.namespace"})


def _nothing(_obj: Json) -> None:
    return None


def _no_causes(_new: Json, _old: Json | None) -> list[Cause]:
    return []


def _no_fields(_obj: Json) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one kind does beyond the generic object life cycle. Every function may change the object it is given.

    Attributes:
        check: Decoding errors (raises ApiError 400).
        default: Defaults the writer comes to own in managedFields.
        admit: What admission adds on create; nobody owns it.
        fill: Zero values that Go serialises although nobody set them.
        validate: Causes of a 422 for (new, old or None).
        fields: Values for field selectors beyond metadata.name and metadata.namespace.
        field_names: The names `fields` may return.
        name_rule: `subdomain` (RFC 1123), `label`, or `path` (anything without / and %).
        keeps_status_on_create: False drops the status a POST carries.
        unconditional_update: A PUT may omit resourceVersion.
        create_on_update: A PUT to a missing name creates.
        generation: metadata.generation counts changes of the desired state.
    """

    check: Callable[[Json], None] = _nothing
    default: Callable[[Json], None] = _nothing
    admit: Callable[[Json], None] = _nothing
    fill: Callable[[Json], None] = _nothing
    validate: Callable[[Json, Json | None], list[Cause]] = _no_causes
    fields: Callable[[Json], Mapping[str, str] | None] = _no_fields
    field_names: frozenset[str] = frozenset()
    name_rule: str = "subdomain"
    keeps_status_on_create: bool = False
    unconditional_update: bool = True
    create_on_update: bool = False
    generation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """A subresource as discovery lists it."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource in one version: its names, its verbs, its rules.

    Attributes:
        bucket: Where the store keeps its objects; versions of one resource share it.
        convert: Turns an object stored in another version of this resource into this one (in place).
        custom: The schema and columns of a custom resource; None for the built-in ones.
        virtual: Answered by code, never stored (SelfSubjectReview and the like).
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    rules: Rules = field(default_factory=Rules)
    bucket: str = ""
    list_kind: str = ""
    convert: Callable[[Json], None] | None = None
    custom: CustomKind | None = None
    virtual: bool = False
    # Derived once, because every request needs them.
    group_version: str = field(init=False)
    head: bytes = field(init=False)
    has_status: bool = field(init=False)

    def __post_init__(self) -> None:
        gv = f"{self.group}/{self.version}" if self.group else self.version
        set_ = object.__setattr__
        set_(self, "group_version", gv)
        set_(self, "head", f'{{"kind":"{self.kind}","apiVersion":"{gv}",'.encode())
        set_(self, "has_status", any(sub.name == "status" for sub in self.subresources))
        if not self.bucket:
            set_(self, "bucket", self.qualified)
        if not self.list_kind:
            set_(self, "list_kind", self.kind + "List")

    @property
    def qualified(self) -> str:
        """`leases.coordination.k8s.io`, or `nodes` for the core group."""
        return qualified(self.plural, self.group)

    @property
    def stored_group(self) -> str:
        """The group validation speaks of: events.k8s.io Events are validated as what they are stored as."""
        return self.bucket.partition(".")[2]

    @property
    def supported_fields(self) -> frozenset[str]:
        """Fields a fieldSelector may name."""
        return METADATA_FIELDS | self.rules.field_names

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of that name, if there is one."""
        return next((sub for sub in self.subresources if sub.name == name), None)

    def storage_hash(self) -> str:
        """discovery.StorageVersionHash: eight bytes of SHA-256 over group/version/kind."""
        digest = hashlib.sha256(f"{self.group}/{self.version}/{self.kind}".encode()).digest()
        return base64.b64encode(digest[:8]).decode()


class Registry:
    """Every resource by (group, version) and plural name; custom resources come and go."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], dict[str, Resource]] = {}

    def clear(self) -> None:
        """Serve nothing."""
        self._versions.clear()

    def add(self, resource: Resource) -> None:
        """Serve a resource (or a new form of it)."""
        self._versions.setdefault((resource.group, resource.version), {})[resource.plural] = resource

    def drop(self, group: str, plural: str) -> None:
        """Stop serving every version of a resource; empty groups vanish."""
        for (found, version), resources in list(self._versions.items()):
            if found == group:
                resources.pop(plural, None)
                if not resources:
                    del self._versions[found, version]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of that name, or None."""
        resources = self._versions.get((group, version))
        return resources.get(plural) if resources else None

    def by_kind(self, group: str, kind: str) -> Resource | None:
        """Any version of the resource whose objects are of `kind`."""
        return next((r for r in self if r.group == group and r.kind == kind and not r.virtual), None)

    def by_bucket(self, bucket: str) -> Resource | None:
        """Any version of the resource stored in `bucket`."""
        return next((r for r in self if r.bucket == bucket), None)

    def versions(self, group: str) -> list[str]:
        """Served versions of a group, preferred first."""
        return [version for found, version in self._versions if found == group]

    def groups(self) -> list[str]:
        """Named groups, in the order they were added."""
        return list(dict.fromkeys(group for group, _ in self._versions if group))

    def in_version(self, group: str, version: str) -> list[Resource] | None:
        """Resources of one group version by name, or None when it is not served."""
        resources = self._versions.get((group, version))
        return sorted(resources.values(), key=lambda r: r.plural) if resources is not None else None

    def __iter__(self) -> Iterator[Resource]:
        for resources in self._versions.values():
            yield from resources.values()

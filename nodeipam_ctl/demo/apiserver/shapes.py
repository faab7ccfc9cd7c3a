"""How do the lists and maps of one kind merge: whole, as a set, or item by item?

A `Shape` answers it for both ways of merging that look inside lists: strategic merge patch (Go struct tags
`patchStrategy` and `patchMergeKey`) and server-side apply (`listType`, `listMapKey`, `mapType`). What a shape does not
mention merges as it does for a type nobody described: maps key by key, lists as one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How one value merges, and the values inside it.

    Attributes:
        list_type: what server-side apply does with a list: `atomic` belongs to one owner, `set` is a set of scalars,
            `map` is keyed by `keys`.
        keys: the fields that name an item of a `map` list.
        key_defaults: the value of a key an item leaves out (a port without a protocol is TCP).
        atomic: an object that belongs to one owner as a whole (`x-kubernetes-map-type: atomic`).
        merges: strategic merge patch joins this list instead of replacing it.
        merge_key: the field that names an item for strategic merge patch; None joins a list of scalars.
        fields: shapes of named fields.
        values: shape of every field not named (`additionalProperties`).
        free: the fields are data nobody declared, at any depth (`x-kubernetes-preserve-unknown-fields`).
        items: shape of a list's items.
        zero: the object before its creation, for a whole kind. Go serialises these fields even when nobody set
            them, so creating the object does not make anybody their owner.
        ignored: top-level fields a request cannot set, by subresource: `status` in a request to the object itself.
    """

    list_type: Literal["atomic", "set", "map"] = "atomic"
    keys: tuple[str, ...] = ()
    key_defaults: Mapping[str, Any] = field(default_factory=dict)
    atomic: bool = False
    merges: bool = False
    merge_key: str | None = None
    fields: Mapping[str, Shape] = field(default_factory=dict)
    values: Shape | None = None
    free: bool = False
    items: Shape | None = None
    zero: Mapping[str, Any] = field(default_factory=dict)
    ignored: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def child(self, name: str) -> Shape:
        """The shape of the field `name`, the default one when nothing is said about it."""
        found = self.fields.get(name)
        if found is not None:
            return found
        if self.free:
            return FREE
        return self.values or UNTYPED

    def declares(self, name: str) -> bool:
        """Whether `name` is a field of a type rather than a key somebody chose (a label's name, say)."""
        return name in self.fields or not (self.free or self.values is not None)


UNTYPED = Shape()
FREE = Shape(free=True)

OBJECT_META = Shape(
    fields={
        "finalizers": Shape(list_type="set", merges=True),
        "ownerReferences": Shape(
            list_type="map", keys=("uid",), merges=True, merge_key="uid", items=Shape(atomic=True)
        ),
    }
)

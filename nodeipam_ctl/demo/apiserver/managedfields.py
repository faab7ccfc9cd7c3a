"""Who owns which field after this write, and may this manager apply its configuration?

`update` follows every write that is not an apply, `apply` is server-side apply itself.

Source: k8s.io/apimachinery/pkg/util/managedfields and sigs.k8s.io/structured-merge-diff/merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nodeipam_ctl.demo.apiserver.applying import merged, without
from nodeipam_ctl.demo.apiserver.fieldset import Tree, common, compare, declared, minus, paths, union_of_roots
from nodeipam_ctl.demo.apiserver.shapes import OBJECT_META, Shape

Entry = dict[str, Any]
_Object = dict[str, Any]

# k8s.io/apimachinery/pkg/util/managedfields/internal/stripmeta.go: the server's own fields belong to nobody.
_SERVERS_FIELDS = frozenset({"apiVersion", "kind"})
_SERVERS_METADATA = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)
_MAX_UPDATERS = 10
_NOBODY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One field that another manager owns, with another value.

    Attributes:
        manager: the owner as kube-apiserver names it in the message: `"one"`, or `"two" using v1`.
        field: path as in `.metadata.annotations.team`.
    """

    manager: str
    field: str


class ApplyConflict(Exception):
    """An apply without force would take fields from other managers."""

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        self.conflicts = conflicts
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """kube-apiserver's sentence for the Status."""
        if len(self.conflicts) == 1:
            only = self.conflicts[0]
            return f"Apply failed with 1 conflict: conflict with {only.manager}: {only.field}"
        lines = []
        for manager in sorted({conflict.manager for conflict in self.conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {conflict.field}" for conflict in self.conflicts if conflict.manager == manager]
        return f"Apply failed with {len(self.conflicts)} conflicts: " + "\n".join(lines)

    @property
    def causes(self) -> list[dict[str, str]]:
        """`details.causes` of the Status."""
        return [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {conflict.manager}",
                "field": conflict.field,
            }
            for conflict in self.conflicts
        ]


def update(
    before: _Object | None,
    after: _Object,
    *,
    manager: str,
    operation: str = "Update",
    now: str,
    group_version: str,
    subresource: str,
    lists: Shape,
) -> list[Entry]:
    """The managedFields of `after`, written by `manager` over `before`.

    The very list of `before` when nothing changed hands. `after` may carry managedFields of its own, which a client
    may edit (a list of one empty entry clears them).

    Args:
        before: the object as stored, None when it is created.
        after: the object as it will be stored.
        manager: name of the field manager.
        operation: `Update`, or `Apply`.
        now: RFC 3339 time in whole seconds.
        group_version: apiVersion of the request.
        subresource: `status`, or "" for the object itself.
        lists: how the kind's lists and maps merge.
    """
    entries = _starting_entries(before, after, subresource)
    changed, removed = _compare_objects(lists.zero if before is None else before, after, subresource, lists)
    if not changed and not removed:
        return entries
    own_key = (manager, operation, group_version, subresource)
    result = []
    own: Entry | None = None
    for entry in entries:
        mine = _key(entry) == own_key
        left = entry["fieldsV1"]
        for tree in (removed,) if mine else (removed, changed):
            if left and tree:
                left = minus(left, tree)
        if mine and changed:
            own = _entry(own_key, now, union_of_roots(left or {}, changed))
            result.append(own)
        elif left:
            result.append(entry if left is entry["fieldsV1"] else {**entry, "fieldsV1": left})
    if own is None and changed:
        result.append(_entry(own_key, now, changed))
    return _sorted(_capped(result))


def apply(
    current: _Object | None,
    applied: _Object,
    *,
    manager: str,
    force: bool,
    now: str,
    group_version: str,
    subresource: str,
    lists: Shape,
) -> _Object:
    """`current` after `manager` applied its configuration, managedFields included.

    `current` itself when neither a value nor an owner changes. Fields the manager applied before and leaves out now
    go, unless somebody else owns them as well.

    Args: as for `update`; `force` takes fields from other managers instead of raising.

    Raises:
        ApplyConflict: another manager owns a field and holds it at another value.
    """
    live: _Object = current or {}
    entries: list[Entry] = live.get("metadata", _NOBODY).get("managedFields") or []
    own_key = (manager, "Apply", "", subresource)
    last: Tree = {}
    others: list[Entry] = []
    for entry in entries:
        if _key(entry) == own_key:
            last = entry["fieldsV1"]
        else:
            others.append(entry)

    config = _writable(applied, subresource, lists)
    states = _stripped(declared(config, lists) or {})
    result = merged(live, config, lists)
    if last:
        keep = states
        for entry in others:
            keep = union_of_roots(keep, entry["fieldsV1"])
        result = without(result, last, keep, lists)

    changed, removed = _compare_objects(live or lists.zero, result, subresource, lists)
    kept = []
    conflicts: list[Conflict] = []
    for entry in others:
        tree = entry["fieldsV1"]
        lost = common(tree, changed) if changed else None
        if lost:
            name = _spoken(entry)
            conflicts += [Conflict(manager=name, field=path) for path in paths(lost)]
        left: Tree | None = minus(tree, changed) if changed else tree
        if left and removed:
            left = minus(left, removed)
        if left:
            kept.append(entry if left is tree else {**entry, "fieldsV1": left})
    if conflicts and not force:
        raise ApplyConflict(tuple(sorted(conflicts, key=lambda conflict: (conflict.manager, conflict.field))))
    if current is not None and not changed and not removed and states == last:
        return current
    if states:
        kept.append(_entry((manager, "Apply", group_version, subresource), now, states))
    metadata = {
        name: value for name, value in result.get("metadata", _NOBODY).items() if name != "managedFields"
    }
    if kept:
        metadata["managedFields"] = _sorted(kept)
    return {**result, "metadata": metadata}


def _starting_entries(before: _Object | None, after: _Object, subresource: str) -> list[Entry]:
    """Entries a write starts from: the client's when it edited them and they are sound, else the stored ones."""
    stored: list[Entry] = [] if before is None else before.get("metadata", _NOBODY).get("managedFields") or []
    sent = after.get("metadata", _NOBODY).get("managedFields")
    if subresource or not sent or sent is stored or sent == stored:
        return stored
    if sent == [{}]:
        return []
    sound = all(
        isinstance(entry, dict)
        and entry.get("fieldsType") == "FieldsV1"
        and isinstance(entry.get("fieldsV1"), dict)
        and entry.get("operation") in {"Apply", "Update"}
        for entry in sent
    )
    return sent if sound else stored


def _compare_objects(
    before: Mapping[str, Any], after: _Object, subresource: str, lists: Shape
) -> tuple[Tree, Tree]:
    """What changed, less what belongs to the server and what this subresource cannot write."""
    skip = _SERVERS_FIELDS | lists.ignored.get(subresource, frozenset()) | {"metadata"}
    changed, removed = compare(
        {name: value for name, value in before.items() if name not in skip},
        {name: value for name, value in after.items() if name not in skip},
        lists,
    )
    old, new = before.get("metadata") or {}, after.get("metadata") or {}
    if old is not new:
        metadata_shape = lists.fields.get("metadata", OBJECT_META)
        new_tree, gone_tree = compare(_owned_metadata(old), _owned_metadata(new), metadata_shape)
        if new_tree:
            changed = dict(sorted({**changed, "f:metadata": new_tree}.items()))
        if gone_tree:
            removed["f:metadata"] = gone_tree
    return changed, removed


def _owned_metadata(metadata: Mapping[str, Any]) -> _Object:
    return {name: value for name, value in metadata.items() if name not in _SERVERS_METADATA}


def _writable(applied: _Object, subresource: str, lists: Shape) -> _Object:
    """The configuration less the fields this subresource ignores, and less managedFields."""
    skip = lists.ignored.get(subresource, frozenset())
    result = {name: value for name, value in applied.items() if name not in skip}
    metadata = result.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        result["metadata"] = {name: value for name, value in metadata.items() if name != "managedFields"}
    return result


def _stripped(tree: Tree) -> Tree:
    """A declared set less the server's own fields."""
    result = {key: node for key, node in tree.items() if key[2:] not in _SERVERS_FIELDS}
    metadata = {k: node for k, node in result.pop("f:metadata", {}).items() if k[2:] not in _SERVERS_METADATA}
    return {"f:metadata": metadata, **result} if metadata else result


def _key(entry: Entry) -> tuple[str, str, str, str]:
    """What makes two entries the same one; an applier keeps its entry when it moves to another version."""
    operation = entry.get("operation", "")
    version = "" if operation == "Apply" else entry.get("apiVersion", "")
    return entry.get("manager", ""), operation, version, entry.get("subresource", "")


def _entry(key: tuple[str, str, str, str], now: str, fields: Tree) -> Entry:
    manager, operation, group_version, subresource = key
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": group_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _spoken(entry: Entry) -> str:
    """A manager in kube-apiserver's words."""
    name = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        name += f' with subresource "{entry["subresource"]}"'
    if entry.get("operation") == "Update":
        name += f" using {entry.get('apiVersion', '')}"
    return name


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    """kube-apiserver's order: appliers first, then by time and name."""
    return sorted(
        entries,
        key=lambda entry: (
            entry.get("operation", ""),
            entry.get("time", ""),
            entry.get("manager", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        ),
    )


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most ten updaters: the oldest of one version are joined under the name `ancient-changes`."""
    updaters = [entry for entry in entries if entry.get("operation") != "Apply"]
    excess = len(updaters) - _MAX_UPDATERS
    if excess <= 0:
        return entries
    updaters.sort(key=lambda entry: entry.get("time", ""))
    kept = [entry for entry in entries if entry.get("operation") == "Apply"]
    buckets: dict[str, list[Entry]] = {}
    for entry in updaters:
        bucket = buckets.setdefault(entry.get("apiVersion", ""), [])
        if bucket and excess > 0:
            fields = union_of_roots(bucket[0]["fieldsV1"], entry["fieldsV1"])
            key = ("ancient-changes", "Update", entry.get("apiVersion", ""), "")
            bucket[0] = _entry(key, entry.get("time", ""), fields)
            excess -= 1
        else:
            bucket.append(entry)
    return kept + [entry for bucket in buckets.values() for entry in bucket]

"""Which fields is this: sets of field paths as FieldsV1 trees.

A tree is `metadata.managedFields[].fieldsV1` as it goes over the wire: nested dicts whose keys are `f:<field>`,
`k:<item's keys as JSON>`, `v:<value as JSON>`. A node is in the set when it is empty or holds a `.`; the others are
only on the way. No function here changes its arguments, and results share unchanged subtrees with them.

Source: sigs.k8s.io/structured-merge-diff, `fieldpath` and `typed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nodeipam_ctl.demo.apiserver.shapes import Shape

Tree = dict[str, Any]

_ABSENT = object()
_LEAF: Tree = {}
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode


def union(left: Tree, right: Tree) -> Tree:
    """Members of either."""
    if left is right:
        return left
    result = dict(left)
    # An empty node is a member itself: keep that when it gets children.
    if not left or not right:
        result["."] = _LEAF
    added = not left
    for key, node in right.items():
        before = result.get(key)
        if before is None:
            result[key] = node
            added = True
        elif key != ".":
            result[key] = union(before, node)
    if result.keys() == {"."}:
        return _LEAF
    return dict(sorted(result.items())) if added else result


def union_of_roots(left: Tree, right: Tree) -> Tree:
    """Members of either, for whole objects: an empty root is the empty set."""
    return union(left, right) if left and right else left or right


def minus(left: Tree, right: Tree) -> Tree | None:
    """Members of `left` that are not in `right`; None when there are none, `left` itself when none is taken away.

    Taking a node away leaves the nodes below it: `right` names those that go.
    """
    if not left:
        return None if not right or "." in right else left
    result: Tree = left
    for key, node in right.items():
        before = left.get(key)
        if before is None:
            continue
        after = None if key == "." else minus(before, node)
        if after is before:
            continue
        if result is left:
            result = dict(left)
        if after is None:
            del result[key]
        else:
            result[key] = after
    if not right and "." in left:
        result = {key: node for key, node in left.items() if key != "."}
    if not result:
        return None
    return _LEAF if result.keys() == {"."} else result


def common(left: Tree, right: Tree) -> Tree | None:
    """Members of both; None when there are none."""
    member = (not left or "." in left) and (not right or "." in right)
    result: Tree = {}
    for key, node in left.items():
        other = right.get(key)
        if other is None or key == ".":
            continue
        both = common(node, other)
        if both is not None:
            result[key] = both
    if not result:
        return _LEAF if member else None
    if member:
        result["."] = _LEAF
    return result


def paths(tree: Tree, prefix: str = "") -> Iterator[str]:
    """Every member as text: `.status.conditions[type="Ready"].status`."""
    if prefix and (not tree or "." in tree):
        yield prefix
    for key in sorted(tree):
        if key != ".":
            yield from paths(tree[key], prefix + _step(key))


def _step(key: str) -> str:
    kind, rest = key[0], key[2:]
    if kind == "f":
        return "." + rest
    if kind == "k":
        return "[" + ",".join(f"{name}={_encode(value)}" for name, value in json.loads(rest).items()) + "]"
    if kind == "v":
        return f"[={rest}]"
    return f"[{rest}]"


def item_key(item: Any, shape: Shape) -> str:
    """The tree key of one item of a `set` or `map` list."""
    if shape.list_type == "set" or not isinstance(item, dict):
        return "v:" + _encode(item)
    defaults = shape.key_defaults
    names = {
        name: item.get(name, defaults.get(name)) for name in shape.keys if name in item or name in defaults
    }
    return "k:" + _encode(names)


def everything(value: Any, shape: Shape) -> Tree:
    """The fields of a value that was not there before: every node on the way belongs to it."""
    if isinstance(value, dict):
        if shape.atomic or not value:
            return _LEAF
        tree: Tree = {".": _LEAF}
        for name in sorted(value):
            tree["f:" + name] = everything(value[name], shape.child(name))
        return tree
    if isinstance(value, list) and value and shape.list_type != "atomic":
        tree = {".": _LEAF}
        for key, items in sorted(_grouped(value, shape).items()):
            tree[key] = _everything_of(items, shape)
        return tree
    return _LEAF


def declared(value: Any, shape: Shape) -> Tree | None:
    """The fields a configuration states: its leaves, list items and chosen keys, not the structs on the way.

    None when it states nothing.
    """
    if isinstance(value, dict) and not shape.atomic:
        tree: Tree = {}
        for name in sorted(value):
            inner = value[name]
            node = declared(inner, shape.child(name)) if inner != {} else _LEAF
            if node is not None:
                tree["f:" + name] = node if shape.declares(name) or not node else {".": _LEAF, **node}
        return tree or None
    if isinstance(value, list) and shape.list_type != "atomic":
        tree = {}
        for item in value:
            node = declared(item, shape.items or _NO_SHAPE) if isinstance(item, dict) else _LEAF
            tree[item_key(item, shape)] = {".": _LEAF, **node} if node else _LEAF
        return dict(sorted(tree.items())) or None
    return _LEAF


def compare(before: Any, after: Any, shape: Shape) -> tuple[Tree, Tree]:
    """(set or changed, removed) between two objects; parts that are the same Python object are skipped."""
    changed: Tree = {}
    removed: Tree = {}
    if before is after:
        return changed, removed
    for name, value in after.items():
        old = before.get(name, _ABSENT)
        if old is value:
            continue
        inner = shape.child(name)
        key = "f:" + name
        if old is _ABSENT:
            changed[key] = everything(value, inner)
        else:
            _compare_values(key, old, value, inner, changed, removed)
    if len(before) != len(after) or before.keys() != after.keys():
        for name, old in before.items():
            if name not in after:
                removed["f:" + name] = everything(old, shape.child(name))
    return changed, removed


def _compare_values(key: str, old: Any, value: Any, shape: Shape, changed: Tree, removed: Tree) -> None:
    """Add to both trees what differs at `key`. A null counts as empty beside an object or a list of items."""
    granular = False
    if isinstance(value, dict) or isinstance(old, dict):
        granular = (
            not shape.atomic and _is_or_null(old, dict) and _is_or_null(value, dict) and bool(old or value)
        )
        if granular:
            new, gone = compare(old or {}, value or {}, shape)
    elif isinstance(value, list) or isinstance(old, list):
        granular = shape.list_type != "atomic" and _is_or_null(old, list) and _is_or_null(value, list)
        granular = granular and bool(old or value)
        if granular:
            new, gone = _compare_lists(old or [], value or [], shape)
    if not granular:
        if type(old) is not type(value) or old != value:
            changed[key] = _LEAF
        return
    if new:
        changed[key] = new
    if gone:
        removed[key] = gone


def _is_or_null(value: Any, kind: type) -> bool:
    return value is None or isinstance(value, kind)


def _compare_lists(before: list[Any], after: list[Any], shape: Shape) -> tuple[Tree, Tree]:
    changed: Tree = {}
    removed: Tree = {}
    inner = shape.items or _NO_SHAPE
    old_items, new_items = _grouped(before, shape), _grouped(after, shape)
    for key, news in new_items.items():
        olds = old_items.get(key)
        if olds is None:
            changed[key] = _everything_of(news, shape)
        elif len(olds) == 1 and len(news) == 1:
            _compare_values(key, olds[0], news[0], inner, changed, removed)
        elif olds != news:
            changed[key] = _LEAF
    for key, olds in old_items.items():
        if key not in new_items:
            removed[key] = _everything_of(olds, shape)
    return changed, removed


def _everything_of(items: list[Any], shape: Shape) -> Tree:
    """The fields of an item. Of two of one name (two InternalIPs of a Node) nobody can own a part."""
    return everything(items[0], shape.items or _NO_SHAPE) if len(items) == 1 else _LEAF


def _grouped(items: list[Any], shape: Shape) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(item_key(item, shape), []).append(item)
    return groups


_NO_SHAPE = Shape()

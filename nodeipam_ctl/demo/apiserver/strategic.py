"""What does a built-in object look like after a strategic merge patch?

Source: k8s.io/apimachinery/pkg/util/strategicpatch. The order of merged lists is its order too: items the patch names
come in the patch's order, the others stay where they were relative to them.
"""

from __future__ import annotations

from typing import Any

from nodeipam_ctl.demo.apiserver.builtin_shapes import shape_of
from nodeipam_ctl.demo.apiserver.shapes import UNTYPED, Shape

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

_Object = dict[str, Any]


class PatchFailed(Exception):
    """The patch does not apply.

    Attributes:
        message: kube-apiserver's sentence.
        reason: the Status reason it answers with: `BadRequest` (400), `Invalid` (422) or `RequestEntityTooLarge` (413).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


def strategic_merge(target: _Object, patch: _Object, *, kind: str) -> _Object:
    """`target` after a strategic merge patch, for a built-in `kind`.

    Neither argument is changed; untouched parts are shared with `target`.

    Raises:
        PatchFailed: a directive of the wrong form, or a list item without its merge key.
    """
    return _merge_object(target, patch, shape_of(kind))


def _merge_object(original: _Object, patch: _Object, shape: Shape) -> _Object:
    match patch.get(_DIRECTIVE):
        case None:
            pass
        case "replace":
            return {name: value for name, value in patch.items() if name != _DIRECTIVE}
        case "delete":
            return {}
        case "merge":
            patch = {name: value for name, value in patch.items() if name != _DIRECTIVE}
        case other:
            raise PatchFailed(f"Unknown patch type found: {other}", "BadRequest")

    result = dict(original)
    if _RETAIN in patch:
        _retain(result, patch)
    ordered = {name.removeprefix(_ORDER) for name in patch if name.startswith(_ORDER)}
    for name in ordered:
        _merge_ordered(result, patch, name, shape.child(name))
    for name, value in patch.items():
        if name in ordered or name == _RETAIN or name.startswith(_ORDER):
            continue
        if name.startswith(_DELETE):
            _delete_scalars(result, name.removeprefix(_DELETE), value)
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = _merge_value(result.get(name), value, shape.child(name))
    return result


def _merge_value(before: Any, value: Any, shape: Shape) -> Any:
    if isinstance(value, dict):
        if isinstance(before, dict):
            return _merge_object(before, value, shape)
        return _without_directives(value)
    if isinstance(value, list):
        if isinstance(before, list) and shape.merges:
            return _merge_list(before, value, shape, order=None)
        return _without_directives(value)
    return value


def _merge_list(before: list[Any], patch: list[Any], shape: Shape, order: list[Any] | None) -> list[Any]:
    """Both lists joined by the merge key, or as a set of scalars."""
    key = shape.merge_key
    if key is None:
        if any(isinstance(item, (dict, list)) for item in patch):
            raise PatchFailed("invalid patch format of primitive list", "BadRequest")
        merged = list(dict.fromkeys((*before, *patch)))
        return _in_order(merged, before, patch if order is None else order, None)

    before, patch = _obey_item_directives(before, patch, key)
    merged = list(before)
    index = {_name_of(item, key): place for place, item in enumerate(merged)}
    for item in patch:
        place = index.get(_name_of(item, key))
        if place is None:
            index[_name_of(item, key)] = len(merged)
            merged.append(_without_directives(item))
        else:
            merged[place] = _merge_object(merged[place], item, shape.items or UNTYPED)
    return _in_order(merged, before, patch if order is None else order, key)


def _obey_item_directives(before: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Both lists after the items `{$patch: delete, <key>: …}` and `{$patch: replace}` had their effect."""
    plain = []
    replace = False
    for item in patch:
        match item.get(_DIRECTIVE):
            case None:
                plain.append(item)
            case "delete":
                gone = _name_of(item, key)
                before = [kept for kept in before if kept.get(key) != gone]
            case "replace":
                replace = True
            case "merge":
                raise PatchFailed("merging lists cannot yet be specified in the patch", "BadRequest")
            case other:
                raise PatchFailed(f"Unknown patch type found: {other}", "BadRequest")
    return (plain, []) if replace else (before, plain)


def _merge_ordered(result: _Object, patch: _Object, name: str, shape: Shape) -> None:
    """Merge one list whose complete order the patch gives in `$setElementOrder/<name>`."""
    order = patch[_ORDER + name]
    if not isinstance(order, list):
        raise PatchFailed("setElementOrder must be a list", "BadRequest")
    before, value = result.get(name), patch.get(name)
    if before is None and value is None:
        return
    if not shape.merges:
        if value is not None:
            result[name] = _without_directives(value)
        return
    if value is None:
        result[name] = _in_order(list(before or []), before or [], order, shape.merge_key)
    else:
        result[name] = _merge_list(before or [], value, shape, order)


def _in_order(merged: list[Any], before: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """`merged` with the items of `order` in that order, and the others before the first known item they preceded."""
    places = {_name_of(item, key): place for place, item in reversed(list(enumerate(before)))}
    wanted = {_name_of(item, key): place for place, item in reversed(list(enumerate(order)))}
    named = sorted(
        (item for item in merged if _name_of(item, key) in wanted),
        key=lambda item: wanted[_name_of(item, key)],
    )
    others = [item for item in merged if _name_of(item, key) not in wanted]
    others.sort(key=lambda item: places.get(_name_of(item, key), len(places)))
    result = []
    while named and others:
        other_place, named_place = places.get(_name_of(others[0], key)), places.get(_name_of(named[0], key))
        other_first = other_place is not None and named_place is not None and other_place < named_place
        result.append((others if other_first else named).pop(0))
    return result + named + others


def _name_of(item: Any, key: str | None) -> Any:
    if key is None:
        return item
    if not isinstance(item, dict) or key not in item:
        raise PatchFailed(f"map: {_go_map(item)} does not contain declared merge key: {key}", "BadRequest")
    return item[key]


def _delete_scalars(result: _Object, name: str, gone: Any) -> None:
    if not isinstance(gone, list):
        raise PatchFailed("deleteFromPrimitiveList must be a list", "BadRequest")
    before = result.get(name)
    if isinstance(before, list):
        result[name] = [item for item in before if item not in gone]


def _retain(result: _Object, patch: _Object) -> None:
    keep = patch[_RETAIN]
    if not isinstance(keep, list):
        raise PatchFailed("invalid patch format of retainKeys", "BadRequest")
    for name, value in patch.items():
        if name != _RETAIN and not name.startswith("$") and value is not None and name not in keep:
            raise PatchFailed("invalid patch format of retainKeys", "BadRequest")
    for name in [name for name in result if name not in keep]:
        del result[name]


def _without_directives(value: Any) -> Any:
    """A value the object did not have before: as given, less the patch's directives and deletions."""
    if isinstance(value, dict):
        return {
            name: _without_directives(inner)
            for name, inner in value.items()
            if inner is not None and not name.startswith("$")
        }
    if isinstance(value, list):
        return [
            _without_directives(item)
            for item in value
            if not (isinstance(item, dict) and item.get(_DIRECTIVE))
        ]
    return value


def _go_map(item: Any) -> str:
    """A map as Go's %v prints it."""
    if not isinstance(item, dict):
        return str(item)
    return "map[" + " ".join(f"{name}:{item[name]}" for name in sorted(item)) + "]"

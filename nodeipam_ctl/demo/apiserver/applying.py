"""What does an object look like once a configuration is merged into it, and once dropped fields are taken out?

The two halves of server-side apply that deal with values; who owns them is in `managedfields.py`.

Source: sigs.k8s.io/structured-merge-diff, `typed/merge.go` (order of merged lists) and `typed/remove.go`.
"""

from __future__ import annotations

from typing import Any

from nodeipam_ctl.demo.apiserver.fieldset import Tree, item_key
from nodeipam_ctl.demo.apiserver.shapes import UNTYPED, Shape


def merged(live: Any, config: Any, shape: Shape) -> Any:
    """`live` with every value `config` states; `live` itself when it holds them all already."""
    if isinstance(config, dict) and isinstance(live, dict) and not shape.atomic:
        result = live
        for name, value in config.items():
            before = live.get(name)
            after = merged(before, value, shape.child(name))
            if after is not before or name not in live:
                if result is live:
                    result = dict(live)
                result[name] = after
        return result
    if isinstance(config, list) and isinstance(live, list) and shape.list_type != "atomic":
        joined = _merged_lists(live, config, shape)
        return live if joined == live else joined
    return live if type(live) is type(config) and live == config else config


def _merged_lists(live: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    """Items of both; the configuration's keep its order, the others stay as near their place as that allows."""
    inner = shape.items or UNTYPED
    live_keys = [item_key(item, shape) for item in live]
    config_keys = [item_key(item, shape) for item in config]
    in_live = dict(zip(reversed(live_keys), reversed(live), strict=True))
    in_config = set(config_keys)
    shared = [key for key in config_keys if key in in_live]
    taken: set[str] = set()
    result: list[Any] = []
    left = right = 0
    while left < len(live) or right < len(config):
        key = live_keys[left] if left < len(live) else None
        if key is not None and key in taken:
            left += 1
            continue
        if key is not None and key not in in_config:
            result.append(live[left])
            left += 1
            continue
        if (
            key is not None
            and right < len(config)
            and shared
            and shared[0] != key
            and key != config_keys[right]
        ):
            # An item of both that the configuration wants later: it is taken when its turn comes.
            left += 1
            continue
        if right < len(config):
            wanted = config_keys[right]
            if wanted in in_live:
                result.append(merged(in_live[wanted], config[right], inner))
            else:
                result.append(config[right])
            taken.add(wanted)
            if shared and shared[0] == wanted:
                shared.pop(0)
            right += 1
        else:
            left += 1
    return result


def without(value: Any, dropped: Tree, keep: Tree, shape: Shape) -> Any:
    """`value` less the members of `dropped` that neither are in `keep` nor hold anything that is."""
    if isinstance(value, dict):
        result = dict(value)
        for key, node in dropped.items():
            name = key[2:]
            if key[:2] != "f:" or name not in value:
                continue
            if _goes(node, keep.get(key)):
                del result[name]
            else:
                result[name] = without(value[name], node, keep.get(key) or {}, shape.child(name))
        return result
    if isinstance(value, list) and shape.list_type != "atomic":
        items = []
        for item in value:
            key = item_key(item, shape)
            node = dropped.get(key)
            if node is None:
                items.append(item)
            elif not _goes(node, keep.get(key)):
                items.append(without(item, node, keep.get(key) or {}, shape.items or UNTYPED))
        return items
    return value


def _goes(node: Tree, kept: Tree | None) -> bool:
    return kept is None and (not node or "." in node)

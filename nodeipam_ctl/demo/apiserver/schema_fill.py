"""Which fields does a schema add to an object, and which does it take away?

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema, `defaulting` and `pruning`.
"""

from __future__ import annotations

import copy
from typing import Any

from nodeipam_ctl.demo.apiserver.schema_node import ABSENT, ENVELOPE, Node


def fill(node: Node, value: Any) -> None:
    """Put defaults into `value`, in place; a null where none is allowed counts as absent."""
    if isinstance(value, dict):
        for name, child in node.fields.items():
            inner = value.get(name, ABSENT)
            if inner is None and not child.nullable:
                del value[name]
                inner = ABSENT
            if inner is ABSENT and child.default is not ABSENT:
                value[name] = copy.deepcopy(child.default)
        for name, inner in value.items():
            below = node.field(name)
            if below is not None and isinstance(inner, (dict, list)):
                fill(below, inner)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            fill(node.items, item)


def prune(node: Node, value: Any, path: str, dropped: list[str], *, root: bool = False) -> None:
    """Take fields the schema does not know out of `value`, in place, and add their paths to `dropped`."""
    if isinstance(value, list):
        if node.items is not None:
            for index, item in enumerate(value):
                prune(node.items, item, f"{path}[{index}]", dropped)
        return
    if not isinstance(value, dict):
        return
    prefix = f"{path}." if path else ""
    for name in sorted(value):
        if (root or node.embedded) and name in ENVELOPE:
            continue
        child = node.field(name)
        if child is not None:
            prune(child, value[name], prefix + name, dropped)
        elif not node.preserve:
            del value[name]
            dropped.append(prefix + name)

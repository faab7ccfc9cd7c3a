"""Which items of sets and keyed lists are there twice?

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

from typing import Any

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.errors import Cause
from nodeipam_ctl.demo.apiserver.schema_node import Node


def duplicates(node: Node, value: Any, path: str = "") -> list[Cause]:
    """The second and further items of one name, in all lists of `value`."""
    found: list[Cause] = []
    if isinstance(value, dict):
        for name, inner in value.items():
            child = node.field(name)
            if child is not None and isinstance(inner, (dict, list)):
                step = f".{name}" if name in node.fields else f"[{name}]"
                found += duplicates(child, inner, (path + step).removeprefix("."))
    elif isinstance(value, list) and node.items is not None:
        seen: set[Any] = set()
        for index, item in enumerate(value):
            if node.list_type != "atomic":
                identity = node.item_identity(item)
                if identity in seen:
                    found.append(causes.duplicate(f"{path}[{index}]", node.item_name(item)))
                seen.add(identity)
            if isinstance(item, (dict, list)):
                found += duplicates(node.items, item, f"{path}[{index}]")
    return found

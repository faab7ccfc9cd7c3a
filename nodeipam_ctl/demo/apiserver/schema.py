"""Does a custom resource fit its schema, and what does the schema make of it?

`Structural` is the schema of one version of a definition. `schema_check.faults` says whether it may be one.
"""

from __future__ import annotations

from typing import Any

from nodeipam_ctl.demo.apiserver import causes, schema_rules
from nodeipam_ctl.demo.apiserver.errors import Cause
from nodeipam_ctl.demo.apiserver.schema_fill import fill, prune
from nodeipam_ctl.demo.apiserver.schema_node import ABSENT, Node
from nodeipam_ctl.demo.apiserver.schema_unique import duplicates
from nodeipam_ctl.demo.apiserver.shapes import OBJECT_META, Shape

__all__ = ["Cause", "Structural"]


class Structural:
    """A structural schema (`openAPIV3Schema`), compiled once.

    Raises:
        CelCompileError: on construction, when a rule does not compile.
    """

    __slots__ = ("_root", "_rules")

    def __init__(self, openapi_v3_schema: dict[str, Any]) -> None:
        self._root = Node(openapi_v3_schema)
        self._rules = schema_rules.compiled(self._root, root=True)

    def default(self, obj: dict[str, Any]) -> None:
        """Put defaults into `obj`, in place; a null that is not allowed counts as absent."""
        fill(self._root, obj)

    def prune(self, obj: dict[str, Any]) -> list[str]:
        """Take fields the schema does not know out of `obj`, in place; their paths, such as `spec.nope`."""
        dropped: list[str] = []
        prune(self._root, obj, "", dropped, root=True)
        return dropped

    def validate(self, new: dict[str, Any], old: dict[str, Any] | None) -> list[Cause]:
        """Why `new` does not fit; empty when it does.

        On an update parts that did not change are accepted as they are (ratcheting), but for rules about the change.
        Rules are not looked at while a field is missing, too long, too many or of a wrong type.
        """
        before = ABSENT if old is None else old
        found: list[Cause] = []
        self._root.validate(new, before, "", found)
        twice = duplicates(self._root, new)
        if twice and (old is None or not duplicates(self._root, old)):
            found += twice
        if self._rules is not None:
            if any(cause.reason in causes.BLOCKING for cause in found):
                found.append(causes.unchecked())
            else:
                self._rules.check(new, before, "", found)
        return found

    def list_types(self) -> Shape:
        """How lists and maps merge in server-side apply, for `managedfields`."""
        shape = _shape(self._root)
        return Shape(fields={**shape.fields, "metadata": OBJECT_META}, values=shape.values, free=shape.free)


def _shape(node: Node) -> Shape:
    list_type = node.list_type
    return Shape(
        list_type="map" if list_type == "map" else "set" if list_type == "set" else "atomic",
        keys=tuple(node.key_defaults),
        key_defaults={key: one for key, one in node.key_defaults.items() if one is not None},
        atomic=node.map_type == "atomic",
        fields={name: _shape(child) for name, child in node.fields.items()},
        values=None if node.additional is None else _shape(node.additional),
        items=None if node.items is None else _shape(node.items),
        free=node.preserve,
    )

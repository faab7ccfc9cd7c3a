"""Which CEL rules of a schema does a value break?

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel, `validation.go`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.cel import NO_OLD, CelEvaluationError, Expression
from nodeipam_ctl.demo.apiserver.errors import Cause
from nodeipam_ctl.demo.apiserver.schema_node import ABSENT, ENVELOPE, Node, correlated

_MAX_MESSAGE: Final = 5120


class Rule:
    """One entry of `x-kubernetes-validations`."""

    __slots__ = ("_message", "_message_expression", "_reason", "_suffix", "expression", "optional_old")

    def __init__(self, entry: dict[str, Any], schema: dict[str, Any], *, root: bool) -> None:
        """Compile a rule.

        Raises:
            CelCompileError: the rule or its messageExpression does not compile.
        """
        self.optional_old = bool(entry.get("optionalOldSelf"))
        self.expression = Expression(
            entry["rule"], schema=schema, result="bool", optional_old=self.optional_old, root=root
        )
        text = entry.get("messageExpression")
        self._message_expression = (
            Expression(text, schema=schema, result="string", optional_old=self.optional_old, root=root)
            if text
            else None
        )
        self._message = entry.get("message") or f"failed rule: {entry['rule'].strip()}"
        self._reason = entry.get("reason", "FieldValueInvalid")
        self._suffix = _as_path(entry.get("fieldPath", ""))

    @property
    def about_change(self) -> bool:
        """A transition rule: it compares with the former value."""
        return self.expression.uses_old

    def check(self, value: Any, old: Any, path: str) -> Cause | None:
        """Why `value` breaks the rule; None when it does not, or the rule waits for a former value."""
        if self.about_change and old is NO_OLD and not self.optional_old:
            return None
        where = (path + self._suffix).removeprefix(".")
        visible = causes.OMITTED if isinstance(value, (dict, list)) else value
        try:
            if self.expression.evaluate(value, old) is True:
                return None
        except CelEvaluationError as exc:
            return causes.invalid(where, visible, f"{exc} evaluating rule: {self._message}")
        detail = self._sentence(value, old)
        match self._reason:
            case "FieldValueForbidden":
                return causes.forbidden(where, detail)
            case "FieldValueRequired":
                return causes.required(where, detail)
            case "FieldValueDuplicate":
                return causes.duplicate(where, visible)
            case _:
                return causes.invalid(where, visible, detail)

    def _sentence(self, value: Any, old: Any) -> str:
        """The messageExpression's text, or the plain message when it fails, is empty, too long or has line breaks."""
        if self._message_expression is None:
            return self._message
        try:
            text = str(self._message_expression.evaluate(value, old)).strip()
        except CelEvaluationError:
            return self._message
        return text if text and "\n" not in text and len(text) <= _MAX_MESSAGE else self._message


class Rules:
    """The rules of a schema and of everything below it."""

    __slots__ = ("_additional", "_fields", "_items", "_node", "_own", "about_change")

    def __init__(
        self, node: Node, own: tuple[Rule, ...], below: dict[str, Rules], *, root: bool = False
    ) -> None:
        self._node = node
        self._own = own
        self._items = below.pop("[]", None)
        self._additional = below.pop("{}", None)
        self._fields = {name: rules for name, rules in below.items() if not (root and name in ENVELOPE)}
        inner = [
            rules for rules in (*self._fields.values(), self._items, self._additional) if rules is not None
        ]
        self.about_change: bool = any(rule.about_change for rule in own) or any(
            one.about_change for one in inner
        )

    def check(self, value: Any, old: Any, path: str, out: list[Cause]) -> None:
        """Add to `out` the rules `value` breaks; what it broke before and did not change is accepted."""
        if value is None:
            return
        unchanged = old is not ABSENT and (value is old or value == old)
        if unchanged and not self.about_change:
            return
        for rule in self._own:
            if unchanged and not rule.about_change:
                continue
            found = rule.check(value, NO_OLD if old is ABSENT else old, path)
            if found is not None:
                out.append(found)
        if isinstance(value, list):
            if self._items is not None:
                former = correlated(self._node, value, old)
                for index, item in enumerate(value):
                    self._items.check(item, former[index] if former else ABSENT, f"{path}[{index}]", out)
        elif isinstance(value, dict) and (self._fields or self._additional is not None):
            self._check_fields(value, old if isinstance(old, dict) else {}, path, out)

    def _check_fields(self, value: dict[str, Any], old: dict[str, Any], path: str, out: list[Cause]) -> None:
        for name, rules in self._fields.items():
            if name in value:
                rules.check(value[name], old.get(name, ABSENT), f"{path}.{name}" if path else name, out)
        if self._additional is not None:
            for name, inner in value.items():
                if name not in self._node.fields:
                    self._additional.check(inner, old.get(name, ABSENT), f"{path}[{name}]", out)


def compiled(node: Node, *, root: bool = False) -> Rules | None:
    """The rules of `node` and below, None when there are none.

    Raises:
        CelCompileError: one does not compile; `schema_check` says which before a definition is accepted.
    """
    below = {}
    for name, child in (*node.fields.items(), ("[]", node.items), ("{}", node.additional)):
        if child is not None and (rules := compiled(child)) is not None:
            below[name] = rules
    own = tuple(
        Rule(entry, node.schema, root=root or node.embedded)
        for entry in node.schema.get("x-kubernetes-validations") or ()
    )
    return Rules(node, own, below, root=root) if own or below else None


_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']*)'\]")


def _as_path(field_path: str) -> str:
    """A rule's fieldPath (`.spec['a-b'].c`) as field paths are written."""
    return "".join(f".{match[1] or match[2]}" for match in _STEP.finditer(field_path))

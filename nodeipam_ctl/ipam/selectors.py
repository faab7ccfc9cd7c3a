"""Does a NodeSelector match a node, and how exactly? The semantics of core/v1 NodeSelector, without surprises.

Terms are ORed; the expressions and fields of one term are ANDed; a term with neither matches nothing. `NotIn` and
`DoesNotExist` also match a node that lacks the label; `Gt` and `Lt` compare integers and match nothing when either side
is not one. Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity and k8s.io/apimachinery/pkg/labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from nodeipam_ctl.model import NodeSelector, Operator, Requirement, SelectorTerm

FIELD_NAME = "metadata.name"
"""The only field a NodeSelector knows."""


def matched_requirements(selector: NodeSelector, *, name: str, labels: Mapping[str, str]) -> int:
    """How many requirements hold: the most that any one matching term has; 0 when no term matches."""
    return max((term_matches(term, name=name, labels=labels) for term in selector.terms), default=0)


def term_matches(term: SelectorTerm, *, name: str, labels: Mapping[str, str]) -> int:
    """How many requirements a term has when all of them hold, else 0 (a term without any matches nothing)."""
    for requirement in term.expressions:
        if not holds(requirement, labels):
            return 0
    if term.fields:
        fields = {FIELD_NAME: name}
        for requirement in term.fields:
            if requirement.key != FIELD_NAME or not holds(requirement, fields):
                return 0
    return len(term.expressions) + len(term.fields)


def holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether one requirement holds for these labels."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value is not None and value in requirement.values
        case Operator.NOT_IN:
            return value is None or value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
        case Operator.GT:
            pair = _integers(value, requirement.values)
            return pair is not None and pair[0] > pair[1]
        case Operator.LT:
            pair = _integers(value, requirement.values)
            return pair is not None and pair[0] < pair[1]
    assert_never(requirement.operator)


def canonical(selector: NodeSelector | None) -> str:
    """The selector as one line of text that does not depend on the order in which it was written; "" for none.

    Requirements are sorted by key and joined by commas (`a in (x,y),b,!c,d>5`); terms are sorted and joined by ` | `.
    """
    if selector is None:
        return ""
    return " | ".join(sorted(_term_text(term) for term in selector.terms))


def keys_read(selector: NodeSelector | None) -> frozenset[str]:
    """The label keys on which the answer for a node depends."""
    if selector is None:
        return frozenset()
    return frozenset(r.key for term in selector.terms for r in term.expressions)


def reads_name(selector: NodeSelector | None) -> bool:
    """Whether the answer depends on the node's name."""
    return selector is not None and any(term.fields for term in selector.terms)


def _term_text(term: SelectorTerm) -> str:
    requirements = sorted((*term.expressions, *term.fields), key=lambda r: (r.key, r.operator, r.values))
    return ",".join(_requirement_text(r) for r in requirements)


def _requirement_text(requirement: Requirement) -> str:
    key, values = requirement.key, ",".join(sorted(requirement.values))
    match requirement.operator:
        case Operator.IN:
            return f"{key} in ({values})"
        case Operator.NOT_IN:
            return f"{key} notin ({values})"
        case Operator.EXISTS:
            return key
        case Operator.DOES_NOT_EXIST:
            return f"!{key}"
        case Operator.GT:
            return f"{key}>{values}"
        case Operator.LT:
            return f"{key}<{values}"
    assert_never(requirement.operator)


def _integers(value: str | None, wanted: tuple[str, ...]) -> tuple[int, int] | None:
    if value is None or len(wanted) != 1:
        return None
    try:
        return _int64(value), _int64(wanted[0])
    except ValueError:
        return None


def _int64(text: str) -> int:
    """Go's strconv.ParseInt(s, 10, 64): digits with an optional sign, nothing else that Python would also take."""
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(text)
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(text)
    return number

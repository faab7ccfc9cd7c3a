"""What would change, why, and in which order: one plan type for ledger lines, host objects and cloud routes.

A plan is made by `diff`, printed by `plan` commands, run by an `apply` of the shell that owns the objects, and counted
by metrics. It does nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Op(StrEnum):
    """What a change does to its object."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[K, V]):
    """One step: `before` is None for an add, `after` is None for a removal."""

    op: Op
    key: K
    before: V | None
    after: V | None
    why: str

    def __str__(self) -> str:
        sign = {Op.ADD: "+", Op.REPLACE: "~", Op.REMOVE: "-"}[self.op]
        shown = self.before if self.op is Op.REMOVE else self.after
        return f"{sign} {shown}  # {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[K, V]):
    """Changes in the order in which they are applied."""

    changes: tuple[Change[K, V], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def count(self, op: Op) -> int:
        """How many changes of one kind."""
        return sum(1 for change in self.changes if change.op is op)


def diff(
    desired: Mapping[K, V],
    observed: Mapping[K, V],
    *,
    why: Callable[[Op, K], str] | None = None,
) -> Plan[K, V]:
    """The plan that turns `observed` into `desired`: adds and replacements in the order of `desired`, then removals.

    Both are keyed by identity (what the kernel, the API or the cloud calls the same object). Values that are equal need
    nothing, so `diff(x, x)` is empty and `apply(diff(d, o), o) == d` (the design's law 5).
    """
    reason = why or _default_reason
    changes: list[Change[K, V]] = []
    adds = 0
    for key, wanted in desired.items():
        present = observed.get(key)
        if (
            present is wanted
        ):  # thousands are, every time: comparing them is what a plan would spend its time on
            continue
        if present is None:
            changes.append(Change(op=Op.ADD, key=key, before=None, after=wanted, why=reason(Op.ADD, key)))
            adds += 1
        elif present != wanted:
            changes.append(
                Change(op=Op.REPLACE, key=key, before=present, after=wanted, why=reason(Op.REPLACE, key))
            )
    if len(observed) > len(desired) - adds:
        changes.extend(
            Change(op=Op.REMOVE, key=key, before=present, after=None, why=reason(Op.REMOVE, key))
            for key, present in reversed(list(observed.items()))
            if key not in desired
        )
    return Plan(changes=tuple(changes))


def applied(plan: Plan[K, V], observed: Mapping[K, V]) -> dict[K, V]:
    """What `observed` becomes once every change of the plan has taken effect."""
    result = dict(observed)
    for change in plan.changes:
        if change.after is None:
            result.pop(change.key, None)
        else:
            result[change.key] = change.after
    return result


def _default_reason(op: Op, _key: Hashable) -> str:
    return {Op.ADD: "missing", Op.REPLACE: "differs", Op.REMOVE: "stale"}[op]

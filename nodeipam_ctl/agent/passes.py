"""How does one pass of a turn lead to the next? What waits for its end, and what calls for another look at once."""

from __future__ import annotations

import errno

from nodeipam_ctl.linux.host import Outcome
from nodeipam_ctl.linux.netlink import KernelError
from nodeipam_ctl.plan import Op, Plan
from nodeipam_ctl.routing.state import HostPlan, Kind

SHAPES_FACTS = (Kind.KEY_FILE, Kind.SYSCTL, Kind.LINK, Kind.ADDRESS)
"""What changes the host's facts, and with them what is wanted."""

_OUTDATED = frozenset({errno.ENODEV, errno.ENETDOWN})


def withdrawals_apart(plan: HostPlan) -> tuple[HostPlan, HostPlan]:
    """The plan, and apart from it the files that it takes away because of a setting or device that it puts right itself.

    A CNI file that went and came back within a turn would be a moment in which the runtime can start no pod.
    """
    if not any(change.key.kind in SHAPES_FACTS for change in plan.changes):
        return plan, Plan()
    apart = [c for c in plan.changes if c.key.kind is Kind.FILE and c.op is Op.REMOVE]
    return Plan(changes=tuple(c for c in plan.changes if c not in apart)), Plan(changes=tuple(apart))


def raced(step: Outcome) -> bool:
    """Somebody was faster with an object of ours or a foreign one: look again at once."""
    return outdated(step) or _refused(step, frozenset({errno.EEXIST}))


def outdated(step: Outcome) -> bool:
    """A device is not what we take it for: of one that is removed, the kernel tells first that its entries are gone."""
    return _refused(step, _OUTDATED)


def _refused(step: Outcome, codes: frozenset[int]) -> bool:
    return any(isinstance(error, KernelError) and error.code in codes for _, error in step.failed)

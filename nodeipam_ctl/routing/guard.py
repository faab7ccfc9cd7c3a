"""May this plan run now? The guards that keep a wrong or partial answer from the API from emptying the host (fail static)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.plan import Op, Plan
from nodeipam_ctl.routing.state import OF_PEERS, HostPlan, Key, Kind
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

MOST_REMOVALS = 10
MOST_SHARE = 0.20


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What may run now, and what waits for a second complete list.

    Attributes:
        run: the plan without what is held.
        held: removals that wait; empty most of the time.
    """

    run: HostPlan
    held: HostPlan


def guarded(
    plan: HostPlan,
    *,
    owned: int,
    plausible: bool,
    confirmed: frozenset[Key],
    wanted_routes: Iterable[Key] = (),
) -> Guarded:
    """Holds a mass removal until the same keys are unwanted after a second complete list.

    A list of nodes without this one, or with a part that nobody understood yet, is not the whole truth: then every removal waits.

    Args:
        plan: what the reconciler would do.
        owned: how many counted objects of ours the host has now.
        plausible: the feed's list may be the whole truth.
        confirmed: keys whose removal was held before and that a later complete list did not bring back.
        wanted_routes: what leads to the same destination as one of these is replaced, not missing.
    """
    fresh = {
        c.key for c in plan.changes if c.op is Op.REMOVE and c.key.kind in OF_PEERS and c.key not in confirmed
    }
    if fresh and not (plausible and len(fresh) <= MOST_REMOVALS):
        # Another metric, or a predecessor's route: ours is made first.
        lasting = {_destination(key) for key in wanted_routes}
        fresh -= {key for key in fresh if key.kind is Kind.ROUTE and _destination(key) in lasting}
    few = len(fresh) <= MOST_REMOVALS or len(fresh) <= MOST_SHARE * owned
    if not fresh or (few and plausible):
        return Guarded(run=plan, held=Plan())
    return Guarded(
        run=Plan(changes=tuple(c for c in plan.changes if c.key not in fresh)),
        held=Plan(changes=tuple(c for c in plan.changes if c.key in fresh)),
    )


def _destination(route: Key) -> tuple[object, ...]:
    """The table and network of a route's key, without its metric."""
    assert isinstance(route.name, tuple)
    return route.scope, *route.name[:2]


def unlisted(own: Peer | None, settings: AgentSettings, *, plausible: bool) -> tuple[Finding, ...]:
    """A finding when this node has podCIDRs and the feed does not list it: then it lacks other nodes as well, or all of them."""
    if plausible or own is None or not own.pod_cidrs:
        return ()
    remedy = (
        "see that the controller runs (with --no-allocate beside another allocator), or use --feed nodes"
        if settings.feed == "slices"
        else "see what stands between this node and the API server: it answered with a list without this Node"
    )
    return (
        Finding(
            severity=Severity.ERROR,
            code="OwnNodeUnlisted",
            subject=f"node/{own.name}",
            message=f"the feed ({settings.feed}) does not list this node, so nothing is removed and peers may be missing",
            remedy=remedy,
        ),
    )

"""What of somebody else's is in our way? Routes in the place of ours: never touched, always named."""

from __future__ import annotations

from collections.abc import Iterable

from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.state import Key, Kind, Route


def contested(state: HostState, foreign: Iterable[Route]) -> tuple[HostState, tuple[Finding, ...]]:
    """The state without routes whose place is taken by a foreign one, and a finding for each foreign route in the way.

    A foreign route of the same destination and metric has our route's place in the kernel; one of a better metric wins over it.
    """
    taken: set[Key] = set()
    findings: list[Finding] = []
    wanted: dict[object, list[Route]] = {}
    foreign = tuple(foreign)
    if not foreign:
        return state, ()
    places = {(route.table, route.dst) for route in foreign}
    for obj in state.kinds[Kind.ROUTE].values():
        if isinstance(obj, Route) and (obj.table, obj.dst) in places:
            wanted.setdefault((obj.table, obj.dst), []).append(obj)
    for other in foreign:
        for ours in wanted.get((other.table, other.dst), ()):
            if other.metric == ours.metric:
                taken.add(ours.key)
                findings.append(
                    _finding("RouteConflict", other, "has the place of our route, which is not made")
                )
            elif other.metric < ours.metric and ours.dev:
                findings.append(
                    _finding("RouteShadowed", other, f"wins over our route of metric {ours.metric}")
                )
    if not taken:
        return state, tuple(findings)
    kept = {key: obj for key, obj in state.kinds[Kind.ROUTE].items() if key not in taken}
    return state.replaced(Kind.ROUTE, kept), tuple(findings)


def _finding(code: str, other: Route, what: str) -> Finding:
    shown = str(other).removeprefix("route ")
    return Finding(
        severity=Severity.ERROR,
        code=code,
        subject=f"route/{other.dst}",
        message=f"a route of somebody else ({shown}) {what}",
        remedy="remove that route or stop what made it; we never overwrite a foreign route",
    )

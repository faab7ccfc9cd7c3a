"""What does a finished turn mean? What it put right, and whether what the host refused takes this node out of service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.state import OF_PEERS, SINK_METRIC, HostChange, Kind, Route

Failure = tuple[HostChange, NodeIPAMError]


def essential(failed: Sequence[Failure], wanted: HostState) -> tuple[Failure, ...]:
    """Refusals that take the node out of service: of what is its own, or of most of what other nodes need here.

    What one other node says of itself must not do that: of its objects alone the node is out of reach, and everybody else is not.
    """
    peers = [failure for failure in failed if _of_a_peer(failure[0])]
    if 2 * len(peers) > sum(len(wanted.kinds[kind]) for kind in OF_PEERS):
        return tuple(failed)
    return tuple(failure for failure in failed if not _of_a_peer(failure[0]))


def out_of_reach(failed: Sequence[Failure], wanted: HostState) -> tuple[Finding, ...]:
    """One finding for the refusals that leave the node in service."""
    if not failed or essential(failed, wanted):
        return ()
    return (
        Finding(
            severity=Severity.ERROR,
            code="PeerNotProgrammed",
            subject=f"{failed[0][0].key.kind}/{failed[0][0].after or failed[0][0].before}",
            message=f"refused for some of the other nodes, which are out of reach: {reasons(failed)}",
            remedy="correct what that node says of itself, or what this host lacks; it is tried again",
        ),
    )


def repaired(done: Iterable[HostChange], before: HostState) -> tuple[HostChange, ...]:
    """Changes that put back what was wanted before already: somebody else had changed it."""
    # Others' forward chains are no part of what is wanted: they are found on the host.
    return tuple(
        c for c in done if c.key.kind is Kind.FORWARD or before.kinds[c.key.kind].get(c.key) == c.after
    )


def reasons(failed: Iterable[tuple[object, NodeIPAMError]]) -> str:
    """The first failure and how many more there are, one line."""
    errors = [f"{change}: {error}" for change, error in failed]
    return "" if not errors else errors[0] + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")


def _of_a_peer(change: HostChange) -> bool:
    obj = change.after or change.before
    return change.key.kind in OF_PEERS and not (isinstance(obj, Route) and obj.metric == SINK_METRIC)

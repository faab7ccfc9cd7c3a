"""What do we tell the users of the cluster? Which happening becomes an Event, once each, and which is not worth one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nodeipam_ctl.controller.patcher import Settled
from nodeipam_ctl.ipam.outcomes import Waiver, Woken
from nodeipam_ctl.kube.events import EventRecorder, Target
from nodeipam_ctl.model import Assignment, Finding, Node, NodeName, NodeUID, Refusal

TELL_AGAIN_S = 1200.0
"""A node that still waits is told so again after this time, in seconds: the API server forgets Events after an hour."""

CALM = 50
"""So many Events may wait to be sent before good news is no longer added: in a burst the log and the Nodes tell it."""

_Told = dict[NodeUID, tuple[tuple[object, ...], float]]
"""The gist of what each node was told last, and when."""

_VARYING: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+(\.\d+)?")
"""What differs in two refusals for one reason: request ids, times, ports."""


class NodeEvents:
    """Events about Nodes.

    A Normal Event for each assignment costs a request for each node. They are sent while the cluster is calm, and left out
    in a burst, so that a thousand new nodes do not put a thousand Events before the first Warning.
    """

    def __init__(self, recorder: EventRecorder, *, monotonic: Callable[[], float]) -> None:
        self._recorder = recorder
        self._monotonic = monotonic
        self._refused: _Told = {}
        self._failed: _Told = {}
        self._conflicts: set[tuple[NodeUID, str, str]] = set()

    def assigned(self, assignment: Assignment) -> None:
        """A Node has its podCIDRs now."""
        self._refused.pop(assignment.uid, None)
        self._failed.pop(assignment.uid, None)
        if self._recorder.waiting < CALM:
            cidrs = ", ".join(str(cidr) for cidr in assignment.pod_cidrs)
            text = f"got {cidrs} from ClusterCIDR {assignment.pool}"
            self._recorder.normal(_node(assignment.node, assignment.uid), "CIDRAssigned", text)

    def registered_with(self, node: Node) -> None:
        """A Node came with podCIDRs, which nobody we know of gave it."""
        if self._recorder.waiting < CALM:
            cidrs = ", ".join(str(cidr) for cidr in node.pod_cidrs)
            text = (
                f"registered with podCIDRs {cidrs}, which whoever created the Node gave it (such as kubelet --pod-cidr); "
                "they stay as they are, delete and re-create the Node without them to get some from a ClusterCIDR"
            )
            self._recorder.normal(_node(node.name, node.uid), "CIDRRegistered", text)

    def refused(self, refusal: Refusal) -> bool:
        """A Node gets nothing now; told when it is news: for the first time, for another reason, or after long."""
        # The message has counts in it that change all the time: they are not news.
        gist = (refusal.reason, tuple((c.pool, c.verdict) for c in refusal.considered))
        if not self._is_news(self._refused, refusal.uid, gist):
            return False
        self._recorder.warning(_node(refusal.node, refusal.uid), "CIDRNotAvailable", refusal.message)
        return True

    def failed(self, settled: Settled) -> bool:
        """The API server refused an assignment; told when it is news: for the first time, for another reason, or after long."""
        gist = (_VARYING.sub("#", settled.reason),)
        if not self._is_news(self._failed, settled.assignment.uid, gist):
            return False
        assignment = settled.assignment
        cidrs = ", ".join(str(cidr) for cidr in assignment.pod_cidrs)
        self._recorder.warning(
            _node(assignment.node, assignment.uid),
            "CIDRAssignmentFailed",
            f"could not set {cidrs} from ClusterCIDR {assignment.pool}: {settled.reason}; it is tried again, "
            "look for an admission webhook or policy that refuses it, or a missing permission",
        )
        return True

    def conflict(self, node: Node, finding: Finding) -> bool:
        """A Node's podCIDRs collide with something; told once for each collision."""
        key = (node.uid, finding.code, finding.message)
        if key in self._conflicts:
            return False
        self._conflicts.add(key)
        message = f"{finding.message}; {finding.remedy}"
        # Each its own Event: that another allocator is at work must not cover what its podCIDR collides with.
        self._recorder.warning(_node(node.name, node.uid), "CIDRConflict", message, topic=message)
        return True

    def reused_early(self, woken: Woken, uid: NodeUID) -> None:
        """Resting addresses went to another node before their time."""
        match woken.waiver:
            case Waiver.STATIC:
                why = "because spec.static of its ClusterCIDR promises it these; see that nothing still talks to the old node"
            case Waiver.SHOWN:
                why = "because it has them already, from whoever set its podCIDRs; see that nothing still talks to the old node"
            case _:
                why = f"because ClusterCIDR {woken.pool} has no other block; append a range to it"
        self._recorder.warning(
            _node(woken.taken_by, uid),
            "CIDRReusedEarly",
            f"got addresses of {woken.cidr} before its rest after node {woken.node} was over, {why}",
            topic=str(woken.cidr),
        )

    def gone(self, uid: NodeUID) -> None:
        """Nothing more will be said about this Node."""
        self._refused.pop(uid, None)
        self._failed.pop(uid, None)
        if self._conflicts:
            self._conflicts = {key for key in self._conflicts if key[0] != uid}

    def _is_news(self, told: _Told, uid: NodeUID, gist: tuple[object, ...]) -> bool:
        known, told_at_s = told.get(uid, ((), 0.0))
        now_s = self._monotonic()
        if known == gist and now_s - told_at_s < TELL_AGAIN_S:
            return False
        told[uid] = (gist, now_s)
        return True


def _node(name: NodeName, uid: NodeUID) -> Target:
    return Target(api_version="v1", kind="Node", name=name, uid=uid)

"""What trouble is there that we did not cause? podCIDRs that collide, and podCIDRs that somebody else sets while we lead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from nodeipam_ctl.controller.eventing import NodeEvents
from nodeipam_ctl.controller.metrics import ControllerMetrics
from nodeipam_ctl.model import Finding, Node, NodeUID, Severity

log = structlog.get_logger(__name__)

SETTLING_S = 2.0
"""How long a foreign podCIDR may stand without a ledger line before it is reported, in seconds: two watches are not in step."""

SECOND_ALLOCATOR = "SecondAllocator"


class Conflicts:
    """Reports each collision once: Event, log line, metric.

    Args:
        nodes: the informer's store, by uid.
        stands: whether the ledger promises a Node what it has.
        adopt: has the ledger say what a Node has.
    """

    def __init__(
        self,
        *,
        nodes: Mapping[str, Node],
        stands: Callable[[Node], bool],
        adopt: Callable[[Node], None],
        told: NodeEvents,
        metrics: ControllerMetrics,
        settling_s: float = SETTLING_S,
    ) -> None:
        self._nodes = nodes
        self._stands = stands
        self._adopt = adopt
        self._told = told
        self._metrics = metrics
        self._settling_s = settling_s
        self._suspects: dict[NodeUID, asyncio.TimerHandle] = {}

    def report(self, node: Node, finding: Finding) -> None:
        """Tells of a collision, unless it was told already."""
        if self._told.conflict(node, finding):
            log.warning("pod_cidr_conflict", node=node.name, problem=finding.message, remedy=finding.remedy)
            self._metrics.conflict(finding.code)

    def suspect(self, node: Node, *, registered: bool) -> None:
        """A Node has podCIDRs that we did not give it: another leader's, whose line is about to come, or who else's?

        Only after `settling_s` does the ledger adopt them: our own line would hide whether there was one.

        Args:
            node: the Node.
            registered: it had them when it was first seen, as with kubelet's --pod-cidr; a second allocator patches a Node
                that was there without.
        """
        if self._stands(node):
            self._adopt(node)
        elif node.uid not in self._suspects:
            judge = partial(self._judge, node.uid, registered=registered)
            timer = asyncio.get_running_loop().call_later(self._settling_s, judge)
            self._suspects[node.uid] = timer

    def second_allocator(self, node: Node) -> None:
        """Somebody who keeps no ledger sets podCIDRs as well."""
        cidrs = ", ".join(str(cidr) for cidr in node.pod_cidrs) or "something that is no CIDR"
        self.report(
            node,
            Finding(
                severity=Severity.ERROR,
                code=SECOND_ALLOCATOR,
                subject=f"node/{node.name}",
                message=f"podCIDRs {cidrs} were set by another allocator",
                remedy="run one allocator only: kube-controller-manager needs --allocate-node-cidrs=false",
            ),
        )

    def gone(self, uid: NodeUID) -> None:
        """The Node is gone."""
        timer = self._suspects.pop(uid, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Ends all timers."""
        for uid in list(self._suspects):
            self.gone(uid)

    def _judge(self, uid: NodeUID, *, registered: bool) -> None:
        self._suspects.pop(uid, None)
        node = self._nodes.get(uid)
        if node is not None and node.pod_cidrs:
            if not self._stands(node):
                (self._registered_with if registered else self.second_allocator)(node)
            self._adopt(node)

    def _registered_with(self, node: Node) -> None:
        """Nothing wrong by itself; what its podCIDRs collide with is told apart."""
        self._told.registered_with(node)
        log.info(
            "node_registered_with_pod_cidrs", node=node.name, pod_cidrs=[str(cidr) for cidr in node.pod_cidrs]
        )

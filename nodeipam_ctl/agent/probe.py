"""Do packets really get to other nodes' pod networks? A few peers are asked now and then; routes never depend on it.

A sample at a time, plus every peer that did not answer last time: a peer is named when it stays silent for three rounds. The target
is the first address of the peer's podCIDR, by the way that pods' packets take: a pod's gateway answers, and without any pod the
peer's sink says "unreachable", which is as good.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from nodeipam_ctl.agent.metrics import ProbeMetrics
from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.linux import echo
from nodeipam_ctl.model import Finding, NodeUID
from nodeipam_ctl.prefixes import Address, Network
from nodeipam_ctl.routing.view import HostFacts, Peer
from nodeipam_ctl.settings import AgentSettings

log = structlog.get_logger(__name__)

_TIMEOUT_S = 1.0
_ROUNDS = 3
"""Rounds without an answer after which a peer is named."""


class Probe:
    """Asks in rounds.

    Args:
        changed: called when the findings have changed.

    Attributes:
        findings: peers that stay silent.
    """

    def __init__(
        self,
        settings: AgentSettings,
        metrics: ProbeMetrics,
        *,
        turn: Callable[[], Turn | None],
        facts: Callable[[], HostFacts],
        changed: Callable[[], None],
    ) -> None:
        self.findings: tuple[Finding, ...] = ()
        self._settings = settings
        self._metrics = metrics
        self._turn = turn
        self._facts = facts
        self._changed = changed
        self._silent: dict[NodeUID, int] = {}
        self._refused = ""

    async def run(self) -> None:
        """Asks for ever; ends only by cancellation."""
        while True:
            await asyncio.sleep(self._settings.probe_interval_s * random.uniform(0.8, 1.2))
            try:
                await self.one_round()
            except NodeIPAMError as exc:
                if str(exc) != self._refused:
                    self._refused = str(exc)
                    log.warning("probe_failed", reason=str(exc))

    async def one_round(self) -> None:
        """Asks a sample and the silent ones.

        Raises:
            Permanent: this process may not probe.
        """
        turn = self._turn()
        peers = {peer.uid: peer for peer in turn.snapshot.peers if peer.pod_cidrs} if turn is not None else {}
        chosen = [uid for uid in self._silent if uid in peers][: self._settings.probe_peers]
        rest = [uid for uid in peers if uid not in self._silent]
        chosen += random.sample(rest, min(len(rest), self._settings.probe_peers))
        sources = self._sources(turn.snapshot.own) if turn is not None else {}
        targets = {uid: target(peers[uid].pod_cidrs) for uid in chosen}
        if self._settings.backend == "vxlan-gpe" and 6 not in sources:
            targets = {uid: address for uid, address in targets.items() if address.version == 4}
        udp = self._settings.probe == "udp"
        answers = await echo.volley(targets.values(), udp=udp, timeout_s=_TIMEOUT_S, sources=sources)
        silent = {uid: rounds for uid, rounds in self._silent.items() if uid in peers}
        for uid, address in targets.items():
            answer = answers.get(address)
            if answer is not None and self._counts(answer, peers[uid]):
                self._metrics.answered(answer.rtt_s)
                silent.pop(uid, None)
            else:
                self._metrics.lost()
                silent[uid] = silent.get(uid, 0) + 1
        self._silent = silent
        lasting = [peers[uid] for uid, rounds in silent.items() if rounds >= _ROUNDS]
        self._metrics.unreachable(len(lasting))
        findings = tuple(_finding(peer) for peer in lasting)
        if findings != self.findings:
            self.findings = findings
            self._changed()

    def _sources(self, own: Peer | None) -> dict[int, Address]:
        """Our InternalIP on vxlan-gpe and IPv6, where the kernel would choose our podCIDR's network address.

        Peers have no next hop in their route to it, so it looks like an anycast address to them, and no error is ever sent to one
        (`ipv6_anycast_destination`; RFC 4443, section 2.4).
        """
        if self._settings.backend != "vxlan-gpe" or own is None:
            return {}
        return {address.version: address for address in own.addresses if address.version == 6}

    def _counts(self, answer: echo.Answer, peer: Peer) -> bool:
        """Whether the answer proves that the peer was reached: our own kernel says "unreachable" too, and so do routers."""
        if not answer.unreachable:
            return True
        if self._settings.backend == "none":
            return answer.by in peer.addresses or any(answer.by in cidr for cidr in peer.pod_cidrs)
        return self._facts().link_with(answer.by) is None


def target(pod_cidrs: tuple[Network, ...]) -> Address:
    """Whom to ask at a peer: its gateway to its pods, on IPv4 where it has that."""
    cidr = min(pod_cidrs, key=lambda cidr: cidr.version)
    return cidr.network_address + (1 if cidr.num_addresses > 2 else 0)


def _finding(peer: Peer) -> Finding:
    return Finding(
        code="PeerUnreachable",
        subject=f"node/{peer.name}",
        message=f"probes to {target(peer.pod_cidrs)} by way of node {peer.name} stay without an answer; its routes stay",
        remedy="see that the node runs, and that nothing between the nodes drops the backend's packets",
    )

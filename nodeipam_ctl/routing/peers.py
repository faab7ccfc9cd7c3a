"""Which podCIDRs of other nodes may this host route, and why not the rest? A bad peer is reported and never stops the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.prefixes import Address, Network, contains, overlaps
from nodeipam_ctl.routing.view import NodeView, Peer


def refusal(cidr: Network, peer: Peer, view: NodeView) -> Finding | None:
    """Why a route to this podCIDR would harm this host; None when it would not."""
    reason = _reason(cidr, peer, view)
    return None if reason is None else _refused(cidr, peer, reason)


def covering(holders: Mapping[Network, Peer], view: NodeView) -> dict[Network, Finding]:
    """Blocks around other nodes' addresses on our own segments: their routes would cut us off from those nodes.

    An address elsewhere is no reason: else a node could take another's route away by what it says of itself.
    """
    by_length: dict[tuple[int, int], dict[int, Network]] = {}
    for cidr in holders:
        shift = cidr.max_prefixlen - cidr.prefixlen
        by_length.setdefault((cidr.version, shift), {})[int(cidr.network_address) >> shift] = cidr
    found: dict[Network, Finding] = {}
    for peer in view.peers:
        for address in peer.addresses:
            for (version, shift), cidrs in by_length.items():
                if version != address.version or (hit := cidrs.get(int(address) >> shift)) is None:
                    continue
                holder = holders[hit]
                if holder is not peer and hit not in found and _on_link(address, view):
                    found[hit] = _refused(hit, holder, f"covers the address {address} of node {peer.name}")
    return found


def claims(view: NodeView) -> tuple[dict[Network, Peer], tuple[Finding, ...]]:
    """Who holds each podCIDR; of several claims the oldest wins, so nothing flaps while a dispute lasts."""
    holders: dict[Network, Peer] = {}
    findings: list[Finding] = []
    for peer in view.peers:
        for cidr in peer.pod_cidrs:
            other = holders.setdefault(cidr, peer)
            if other is not peer:
                winner, loser = sorted((other, peer), key=_seniority)
                holders[cidr] = winner
                findings.append(_conflict(cidr, winner, loser))
    return holders, tuple(findings)


def broken_records(peers: Iterable[Peer]) -> tuple[Finding, ...]:
    """Findings about records that could not be read whole."""
    return tuple(
        Finding(
            code="PeerUnreadable",
            subject=f"node/{peer.name}",
            message=problem,
            remedy="correct the Node object; what could be read of it is in use",
        )
        for peer in peers
        for problem in peer.problems
    )


def _refused(cidr: Network, peer: Peer, reason: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="PeerRefused",
        subject=f"node/{peer.name}",
        message=f"podCIDR {cidr} {reason}, so no route is made",
        remedy="correct the node's podCIDR, or delete and re-create the Node",
    )


def _on_link(address: Address, view: NodeView) -> bool:
    return any(address in subnet for link in view.facts.links if not link.ours for subnet in link.subnets)


def _seniority(peer: Peer) -> tuple[float, str, str]:
    return peer.since_s, peer.name, peer.uid


def _conflict(cidr: Network, winner: Peer, loser: Peer) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="PodCIDRConflict",
        subject=f"node/{loser.name}",
        message=f"podCIDR {cidr} belongs to node {winner.name} as well, which had it first and keeps the route",
        remedy=f"delete and re-create the Node {loser.name} so that it gets a block of its own",
    )


def _reason(cidr: Network, peer: Peer, view: NodeView) -> str | None:
    if cidr.prefixlen == 0:
        return "is the default route"
    for word, wrong in (
        ("loopback", cidr.is_loopback),
        ("multicast", cidr.is_multicast),
        ("link-local", cidr.is_link_local),
        ("unspecified", cidr.network_address.is_unspecified),
    ):
        if wrong:
            return f"is {word} space"
    for mine in view.own.pod_cidrs if view.own else ():
        if overlaps(cidr, mine):
            return f"overlaps this node's own podCIDR {mine}"
    for service in (*view.settings.service_cidrs, *view.service_cidrs):
        if overlaps(cidr, service):
            return f"overlaps the service range {service}"
    for link in view.facts.links:
        for address in link.addresses:
            if address in cidr:
                return f"covers this node's own address {address} on {link.name}"
        for subnet in link.subnets:
            # A peer's block around or equal to a subnet we stand in would cut us off from that segment.
            if not link.ours and contains(cidr, subnet):
                return f"covers the subnet {subnet} of {link.name}"
    for address in peer.addresses:
        if view.facts.link_with(address) is not None:
            # A node that was renamed leaves its old Node object behind: same address, another podCIDR.
            return f"belongs to a node with this host's own address {address}"
        if address in cidr:
            return f"covers the node's own address {address}"
    return None

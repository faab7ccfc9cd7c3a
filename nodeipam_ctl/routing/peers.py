"""Which podCIDRs of other nodes may this host route, and why not the rest? A bad peer is reported and never stops the others."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol, TypeVar

from nodeipam_ctl.model import Finding, NodeUID, Severity
from nodeipam_ctl.prefixes import Address, Family, Network, contains, family_of, overlaps
from nodeipam_ctl.routing import flannel
from nodeipam_ctl.routing.state import FdbEntry
from nodeipam_ctl.routing.view import NodeView, Peer


class Place(NamedTuple):
    """A podCIDR as numbers: the standard library's networks are slow to hash, and there are thousands each time."""

    version: int
    prefix_length: int
    network: int

    @classmethod
    def of(cls, cidr: Network) -> Place:
        """The place of a podCIDR."""
        return cls(cidr.version, cidr.prefixlen, int(cidr.network_address))

    @classmethod
    def around(cls, inner: Network | Address, prefix_length: int) -> Place:
        """The place of the block of a size in which a podCIDR or an address lies."""
        first = inner if isinstance(inner, IPv4Address | IPv6Address) else inner.network_address
        shift = first.max_prefixlen - prefix_length
        return cls(first.version, prefix_length, int(first) >> shift << shift)

    @classmethod
    def all_around(cls, inner: Network | Address, sizes: Iterable[tuple[int, int]]) -> Iterator[Place]:
        """The same for every size, given as version and prefix length, that is not smaller than what lies in it: the sizes are few.

        So thousands of blocks are found around thousands of others without comparing each with each.
        """
        length = inner.max_prefixlen if isinstance(inner, IPv4Address | IPv6Address) else inner.prefixlen
        return (
            cls.around(inner, size) for version, size in sizes if version == inner.version and size <= length
        )


class Claim(Protocol):
    """A node's word that a podCIDR is its own, with whatever the caller keeps beside it."""

    @property
    def peer(self) -> Peer:
        """Whose word."""
        ...

    @property
    def cidr(self) -> Network:
        """Of what."""
        ...

    @property
    def place(self) -> Place:
        """The same as numbers."""
        ...


C = TypeVar("C", bound=Claim)

SHORTEST = {Family.IPV4: 9, Family.IPV6: 33}
"""Prefix length of the largest block that a ClusterCIDR can give to a node: two of 0.0.0.0/1 and 128.0.0.0/1 are a default route."""


class BareClaim(NamedTuple):
    """A claim with nothing beside it."""

    peer: Peer
    cidr: Network
    place: Place


def bare_claims(peers: Iterable[Peer]) -> Iterator[BareClaim]:
    """Every claim of these peers, in their order."""
    return (BareClaim(peer, cidr, Place.of(cidr)) for peer in peers for cidr in peer.pod_cidrs)


def refusal(cidr: Network, peer: Peer, view: NodeView) -> Finding | None:
    """Why a route to this podCIDR would harm this host; None when it would not."""
    reason = _reason(cidr, peer, view)
    return None if reason is None else _refused(cidr, peer, reason)


def near(cidr: Network, view: NodeView) -> bool:
    """Whether a podCIDR lies on one of our own segments: only then can it be `covering` a node's address there."""
    return any(
        overlaps(cidr, subnet) for link in view.facts.links if not link.ours for subnet in link.subnets
    )


def covering(nearby: Mapping[Place, Claim], view: NodeView) -> dict[Place, Finding]:
    """Those of the blocks near us that lie around another node's address on our segments: routes to them would cut us off from that node.

    An address elsewhere is no reason: else a node could take another's route away by what it says of itself.
    """
    lengths = {(place.version, place.prefix_length) for place in nearby}
    found: dict[Place, Finding] = {}
    for peer in view.peers if nearby else ():
        for address in peer.addresses:
            for place in Place.all_around(address, lengths):
                claim = nearby.get(place)
                if claim is None or place in found or claim.peer == peer or not _on_link(address, view):
                    continue
                found[place] = _refused(
                    claim.cidr, claim.peer, f"covers the address {address} of node {peer.name}"
                )
    return found


def held(claims: Iterable[C]) -> tuple[dict[Place, C], tuple[Finding, ...]]:
    """Who holds each podCIDR; of several claims the oldest wins, so nothing flaps while a dispute lasts."""
    holders: dict[Place, C] = {}
    findings: list[Finding] = []
    for claim in claims:
        other = holders.setdefault(claim.place, claim)
        if other is not claim and other.peer is not claim.peer:
            winner, loser = sorted((other, claim), key=_seniority)
            holders[claim.place] = winner
            findings.append(_conflict(loser, winner, "which had it first and keeps the route"))
    return holders, tuple(findings)


def overlapping(holders: Mapping[Place, Claim]) -> tuple[dict[Place, Finding], tuple[Finding, ...]]:
    """Blocks of different sizes over each other: those that get no route, and findings about those that share.

    The longest prefix decides about a packet, so nobody takes more away than he claims, and the others go on. But blocks that
    begin at the same address have one tunnel gateway between them: there the older one keeps the route.
    """
    lengths = {(place.version, place.prefix_length) for place in holders}
    dropped: dict[Place, Finding] = {}
    shared: list[Finding] = []
    if len(lengths) == len({version for version, _ in lengths}):
        return dropped, ()  # one size of each family, as nearly always
    sizes = sorted(lengths)
    for place, claim in holders.items():
        for around in Place.all_around(claim.cidr, sizes):
            other = holders.get(around)
            if other is None or other.peer == claim.peer:
                continue
            winner, loser = sorted((other, claim), key=_seniority)
            if around.network == place.network:
                dropped[loser.place] = _conflict(loser, winner, "which had it first and keeps the route")
            else:
                shared.append(_conflict(other, claim, "to which packets for these addresses go"))
    return dropped, tuple(shared)


def sharing_macs(
    entries: Sequence[tuple[Claim, FdbEntry]], own: Container[tuple[str, str]]
) -> dict[Place, tuple[Finding, ...]]:
    """Blocks behind a VTEP MAC that is another node's as well, as cloned machines publish it: these get no route.

    The kernel knows one destination for a MAC on a device, so of several nodes only the oldest can be reached. And it drops
    whatever comes from its own MAC (vxlan_set_mac in drivers/net/vxlan), so a node with ours cannot be reached at all.

    Args:
        entries: each block that is reached through an FDB entry, with that entry.
        own: device and MAC of our own tunnels.

    Returns:
        The blocks without a route; the finding is beside the first of a node's blocks behind the same MAC.
    """
    first: dict[tuple[str, str], Claim] = {}
    contested: dict[tuple[str, str], list[tuple[Claim, FdbEntry]]] = {}
    for claim, entry in entries:
        tunnel = entry.dev, entry.mac
        if first.setdefault(tunnel, claim).peer is not claim.peer or tunnel in own:
            contested[tunnel] = []
    for claim, entry in entries if contested else ():
        if (tunnel := (entry.dev, entry.mac)) in contested:
            contested[tunnel].append((claim, entry))
    found: dict[Place, tuple[Finding, ...]] = {}
    for tunnel, claims in contested.items():
        ours = tunnel in own
        owner, kept = min(claims, key=lambda pair: _seniority(pair[0]))
        lost: dict[NodeUID, list[Claim]] = {}
        for claim, entry in claims:
            # Two Node objects of one machine are no dispute: their packets go to the same place.
            if ours or entry.dst != kept.dst:
                lost.setdefault(claim.peer.uid, []).append(claim)
        for some in lost.values():
            found |= dict.fromkeys((claim.place for claim in some), ())
            found[some[0].place] = (_shared_mac(some, kept, None if ours else owner.peer),)
    return found


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


def _seniority(claim: Claim) -> tuple[float, str, str]:
    return claim.peer.since_s, claim.peer.name, claim.peer.uid


def _conflict(loser: Claim, winner: Claim, why: str) -> Finding:
    whose = (
        f"belongs to node {winner.peer.name} as well"
        if winner.place == loser.place
        else f"overlaps {winner.cidr} of node {winner.peer.name}"
    )
    return Finding(
        severity=Severity.ERROR,
        code="PodCIDRConflict",
        subject=f"node/{loser.peer.name}",
        message=f"podCIDR {loser.cidr} {whose}, {why}",
        remedy=f"delete and re-create the Node {loser.peer.name} so that it gets a block of its own",
    )


def _shared_mac(lost: Sequence[Claim], entry: FdbEntry, owner: Peer | None) -> Finding:
    peer, cidrs = lost[0].peer, ", ".join(str(claim.cidr) for claim in lost)
    whose = (
        "this node's own as well, and the kernel drops what comes from its own"
        if owner is None
        else f"that of node {owner.name} as well, which had it first and keeps it"
    )
    return Finding(
        severity=Severity.ERROR,
        code="VtepMACShared",
        subject=f"node/{peer.name}",
        message=f"VTEP MAC {entry.mac} is {whose}, so no route is made to {cidrs}",
        remedy=(
            f"renew /etc/machine-id of {peer.name} if the machine is a clone, remove the Node's annotation "
            f"{flannel.BACKEND_DATA[family_of(entry.dst)]}, delete the device {entry.dev} there and restart its network agent"
        ),
    )


def own_refusals(view: NodeView) -> dict[Network, str]:
    """Those of this node's own podCIDRs from which no pod may have an address, and why: it would be somebody's already."""
    found: dict[Network, str] = {}
    for cidr in view.own.pod_cidrs if view.own else ():
        inside = [address for address in view.own.addresses if address in cidr] if view.own else []
        reason = f"covers this node's own InternalIP {inside[0]}" if inside else _taken(cidr, view)
        if reason is not None:
            found[cidr] = reason
    return found


def _taken(cidr: Network, view: NodeView) -> str | None:
    """Why a block can be nobody's podCIDR."""
    if cidr.prefixlen == 0:
        return "is the default route"
    if cidr.prefixlen < SHORTEST[family_of(cidr)]:
        return f"is larger than any node's block (/{SHORTEST[family_of(cidr)]})"
    if view.api_server is not None and view.api_server in cidr:
        return f"covers the API server's address {view.api_server}"
    for word, wrong in (
        ("loopback", cidr.is_loopback),
        ("multicast", cidr.is_multicast),
        ("link-local", cidr.is_link_local),
        ("unspecified", cidr.network_address.is_unspecified),
    ):
        if wrong:
            return f"is {word} space"
    for service in (*view.settings.service_cidrs, *view.service_cidrs):
        if overlaps(cidr, service):
            return f"overlaps the service range {service}"
    return None


def _reason(cidr: Network, peer: Peer, view: NodeView) -> str | None:
    if (taken := _taken(cidr, view)) is not None:
        return taken
    for mine in view.own.pod_cidrs if view.own else ():
        if overlaps(cidr, mine):
            return f"overlaps this node's own podCIDR {mine}"
    # Our own tunnels are left out: for a moment they have the address of a podCIDR that was ours and is a peer's by now.
    links = [link for link in view.facts.links if not link.ours]
    for link in links:
        for address in link.addresses:
            if address in cidr:
                return f"covers this node's own address {address} on {link.name}"
        for subnet in link.subnets:
            # A peer's block around or equal to a subnet we stand in would cut us off from that segment.
            if contains(cidr, subnet):
                return f"covers the subnet {subnet} of {link.name}"
    for address in peer.addresses:
        if any(address in link.addresses for link in links):
            # A node that was renamed leaves its old Node object behind: same address, another podCIDR.
            return f"belongs to a node with this host's own address {address}"
        if address in cidr:
            return f"covers the node's own address {address}"
    return None

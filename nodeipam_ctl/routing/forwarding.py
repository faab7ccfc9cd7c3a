"""Does somebody's firewall drop what our pods say to other nodes, and what must it accept?

A verdict `accept` in a table of ours cannot overrule another chain's `drop`: every base chain of a hook sees the packet. So a
chain with policy drop gets one marked jump, as its last rule, to a chain of ours beside it, which accepts the pod network.
As the last rule, because what others deny before it (network policies) stays denied; only the policy is overruled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import collapse_addresses

from nodeipam_ctl.model import Finding
from nodeipam_ctl.prefixes import Family, Network, family_of
from nodeipam_ctl.routing.state import ForwardAccept
from nodeipam_ctl.routing.view import NodeView

FAMILIES = {
    "ip": (Family.IPV4,),
    "ip6": (Family.IPV6,),
    "inet": (Family.IPV4, Family.IPV6),
}
"""Which packets a table of an nftables family sees."""


def accepted(chains: Iterable[ForwardAccept], view: NodeView) -> tuple[ForwardAccept, ...]:
    """The chains as they should be, those left out from which our jump must go.

    Args:
        chains: every base chain that drops forwarded packets, and every other that has a jump of ours.
        view: what the node knows of the cluster.
    """
    ranges = _ranges(view)
    wanted = []
    for chain in chains:
        cidrs = tuple(cidr for cidr in ranges if family_of(cidr) in FAMILIES[chain.family])
        if not view.pools_known:
            wanted.append(chain)
        elif view.settings.forward_accept and cidrs:
            wanted.append(replace(chain, cidrs=cidrs, ours=True))
        elif not chain.ours:
            wanted.append(chain)
    return tuple(wanted)


def dropping(
    chains: Iterable[ForwardAccept], cluster_cidrs: Iterable[Network], *, problem: str = ""
) -> tuple[Finding, ...]:
    """Findings about chains that drop pods' packets and stay as they are.

    Args:
        chains: as they should be, from `accepted`.
        cluster_cidrs: what they would have to accept.
        problem: why the chains cannot be read; empty when they can.
    """
    if problem:
        return (
            Finding(
                code="ForwardUnknown",
                subject="host/forward",
                message=f"whether somebody's chain drops pods' packets cannot be seen: {problem}",
                remedy="install or grant what is named, or accept the pod network in that chain yourself",
            ),
        )
    ranges = ", ".join(map(str, cluster_cidrs)) or "the pod network"
    return tuple(
        Finding(
            code="ForwardDropped",
            subject=f"chain/{chain.family} {chain.table} {chain.chain}",
            message="its policy drops forwarded packets, which includes those of pods",
            remedy=f"run the agent with --forward-accept, or accept {ranges} in it, as source and as destination",
        )
        for chain in chains
        if not chain.ours
    )


def _ranges(view: NodeView) -> tuple[Network, ...]:
    """The pod network and our own podCIDRs; other nodes' podCIDRs outside of both are their own nodes' business."""
    known = (*view.cluster_cidrs, *(view.own.pod_cidrs if view.own else ()))
    found: list[Network] = []
    for family in Family:
        found += collapse_addresses(cidr for cidr in known if family_of(cidr) is family)  # type: ignore[type-var]  # one family
    return tuple(found)

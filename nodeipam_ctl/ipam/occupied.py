"""Which addresses are kept out though somebody has them? Service ranges and nodes' addresses in a ClusterCIDR, nodes in exclusions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nodeipam_ctl.ipam.tenancy import Tenancy
from nodeipam_ctl.model import ClusterCIDR, Finding, NodeUID, Severity
from nodeipam_ctl.prefixes import Address, Network, overlaps


def findings(
    pool: ClusterCIDR,
    reserved: Mapping[str, Iterable[Network]],
    addresses: Iterable[tuple[str, tuple[Address, ...]]],
) -> Iterator[Finding]:
    """What is wrong with the place of one ClusterCIDR in the cluster.

    Args:
        pool: the ClusterCIDR.
        reserved: service ranges by where they come from, such as `servicecidr/kubernetes`.
        addresses: InternalIPs by node name; only nodes with an address in some ClusterCIDR need be among them.
    """
    ranges = [cidr for spec in pool.families.values() for cidr in spec.cidrs]
    for source, networks in sorted(reserved.items()):
        for network in networks:
            for cidr in ranges:
                if overlaps(cidr, network):
                    yield Finding(
                        severity=Severity.ERROR,
                        code="OverlapsServiceCIDR",
                        subject=f"clustercidr/{pool.name}",
                        message=f"its range {cidr} overlaps the service range {network} of {source}, "
                        "which is never handed out",
                        remedy="take the service range out of the pool's ranges",
                    )
    inside = [
        (name, address)
        for name, own in addresses
        for address in own
        if any(address.version == cidr.version and address in cidr for cidr in ranges)
    ]
    if inside:
        name, address = min(inside, key=lambda entry: (entry[0], str(entry[1])))
        yield Finding(
            code="NodeAddressInside",
            subject=f"clustercidr/{pool.name}",
            message=f"the InternalIP {address} of node {name} lies in its ranges ({len(inside)} such addresses in all); "
            "the blocks around them are never handed out",
            remedy="take the nodes' network out of the pool's ranges",
        )


def excluded(pool: ClusterCIDR, tenancy: Tenancy) -> Iterator[Finding]:
    """Exclusions of a ClusterCIDR that lie over podCIDRs which nodes have already."""
    for spec in pool.families.values():
        for cidr in spec.exclude:
            names = sorted(record.name for record in tenancy.nodes_in((cidr,)))
            if names:
                yield Finding(
                    code="NodeInExclusion",
                    subject=f"clustercidr/{pool.name}",
                    message=f"its exclusion {cidr} holds addresses of the podCIDR of node {names[0]} "
                    f"({len(names)} such nodes in all), which it keeps",
                    remedy="drain and delete these nodes so that they register again, or correct the entry of exclude",
                )


def collisions(pool: ClusterCIDR, tenancy: Tenancy) -> Iterator[tuple[NodeUID, Finding]]:
    """The same, said of each node."""
    for record in tenancy.nodes_in(cidr for spec in pool.families.values() for cidr in spec.exclude):
        for finding in tenancy.conflict_findings(record, record.actual):
            if (
                finding.message.endswith(f" of ClusterCIDR {pool.name}")
                and "held by the exclusion " in finding.message
            ):
                yield record.uid, finding

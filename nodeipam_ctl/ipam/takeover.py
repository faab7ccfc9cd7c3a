"""Can these ClusterCIDRs take over this cluster as it is? What would be created, and every reason against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from nodeipam_ctl.ipam import pools as pool_rules
from nodeipam_ctl.ipam.audit import misfits
from nodeipam_ctl.ipam.eligibility import LONGEST_MASK
from nodeipam_ctl.ipam.forecast import World
from nodeipam_ctl.ipam.preview import with_changes
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, Finding, PoolName, Severity
from nodeipam_ctl.prefixes import Family, Network, contains, family_of, merged, overlaps

MASK_SIZES: Final = {
    Family.IPV4: (9, LONGEST_MASK[Family.IPV4]),
    Family.IPV6: (33, LONGEST_MASK[Family.IPV6]),
}
"""The nodeMaskSizes that the ClusterCIDR's schema takes, from and to."""

_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """The plan of an import.

    Attributes:
        create: ClusterCIDRs that do not exist yet.
        present: those that exist already and say the same.
        refusals: why nothing may be applied; empty when all is well.
        warnings: what is there already and would share addresses with what is created.
        nodes: how many Nodes there are.
        fitting: how many of them hold podCIDRs, all of which are blocks of a ClusterCIDR.
        without: how many of them have no podCIDRs yet.
    """

    create: tuple[ClusterCIDR, ...]
    present: tuple[PoolName, ...]
    refusals: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    nodes: int
    fitting: int
    without: int


def takeover(world: World, wanted: Sequence[ClusterCIDR], now: float) -> Takeover:
    """What it takes to go on with these ClusterCIDRs, with every Node keeping what it has.

    Args:
        world: the cluster as it is, without the ClusterCIDRs that are replaced by the wanted ones.
        wanted: the ClusterCIDRs to create.
        now: seconds since the epoch.
    """
    known = {pool.name: pool for pool in world.pools}
    create: list[ClusterCIDR] = []
    present: list[PoolName] = []
    refusals: list[Finding] = []
    for pool in wanted:
        refusals.extend(_unfit(pool))
        standing = known.get(pool.name)
        if standing is None:
            create.append(pool)
        elif same_spec(standing, pool):
            present.append(pool.name)
        else:
            refusals.append(
                _refusal(
                    pool,
                    "NameTaken",
                    "a ClusterCIDR of this name exists and says something else",
                    "choose another --name, or compare the two and delete the present one",
                )
            )
    after = replace(world, pools=with_changes(world.pools, create))
    found = misfits(after, now)
    odd = {finding.subject for finding in found}
    held = [node for node in world.nodes if node.pod_cidrs or node.problems]
    return Takeover(
        create=tuple(create),
        present=tuple(present),
        refusals=(*refusals, *found),
        warnings=tuple(f for pool in create for other in world.pools for f in _there_already(pool, other)),
        nodes=len(world.nodes),
        fitting=sum(1 for node in held if f"node/{node.name}" not in odd),
        without=len(world.nodes) - len(held),
    )


def same_spec(a: ClusterCIDR, b: ClusterCIDR) -> bool:
    """Whether two ClusterCIDRs ask for the same, whatever the API server adds to an object."""
    return _bare(a) == _bare(b)


def without_services(pool: ClusterCIDR, services: Iterable[Network]) -> ClusterCIDR:
    """The ClusterCIDR with the service ranges that reach into its own kept out, as kube-controller-manager keeps them out."""
    services = merged(services)
    return replace(
        pool,
        families={
            family: replace(
                spec,
                exclude=(
                    *spec.exclude,
                    *(
                        s
                        for s in services
                        if family_of(s) is family and any(overlaps(s, cidr) for cidr in spec.cidrs)
                    ),
                ),
            )
            for family, spec in pool.families.items()
        },
    )


def ours(upstream: ClusterCIDR) -> ClusterCIDR:
    """The ClusterCIDR of ours that says what one of networking.x-k8s.io says, under its own name."""
    return ClusterCIDR(
        name=PoolName(upstream.name.rpartition("/")[2]),
        families=upstream.families,
        selector=upstream.selector,
    )


def _there_already(pool: ClusterCIDR, other: ClusterCIDR) -> Iterator[Finding]:
    """What is said of a ClusterCIDR that has addresses already which another is to take over; an exclusion holds for both."""
    shared = []
    for family in pool.families.keys() & other.families.keys():
        mine, theirs = pool.families[family], other.families[family]
        for cidr, there in product(mine.cidrs, theirs.cidrs):
            both = max(cidr, there, key=lambda c: c.prefixlen)
            if overlaps(cidr, there) and not any(contains(e, both) for e in (*mine.exclude, *theirs.exclude)):
                shared.append(f"{cidr} {'lies in' if contains(there, cidr) else 'contains'} {there}")
    if shared:
        yield Finding(
            code="RangeTaken",
            subject=f"clustercidr/{pool.name}",
            message=f"{', '.join(sorted(shared))} of ClusterCIDR {other.name}, which is there already: both would hand out the "
            "same addresses, each once",
            remedy=f"import nothing if {other.name} is to serve these nodes, otherwise separate the ranges",
        )


def _unfit(pool: ClusterCIDR) -> Iterable[Finding]:
    if len(pool.name) > _LONGEST_NAME:
        yield _refusal(
            pool,
            "NameTooLong",
            f"its name is longer than {_LONGEST_NAME} characters",
            "write it under another name",
        )
    reason = pool_rules.unusable(pool)
    if reason is not None:
        message, _, remedy = reason.partition("; ")
        yield _refusal(pool, "InvalidClusterCIDR", message, remedy)
        return
    for family, spec in pool.families.items():
        least, most = MASK_SIZES[family]
        if not least <= spec.node_mask_size <= most:
            yield _refusal(
                pool,
                "MaskSize",
                f"node blocks of /{spec.node_mask_size} are outside /{least} to /{most}, which a ClusterCIDR can give",
                "this cluster cannot be taken over as it is: its nodes must be registered again with other blocks",
            )
        yield from _swallowed(pool, spec)


def _swallowed(pool: ClusterCIDR, spec: FamilySpec) -> Iterable[Finding]:
    for cidr in spec.cidrs:
        for excluded in spec.exclude:
            if contains(excluded, cidr):
                yield _refusal(
                    pool,
                    "NothingLeft",
                    f"the service range {excluded} covers the whole range {cidr}",
                    "check --cluster-cidr and --service-cluster-ip-range",
                )


def _refusal(pool: ClusterCIDR, code: str, message: str, remedy: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code=code,
        subject=f"clustercidr/{pool.name}",
        message=message,
        remedy=remedy,
    )


def _bare(pool: ClusterCIDR) -> ClusterCIDR:
    return replace(
        pool,
        uid="",
        generation=0,
        resource_version="",
        finalizers=(),
        terminating=False,
        created_s=0.0,
    )

"""What does the cluster say at this moment? Everything the operator's questions need, each collection read once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from nodeipam_ctl.errors import Expired, Forbidden, NotFound
from nodeipam_ctl.ipam.forecast import World
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.informer import Informer
from nodeipam_ctl.kube.kind import Resource
from nodeipam_ctl.kube.resources import cluster_cidrs, nodes, pod_cidr_slices, service_cidrs, x_cluster_cidrs
from nodeipam_ctl.kube.wire.cluster_cidrs import X_K8S_GROUP
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, Finding, LedgerPage, Node, PoolName, Severity
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.settings import API_GROUP

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The cluster as it was read.

    Attributes:
        now_s: when, in seconds since the epoch.
        pools: the ClusterCIDRs of both groups, by name.
        pages: the ledger; None when its type is not installed.
        reserved: service ranges by where they come from.
        problems: types that are missing and objects that could not be understood.
        mirrors: the controller says in a ClusterCIDR's status that it runs with --no-allocate.
    """

    now_s: float
    nodes: tuple[Node, ...]
    pools: tuple[ClusterCIDR, ...]
    pages: tuple[LedgerPage, ...] | None
    reserved: tuple[tuple[str, tuple[Network, ...]], ...]
    problems: tuple[Finding, ...]
    mirrors: bool = False

    def world(self) -> World:
        """The same, for the pure functions."""
        return World(
            pools=self.pools,
            nodes=self.nodes,
            reserved=self.reserved,
            entries=tuple(entry for page in self.pages or () for entry in page.entries),
            unreadable=tuple(
                (PoolName(problem.subject.partition("/")[2]), problem.message)
                for problem in self.problems
                if problem.code == "UnreadableClusterCIDR"
            ),
        )

    def upstream(self) -> tuple[ClusterCIDR, ...]:
        """The ClusterCIDRs of networking.x-k8s.io."""
        return tuple(pool for pool in self.pools if pool.name.startswith(f"{X_K8S_GROUP}/"))


async def read(client: Client, services: Iterable[Network] = ()) -> Snapshot:
    """Reads ClusterCIDRs, Nodes, the ledger and service ranges, in chunks.

    Nodes are read before the ledger: a line is written before its node is patched, so what a node has was promised before.

    Args:
        client: the API server.
        services: service ranges beside those of ServiceCIDR objects.

    Raises:
        NodeIPAMError: a collection cannot be read.
    """
    problems: list[Finding] = []
    mirrored: list[bool] = []
    ours = await _all(client, cluster_cidrs(mirrored=mirrored.append))
    theirs = await _allowed(client, x_cluster_cidrs(), problems)
    ranges = await _allowed(client, service_cidrs(), problems)
    found = await _all(client, nodes())
    pages = await _all(client, pod_cidr_slices())
    for name, answer in (("clustercidrs", ours), ("podcidrslices", pages)):
        if answer is None:
            problems.append(_missing(name))
    pools = _readable([*(ours or ()), *(theirs or ())], problems)
    ledger = None if pages is None else _readable(pages, problems)
    reserved = [
        (f"servicecidr/{service.name}", service.cidrs) for service in _readable(ranges or (), problems)
    ]
    given = tuple(services)
    if given:
        reserved.append(("--service-cidr", given))
    return Snapshot(
        now_s=time.time(),
        nodes=tuple(sorted(found or (), key=lambda node: node.name)),
        pools=tuple(sorted(pools, key=lambda pool: pool.name)),
        pages=None if ledger is None else tuple(sorted(ledger, key=lambda page: page.name)),
        reserved=tuple(reserved),
        problems=tuple(problems),
        mirrors=any(mirrored),
    )


async def _all(client: Client, resource: Resource[T]) -> list[T] | None:
    """Every object; None when the type is not installed."""
    informer = Informer(client, replace(resource, optional=False))
    try:
        try:
            await informer.list_once()
        except Expired:  # the list took longer than the server remembers: once more from the start
            await informer.list_once()
    except NotFound:
        return None
    return list(informer.store.values())


async def _allowed(client: Client, resource: Resource[T], problems: list[Finding]) -> list[T] | None:
    """The same for a type that many clusters lack: a server answers 403 about it to whoever may not list it."""
    try:
        return await _all(client, resource)
    except Forbidden as exc:
        problems.append(
            Finding(
                code="NotAllowed",
                subject=f"resource/{resource.name}",
                message=f"left out: {exc}",
                remedy="may be ignored where the cluster has no such objects; otherwise allow list",
            )
        )
        return None


def _readable(records: Iterable[T | Unreadable], problems: list[Finding]) -> list[T]:
    """Those that could be understood; the others are problems."""
    good: list[T] = []
    for record in records:
        if isinstance(record, Unreadable):
            problems.append(record.finding)
        else:
            good.append(record)
    return good


def _missing(name: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="TypeMissing",
        subject=f"customresourcedefinition/{name}.{API_GROUP}",
        message="the API server does not know this type",
        remedy="install the CRDs: kubectl apply -f crds/",
    )

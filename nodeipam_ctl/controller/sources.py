"""What does the controller follow, and which differences matter to it?"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from nodeipam_ctl.controller.echoes import Echoes, PageRecord
from nodeipam_ctl.kube.informer import Informer
from nodeipam_ctl.kube.kind import Resource
from nodeipam_ctl.kube.resources import cluster_cidrs, nodes, pod_cidr_slices, service_cidrs, x_cluster_cidrs
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, Node, ServiceCIDR

T = TypeVar("T")


def node_resource() -> Resource[Node]:
    """All Nodes; a heartbeat, which changes conditions and the resourceVersion only, is no difference."""
    return replace(nodes(), same=_same_node)


def pool_resources() -> tuple[Resource[ClusterCIDR | Unreadable], ...]:
    """Our ClusterCIDRs, which must exist, and those of networking.x-k8s.io, which may."""
    return replace(cluster_cidrs(), optional=False), x_cluster_cidrs()


def page_resource(echoes: Echoes) -> Resource[PageRecord]:
    """The ledger's pages, which must exist as a type; our own work is known without reading it again."""
    pages = pod_cidr_slices()
    return Resource(
        name=pages.name,
        path=pages.path,
        key=_page_name,
        glance=echoes.glance,
        decode=echoes.decode,
        remedy=pages.remedy,
    )


def service_resource() -> Resource[ServiceCIDR | Unreadable]:
    """Service ranges; servers before 1.33 have no such type."""
    return service_cidrs()


def same_pool(old: ClusterCIDR | Unreadable, new: ClusterCIDR | Unreadable) -> bool:
    """Whether a ClusterCIDR changed in nothing but its status, or in what we do not read."""
    return replace(old, resource_version=new.resource_version) == new


def same_line(old: Node, node: Node) -> bool:
    """Whether the ledger's lines for a Node say the same as before."""
    return (old.pod_cidrs, old.internal_ips, old.annotations) == (
        node.pod_cidrs,
        node.internal_ips,
        node.annotations,
    )


def asks_anew(old: Node, node: Node) -> bool:
    """Whether a Node without podCIDRs changed in something that decisions depend on."""
    return bool(old.pod_cidrs) or (old.labels, old.annotations, old.deleting) != (
        node.labels,
        node.annotations,
        node.deleting,
    )


def why_stale(informer: Informer[T]) -> str:
    """Why a store may be out of date, one line; empty when it is not."""
    if not informer.synced.is_set():
        return informer.problem or "not listed yet"
    return informer.problem


def _same_node(old: Node, new: Node) -> bool:
    return old.resource_version == new.resource_version or (
        old.pod_cidrs == new.pod_cidrs
        and old.internal_ips == new.internal_ips
        and old.labels == new.labels
        and old.annotations == new.annotations
        and old.deleting == new.deleting
        and old.problems == new.problems
    )


def _page_name(page: PageRecord) -> str:
    return page.name

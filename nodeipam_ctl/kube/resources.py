"""Which collections do we follow, and how is a record of each made and told apart?"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw

from nodeipam_ctl.kube.kind import Resource
from nodeipam_ctl.kube.wire.cluster_cidrs import (
    CLUSTER_CIDRS,
    X_K8S_CLUSTER_CIDRS,
    decode_cluster_cidr,
    decode_x_cluster_cidr,
    is_only_mirrored,
)
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.kube.wire.nodes import NODES, decode_node, glance_node
from nodeipam_ctl.kube.wire.service_cidrs import SERVICE_CIDRS, decode_service_cidr
from nodeipam_ctl.kube.wire.slices import POD_CIDR_SLICES, decode_slice
from nodeipam_ctl.model import ClusterCIDR, LedgerPage, Node, ServiceCIDR

_INSTALL = "install the CRDs: kubectl apply -f crds/"


def nodes(*, name: str | None = None) -> Resource[Node]:
    """All Nodes, or the one of a name. A re-created Node of the same name is another one: the key is its uid."""
    return Resource(
        name="nodes",
        path=NODES,
        decode=decode_node,
        key=lambda node: node.uid,
        glance=glance_node,
        field_selector=f"metadata.name={name}" if name is not None else None,
    )


def cluster_cidrs(*, mirrored: Callable[[bool], object] | None = None) -> Resource[ClusterCIDR | Unreadable]:
    """Our pools. A server without the CRD has none; it is asked again now and then.

    Args:
        mirrored: told of each object whether its status says that the controller allocates nothing.
    """

    def decode(raw: Raw) -> ClusterCIDR | Unreadable | None:
        if mirrored is not None:
            mirrored(is_only_mirrored(raw))
        return decode_cluster_cidr(raw)

    return Resource(
        name="clustercidrs",
        path=CLUSTER_CIDRS,
        decode=decode,
        key=lambda pool: pool.uid or pool.name,
        optional=True,
        remedy=_INSTALL,
    )


def x_cluster_cidrs() -> Resource[ClusterCIDR | Unreadable]:
    """The pools of networking.x-k8s.io/v1, where that CRD exists."""
    return Resource(
        name="clustercidrs.networking.x-k8s.io",
        path=X_K8S_CLUSTER_CIDRS,
        decode=decode_x_cluster_cidr,
        key=lambda pool: pool.uid or pool.name,
        optional=True,
    )


def pod_cidr_slices() -> Resource[LedgerPage | Unreadable]:
    """The pages of the ledger; a page is known by its name, whichever object carries it."""
    return Resource(
        name="podcidrslices",
        path=POD_CIDR_SLICES,
        decode=decode_slice,
        key=lambda page: page.name,
        optional=True,
        remedy=_INSTALL,
    )


def service_cidrs() -> Resource[ServiceCIDR | Unreadable]:
    """Service ranges; servers before 1.33 do not have the type."""
    return Resource(
        name="servicecidrs",
        path=SERVICE_CIDRS,
        decode=decode_service_cidr,
        key=lambda service: service.name,
        optional=True,
    )

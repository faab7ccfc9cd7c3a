"""Which addresses belong to somebody else? Service ranges, of objects and of flags, and nodes' own addresses inside a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from nodeipam_ctl.ipam import occupied
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.kube.deltas import Added, Changed, Delta, Removed
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, Finding, Node, NodeUID, ServiceCIDR
from nodeipam_ctl.prefixes import Address, Network

log = structlog.get_logger(__name__)

FLAG = "--service-cidr"


class Surroundings:
    """Keeps what is not for nodes out of the allocator, and says which ClusterCIDRs hold such addresses.

    Args:
        changed: called when waiting nodes may be looked at again.
        collided: told of each node that has a part of a service range which only now is known.
    """

    def __init__(
        self,
        allocator: Allocator,
        service_cidrs: Iterable[Network],
        *,
        changed: Callable[[], None],
        collided: Callable[[NodeUID, Finding], None],
    ) -> None:
        self._allocator = allocator
        self._changed = changed
        self._collided = collided
        self._services: dict[str, tuple[Network, ...]] = {}
        self._addresses: dict[NodeUID, tuple[str, tuple[Address, ...]]] = {}
        ranges = tuple(service_cidrs)
        if ranges:
            self._reserve(FLAG, ranges)

    def on_service_cidr(self, delta: Delta[ServiceCIDR | Unreadable]) -> None:
        """One difference in the cluster's ServiceCIDRs, from their informer."""
        match delta:
            case Added(new=new) | Changed(new=new):
                if isinstance(new, Unreadable):
                    # What it said before, if anything, holds: better too much kept free than too little.
                    log.warning("service_cidr_unreadable", name=new.name, problem=str(new.finding))
                else:
                    self._reserve(f"servicecidr/{new.name}", new.cidrs)
            case Removed(old=old):
                self._reserve(f"servicecidr/{old.name}", ())

    def on_node(self, node: Node, *, gone: bool = False) -> None:
        """A Node's addresses may lie in a pool."""
        record = self._allocator.tenancy.records.get(node.uid)
        if not gone and record is not None and record.excluded:
            self._addresses[node.uid] = (node.name, node.internal_ips)
        else:
            self._addresses.pop(node.uid, None)

    def findings(self, pool: ClusterCIDR) -> tuple[Finding, ...]:
        """What is wrong with the place of one ClusterCIDR in the cluster."""
        return (
            *occupied.findings(pool, self._services, self._addresses.values()),
            *occupied.excluded(pool, self._allocator.tenancy),
        )

    def on_pools(self, pools: Iterable[ClusterCIDR]) -> None:
        """The ClusterCIDRs changed, and perhaps what they exclude: nodes that have a part of it are told."""
        for pool in pools:
            for uid, finding in occupied.collisions(pool, self._allocator.tenancy):
                self._collided(uid, finding)

    def _reserve(self, source: str, ranges: tuple[Network, ...]) -> None:
        if self._services.get(source, ()) == ranges:
            return
        self._services[source] = ranges
        if not ranges:
            del self._services[source]
        collisions = self._allocator.set_reserved(source, ranges)
        log.info("service_ranges_reserved", source=source, ranges=[str(cidr) for cidr in ranges])
        for uid, finding in collisions:
            self._collided(uid, finding)
        self._changed()

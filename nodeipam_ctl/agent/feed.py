"""What does the cluster say? Peers from one of the feeds, this node's own Node, the cluster's ranges: one snapshot of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from nodeipam_ctl.agent.peers import FromNodes, FromSlices, PeerSource, own_peer
from nodeipam_ctl.agent.reconcile import Snapshot
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.informer import Informer
from nodeipam_ctl.kube.resources import cluster_cidrs, nodes, service_cidrs, x_cluster_cidrs
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, Finding, Node, ServiceCIDR
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

_LINGER_S = 10.0
"""How long after us every other node has heard what we run: their turns take less than a second."""


class Feed:
    """Follows the API server and gives snapshots.

    Args:
        changed: called, in the event loop, after anything that may matter has changed.
    """

    def __init__(self, client: Client, settings: AgentSettings, *, changed: Callable[[], None]) -> None:
        self._settings = settings
        self._changed = changed
        self._source: PeerSource = (
            FromSlices(client, self._heard)
            if settings.feed == "slices"
            else FromNodes(client, self._heard, flannel_compat=settings.flannel_compat)
        )
        self._own: Informer[Node] = Informer(client, nodes(name=settings.node_name), self._heard)
        self._pools: tuple[Informer[ClusterCIDR | Unreadable], ...] = (
            Informer(client, cluster_cidrs(), self._heard),
            Informer(client, x_cluster_cidrs(), self._heard),
        )
        self._services: Informer[ServiceCIDR | Unreadable] = Informer(client, service_cidrs(), self._heard)
        self._api_server = client.address
        self._ranges: dict[str, tuple[Network, ...]] = {}
        self._said = ""
        self._until_s: dict[str, float] = {}
        self._kept: Snapshot | None = None

    @property
    def own_node(self) -> Node | None:
        """This node's Node object; of two of its name the younger one."""
        return max(self._own.store.values(), key=lambda node: node.created_s, default=None)

    @property
    def problem(self) -> str:
        """Why the feed is not complete or not fresh, one line; empty when it is both."""
        parts = (self._source.informer, self._own, *self._pools, self._services)
        return next((part.problem for part in parts if part.problem), "")

    @property
    def synced(self) -> bool:
        """Whether complete lists of the nodes have been seen."""
        return self._source.informer.synced.is_set() and self._own.synced.is_set()

    def snapshot(self) -> Snapshot:
        """The cluster now; the same object while nothing has changed."""
        lists = self._source.informer.lists if self.synced else 0
        if self._kept is None or self._kept.lists != lists:
            self._kept = self._snapshot(lists)
        return self._kept

    def relist(self) -> None:
        """Asks for another complete list: a mass removal waits for it."""
        self._source.informer.relist()

    async def run(self) -> None:
        """Follows the API server for ever."""
        informers = (self._own, self._source.informer, *self._pools, self._services)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run(), name=f"informer-{informer.resource.name}")
                # An empty list brings no delta, but it is news as well.
                tasks.create_task(self._announce(informer.synced), name=f"synced-{informer.resource.name}")

    def _snapshot(self, lists: int) -> Snapshot:
        found, unread = self._source.peers(), self._source.unread()
        node = self.own_node
        mine = found.pop(node.uid, None) if node is not None else None
        name = self._settings.node_name
        others = tuple([peer for peer in found.values() if peer.name != name])
        return Snapshot(
            own=own_peer(node, mine, flannel_compat=self._settings.flannel_compat)
            if node is not None
            else None,
            peers=others,
            cluster_cidrs=self._cluster_cidrs(),
            service_cidrs=tuple(
                cidr
                for service in self._services.store.values()
                if isinstance(service, ServiceCIDR)
                for cidr in service.cidrs
            ),
            api_server=self._api_server,
            formerly=self._formerly(mine.runs if mine is not None else ""),
            pools_known=all(pool.synced.is_set() for pool in self._pools),
            plausible=self._plausible(node, mine),
            whole=self._source.whole,
            unread=(*unread, *self._unread_pools()),
            lists=lists,
        )

    def _formerly(self, said: str) -> tuple[str, ...]:
        """Forms in which others may send to us: what the feed says that we run, and what it said until a moment ago."""
        loop = asyncio.get_running_loop()
        if said != self._said:
            if self._said:
                self._until_s[self._said] = loop.time() + _LINGER_S
                loop.call_later(_LINGER_S, self._heard, None)
            self._said = said
        self._until_s = {form: until_s for form, until_s in self._until_s.items() if until_s > loop.time()}
        return tuple(sorted({said, *self._until_s} - {""}))

    def _plausible(self, node: Node | None, listed: Peer | None) -> bool:
        """Whether the feed's list may be complete: this node, once it has podCIDRs, must be in it."""
        if node is None:
            return False
        return listed is not None or (self._settings.feed == "slices" and not node.pod_cidrs)

    def _cluster_cidrs(self) -> tuple[Network, ...]:
        """The ranges of every pool; of one that cannot be read any more, those it had: its pods have not gone away."""
        stores = {name: pool for pools in self._pools for name, pool in pools.store.items()}
        self._ranges = {
            name: tuple(cidr for family in pool.families.values() for cidr in family.cidrs)
            if isinstance(pool, ClusterCIDR)
            else self._ranges.get(name, ())
            for name, pool in stores.items()
        }
        return tuple(cidr for ranges in self._ranges.values() for cidr in ranges)

    def _unread_pools(self) -> Iterator[Finding]:
        found = (pool for pools in self._pools for pool in pools.store.values())
        return (pool.finding for pool in found if isinstance(pool, Unreadable))

    def _heard(self, _delta: object) -> None:
        self._kept = None
        self._changed()

    async def _announce(self, synced: asyncio.Event) -> None:
        await synced.wait()
        self._heard(None)

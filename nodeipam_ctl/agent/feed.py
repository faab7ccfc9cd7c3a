"""Who are the other nodes, and what of them has changed? The cluster as slim peers, from Node objects or from the ledger's pages.

Peers are kept by uid: a re-created Node of the same name is another peer, and while both are known the older claim of a
podCIDR stands, so a block that moves between nodes is replaced in place and never missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Raw

from nodeipam_ctl.agent.reconcile import Snapshot
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.informer import Delta, Informer, Resource
from nodeipam_ctl.kube.resources import nodes
from nodeipam_ctl.kube.wire.nodes import NODES, decode_node
from nodeipam_ctl.model import Node
from nodeipam_ctl.routing.view import Peer


def peer_of(node: Node) -> Peer:
    """What routing needs of a Node: a tenth of even the slim record."""
    return Peer(
        name=node.name,
        uid=node.uid,
        pod_cidrs=node.pod_cidrs,
        addresses=node.internal_ips,
        since_s=node.created_s,
        problems=node.problems,
    )


class NodeFeed:
    """The peers from Node objects, beside any allocator; and this node's own Node, whole.

    Args:
        changed: called, in the event loop, after anything that may matter has changed.
    """

    def __init__(self, client: Client, node_name: str, *, changed: Callable[[], None]) -> None:
        self._node_name = node_name
        self._changed = changed
        self._peers: Informer[Peer] = Informer(client, _peers(), self._heard)
        self._own: Informer[Node] = Informer(client, nodes(name=node_name), self._heard)
        self._kept: tuple[Peer, ...] | None = None
        self._lists_us = False

    @property
    def own_node(self) -> Node | None:
        """This node's Node object; of two of its name the younger one."""
        return max(self._own.store.values(), key=lambda node: node.created_s, default=None)

    @property
    def problem(self) -> str:
        """Why the feed is not complete or not fresh, one line; empty when it is both."""
        return self._peers.problem or self._own.problem

    @property
    def synced(self) -> bool:
        """Whether complete lists have been seen."""
        return self._peers.synced.is_set() and self._own.synced.is_set()

    def snapshot(self) -> Snapshot:
        """The cluster now."""
        if self._kept is None:
            self._kept = tuple(peer for peer in self._peers.store.values() if peer.name != self._node_name)
            self._lists_us = len(self._kept) < len(self._peers.store)
        own = self.own_node
        return Snapshot(
            own=peer_of(own) if own is not None else None,
            peers=self._kept,
            plausible=self._lists_us,
            lists=self._peers.lists if self.synced else 0,
        )

    def relist(self) -> None:
        """Asks for another complete list: a mass removal waits for it."""
        self._peers.relist()

    async def run(self) -> None:
        """Follows the API server for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._own.run(), name="own-node")
            tasks.create_task(self._peers.run(), name="peers")
            tasks.create_task(self._announce_sync(), name="announce-sync")

    async def _announce_sync(self) -> None:
        await self._own.synced.wait()
        await self._peers.synced.wait()
        self._changed()  # also when the lists were empty: no delta has said so

    def _heard(self, _delta: Delta[Peer] | Delta[Node]) -> None:
        self._kept = None
        if self.synced:
            self._changed()


def _peers() -> Resource[Peer]:
    def decode(raw: Raw) -> Peer | None:
        node = decode_node(raw)
        return peer_of(node) if node is not None else None

    return Resource(name="nodes", path=NODES, decode=decode, key=lambda peer: peer.uid)

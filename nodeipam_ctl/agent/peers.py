"""Where are other nodes learned from? From Node objects, or from the pages of the ledger: both end as the same slim peers.

Peers are kept by uid: a re-created Node of the same name is another peer, and while both are known the older claim of a
podCIDR stands, so a block that moves between nodes is replaced in place and never missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from msgspec import Raw

from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.informer import Informer
from nodeipam_ctl.kube.kind import Resource
from nodeipam_ctl.kube.resources import pod_cidr_slices
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.kube.wire.nodes import NODES, decode_node, glance_node
from nodeipam_ctl.model import Finding, LedgerPage, Node, NodeUID
from nodeipam_ctl.routing import flannel, mixing, wireguard_keys
from nodeipam_ctl.routing.page_peers import PagePeers
from nodeipam_ctl.routing.view import Peer

_PAGE_NAME = re.compile(r"[0-9a-f][0-9a-f.-]*-[0-9]{1,3}")
"""As 10.244.0.0-20: what is called otherwise can be no page of the ledger, whatever is in it."""


class PeerSource(Protocol):
    """All nodes as one of the feeds knows them, this one included."""

    @property
    def informer(self) -> Informer[Peer] | Informer[LedgerPage | Unreadable]:
        """What follows the API server."""
        ...

    def peers(self) -> dict[NodeUID, Peer]:
        """The nodes by uid; the same objects as before where nothing changed."""
        ...

    @property
    def whole(self) -> bool:
        """Whether `peers` are all nodes that the list had, as far as one can know."""
        ...

    def unread(self) -> tuple[Finding, ...]:
        """What of the feed could not be understood, where no peer says so itself: nodes may be missing."""
        ...


def peer_of(node: Node, *, flannel_compat: bool = False) -> Peer:
    """What routing needs of a Node: a tenth of even the slim record."""
    peer = Peer(
        name=node.name,
        uid=node.uid,
        pod_cidrs=node.pod_cidrs,
        addresses=node.internal_ips,
        since_s=node.created_s,
        public_key=node.annotations.get(wireguard_keys.ANNOTATION, ""),
        runs=mixing.published(node.annotations),
        problems=node.problems,
    )
    return flannel.read(peer, node.annotations) if flannel_compat else peer


class FromNodes:
    """Every Node of the cluster, projected while it is read: the objects themselves are never kept."""

    def __init__(
        self, client: Client, changed: Callable[[object], None], *, flannel_compat: bool = False
    ) -> None:
        def decode(raw: Raw) -> Peer | None:
            node = decode_node(raw)
            return peer_of(node, flannel_compat=flannel_compat) if node is not None else None

        resource = Resource(
            name="nodes", path=NODES, decode=decode, key=lambda peer: peer.uid, glance=glance_node
        )
        self.informer: Informer[Peer] = Informer(client, resource, changed)

    def peers(self) -> dict[NodeUID, Peer]:
        """The nodes by uid."""
        return {peer.uid: peer for peer in self.informer.store.values()}

    @property
    def whole(self) -> bool:
        """Always: a Node that cannot even be named is no peer."""
        return True

    def unread(self) -> tuple[Finding, ...]:
        """Nothing: what is wrong with a Node is in its peer's problems."""
        return ()


class FromSlices:
    """The ledger's pages: what an assignment costs every agent is one page of about 3 kB, and a heartbeat costs nothing."""

    def __init__(self, client: Client, changed: Callable[[object], None]) -> None:
        self.informer: Informer[LedgerPage | Unreadable] = Informer(client, pod_cidr_slices(), changed)
        self._pages = PagePeers()

    def peers(self) -> dict[NodeUID, Peer]:
        """The nodes by uid."""
        pages = self.informer.store.items()
        self._pages.update(
            {
                name: page if isinstance(page, LedgerPage) else None
                for name, page in pages
                if isinstance(page, LedgerPage) or _PAGE_NAME.fullmatch(name)
            }
        )
        return dict(self._pages.peers)

    @property
    def whole(self) -> bool:
        """Whether every page has been understood, now or earlier."""
        return self._pages.whole

    def unread(self) -> tuple[Finding, ...]:
        """Lines and whole pages."""
        found: list[Finding] = []
        for name, page in self.informer.store.items():
            if isinstance(page, LedgerPage):
                found += page.findings
            elif name in self._pages:
                remedy = (
                    f"correct it with kubectl edit podcidrslice {name}; until then what it said before stands"
                )
                found.append(replace(page.finding, remedy=remedy))
            else:
                found.append(page.finding)
        return tuple(found)


def own_peer(node: Node, ledger: Peer | None, *, flannel_compat: bool = False) -> Peer:
    """This node's own record: its Node object, with further podCIDRs that the ledger gives it."""
    own = peer_of(node, flannel_compat=flannel_compat)
    if ledger is None or not own.pod_cidrs:
        return own
    more = tuple(cidr for cidr in ledger.pod_cidrs if cidr not in own.pod_cidrs)
    return replace(own, pod_cidrs=own.pod_cidrs + more) if more else own

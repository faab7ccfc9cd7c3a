"""Which nodes does only the ledger know, and are they gone? Each is read from the API server; nothing is freed on a guess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from nodeipam_ctl.errors import NodeIPAMError, NotFound
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.kube.client import Client, segment
from nodeipam_ctl.kube.wire.nodes import NODES, decode_node
from nodeipam_ctl.model import Node, NodeName, NodeUID

_AT_ONCE = 16
_AGAIN_S = 1.0


class Unseen:
    """Looks for nodes that a ledger line names and no list or watch has shown.

    Args:
        nodes: the informer's store, by uid.
        gone: told of each node that does not exist.
    """

    def __init__(
        self,
        client: Client,
        allocator: Allocator,
        *,
        nodes: Mapping[str, Node],
        gone: Callable[[NodeUID], None],
    ) -> None:
        self._client = client
        self._allocator = allocator
        self._nodes = nodes
        self._gone = gone
        self._wanted = asyncio.Event()

    def look(self) -> None:
        """Asks for a round."""
        self._wanted.set()

    async def run(self) -> None:
        """Rounds for ever, each when one was asked for."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if not await self.round():
                # The server did not say: their blocks stay occupied until it does.
                self._wanted.set()
                await asyncio.sleep(_AGAIN_S)

    async def round(self) -> bool:
        """Reads every node that only the ledger knows; False when the server would not answer for some."""
        unseen = [(name, uid) for name, uid in self._allocator.unseen() if uid not in self._nodes]
        complete = True
        for first in range(0, len(unseen), _AT_ONCE):
            some = unseen[first : first + _AT_ONCE]
            answers = await asyncio.gather(*(self._is_gone(name, uid) for name, uid in some))
            for (_, uid), gone in zip(some, answers, strict=True):
                if gone and uid not in self._nodes:
                    self._gone(uid)
            complete = complete and None not in answers
        return complete

    async def _is_gone(self, name: NodeName, uid: NodeUID) -> bool | None:
        try:
            node = decode_node(await self._client.get(f"{NODES}/{segment(name)}"))
        except NotFound:
            return await self._nodes_exist()
        except NodeIPAMError:
            return None
        return node is not None and node.uid != uid

    async def _nodes_exist(self) -> bool | None:
        """A server that is starting, or a proxy, may say 404 for everything: one 404 is believed only beside a list."""
        try:
            await self._client.get(f"{NODES}?limit=1")
        except NodeIPAMError:
            return None
        return True

"""Does the Node's network-unavailable taint follow what is so? Only with --taint: elsewhere the node lifecycle controller makes it from the condition.

`spec.taints` is one list that belongs to everybody (`listType=atomic`), so it is read, changed in our one entry, and written with
the resourceVersion it was read at: who changed it meanwhile is not overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from nodeipam_ctl.errors import NodeIPAMError, NotFound
from nodeipam_ctl.kube.client import MERGE_PATCH, Client, segment
from nodeipam_ctl.kube.wire.nodes import NODES, network_unavailable_taint_patch
from nodeipam_ctl.model import Node, NodeUID

log = structlog.get_logger(__name__)

_RETRY_S = 1.0


class TaintWriter:
    """Keeps one entry of one Node's taints, written when what is so changes; a failed write is tried again."""

    def __init__(
        self, client: Client, node_name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._path = f"{NODES}/{segment(node_name)}"
        self._node_name = node_name
        self._clock = clock
        self._written: tuple[NodeUID, bool] | None = None
        self._not_before_s = 0.0
        self._refused = ""

    async def tell(self, node: Node, *, unavailable: bool) -> bool:
        """Adds or removes the taint if it must; whether it is now as it should be."""
        if self._written == (node.uid, unavailable):
            return True
        if self._clock() < self._not_before_s:
            return False
        self._not_before_s = self._clock() + _RETRY_S
        try:
            body = network_unavailable_taint_patch(
                await self._client.get(self._path), unavailable=unavailable
            )
            if body is not None:
                await self._client.patch(self._path, body, kind=MERGE_PATCH)
        except NotFound:
            return True  # the Node is gone, and its taints with it
        except NodeIPAMError as exc:
            if str(exc) != self._refused:
                self._refused = str(exc)
                log.warning("taint_not_written", node=self._node_name, reason=str(exc))
            return False
        self._written, self._refused, self._not_before_s = (node.uid, unavailable), "", 0.0
        if body is not None:
            log.info("taint_written", node=self._node_name, network_unavailable=unavailable)
        return True

"""Do our Node's annotations say what flanneld's nodes need to reach us? Written only when one differs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import structlog

from nodeipam_ctl.errors import NodeIPAMError, NotFound
from nodeipam_ctl.kube.client import MERGE_PATCH, Client, segment
from nodeipam_ctl.kube.wire.nodes import NODES
from nodeipam_ctl.model import Node

log = structlog.get_logger(__name__)

_RETRY_S = 5.0


class AnnotationWriter:
    """Keeps some annotations of one Node; others are none of its business."""

    def __init__(
        self, client: Client, node_name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._path = (
            f"{NODES}/{segment(node_name)}/status"  # where flanneld writes them, so its RBAC rules do
        )
        self._node_name = node_name
        self._clock = clock
        self._not_before_s = 0.0
        self._refused = ""

    async def tell(self, node: Node, wanted: Mapping[str, str]) -> bool:
        """Writes what differs; whether the Node now says what is wanted."""
        missing = {key: value for key, value in wanted.items() if node.annotations.get(key) != value}
        if not missing:
            return True
        if self._clock() < self._not_before_s:
            return False
        self._not_before_s = self._clock() + _RETRY_S
        body = json.dumps({"metadata": {"annotations": missing}}).encode()
        try:
            await self._client.patch(self._path, body, kind=MERGE_PATCH)
        except NotFound:
            return True
        except NodeIPAMError as exc:
            if str(exc) != self._refused:
                self._refused = str(exc)
                log.warning("annotations_not_written", node=self._node_name, reason=str(exc))
            return False
        self._refused = ""
        log.info("annotations_written", node=self._node_name, keys=sorted(missing))
        return True

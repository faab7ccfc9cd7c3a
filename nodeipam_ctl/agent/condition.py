"""Does the Node's NetworkUnavailable condition tell the truth? Written only when it differs from what is so, both ways."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import structlog

from nodeipam_ctl.errors import NodeIPAMError, NotFound
from nodeipam_ctl.kube.client import STRATEGIC_PATCH, Client, segment
from nodeipam_ctl.kube.wire.nodes import NODES, network_unavailable_patch
from nodeipam_ctl.model import Node

log = structlog.get_logger(__name__)

_RETRY_S = 5.0
NOTHING: Mapping[str, str] = MappingProxyType({})


class ConditionWriter:
    """Keeps one Node's condition; a failed write is tried again, and a lost one repeated, no more often than every five seconds.

    Another writer of the same condition, such as a cloud's route controller, would otherwise make two programs write as fast as
    the API server answers.

    Attributes:
        carried: annotations that the last call wrote together with the condition.
    """

    def __init__(
        self, client: Client, node_name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.carried: Mapping[str, str] = NOTHING
        self._client = client
        self._path = f"{NODES}/{segment(node_name)}/status"
        self._node_name = node_name
        self._clock = clock
        self._written: tuple[str, bool, str] | None = None
        self._contested = False
        self._again_s = 0.0
        self._not_before_s = 0.0
        self._refused = ""

    async def tell(self, node: Node, waiting: str, said: Mapping[str, str] = NOTHING) -> bool:
        """Writes the condition if it must change; whether it now says what is so.

        Args:
            node: this node's Node as the feed has it.
            waiting: why pods cannot be served, `Reason: text`; empty when they can.
            said: annotations to write with it, so that a node that becomes ready makes one write and not two.
        """
        self.carried = NOTHING
        unavailable = bool(waiting)
        reason, _, message = waiting.partition(": ") if waiting else ("NodeIPAMRoutesReady", "", "")
        told = (node.uid, unavailable, reason)
        true_already = node.network_unavailable is unavailable
        if true_already and (self._written is None or self._written == told):
            self._written = told
            self._contested = self._contested and self._clock() < self._again_s + _RETRY_S
            return True
        lost = self._written == told
        if self._clock() < (max(self._not_before_s, self._again_s) if lost else self._not_before_s):
            return False
        if lost and not self._contested:
            self._contested = True
            log.warning(
                "condition_contested",
                node=self._node_name,
                remedy="somebody else writes it as well: stop that, or use --no-network-unavailable",
            )
        self._not_before_s = self._clock() + _RETRY_S
        body = network_unavailable_patch(
            unavailable=unavailable,
            reason=reason,
            message=message or "this node routes to every pod network it knows",
            annotations={key: value for key, value in said.items() if node.annotations.get(key) != value},
        )
        try:
            await self._client.patch(self._path, body, kind=STRATEGIC_PATCH)
        except NotFound:
            return True  # the Node is gone, and its condition with it
        except NodeIPAMError as exc:
            if str(exc) != self._refused:
                self._refused = str(exc)
                log.warning("condition_not_written", node=self._node_name, reason=str(exc))
            return False
        self._written, self._refused, self._not_before_s = told, "", 0.0
        self.carried = said
        self._again_s = self._clock() + _RETRY_S
        log.info("condition_written", node=self._node_name, network_unavailable=unavailable, reason=reason)
        return True

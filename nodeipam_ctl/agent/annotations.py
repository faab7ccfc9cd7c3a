"""Do our Node's annotations say what other nodes need to reach us? Written only when one differs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import structlog

from nodeipam_ctl.agent.condition import NOTHING
from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.agent.truth import not_programmed
from nodeipam_ctl.errors import NodeIPAMError, NotFound
from nodeipam_ctl.kube.client import MERGE_PATCH, Client, segment
from nodeipam_ctl.kube.wire.nodes import NODES
from nodeipam_ctl.model import Node
from nodeipam_ctl.routing import flannel, mixing, wireguard_keys
from nodeipam_ctl.routing.backends import Vantage, vxlan
from nodeipam_ctl.routing.view import NodeView

log = structlog.get_logger(__name__)

_RETRY_S = 5.0


def announcements(node: Node, turn: Turn, view: NodeView, *, key: str) -> dict[str, str]:
    """What our Node must say of itself, as soon as it is true: a peer that heard of it earlier would send into nothing.

    Args:
        node: our Node.
        turn: what was done last.
        view: what it was done from.
        key: this host's WireGuard public key; empty when it has none.
    """
    settings = view.settings
    programmed = not not_programmed(turn)
    said: dict[str, str] = {}
    if programmed and key:
        said[wireguard_keys.ANNOTATION] = key
    if view.own is None or turn.desired.waiting:
        return said
    if programmed:
        said[mixing.ANNOTATION] = settings.backend
    if settings.flannel_compat:
        tunnels = vxlan.tunnels(view.own, Vantage.of(view))
        said |= flannel.published(vni=settings.vxlan_vni, tunnels=tunnels, present=node.annotations)
    return said


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
        self._sent: Mapping[str, str] = {}

    async def tell(self, node: Node, wanted: Mapping[str, str], *, sent: Mapping[str, str] = NOTHING) -> bool:
        """Writes what differs; whether the Node now says what is wanted.

        Args:
            node: this node's Node as the feed has it.
            wanted: what it must say.
            sent: what somebody has just written: the feed needs a moment to show it.
        """
        if sent:
            self._sent, self._not_before_s = sent, self._clock() + _RETRY_S
        missing = {key: value for key, value in wanted.items() if node.annotations.get(key) != value}
        if not missing:
            return True
        if self._clock() < self._not_before_s:
            return missing.items() <= self._sent.items()
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
        self._refused, self._sent = "", missing
        log.info("annotations_written", node=self._node_name, keys=sorted(missing))
        return True

"""Which collections do we follow, and how is a record of each made and told apart?"""

from __future__ import annotations

from nodeipam_ctl.kube.informer import Resource
from nodeipam_ctl.kube.wire.nodes import NODES, decode_node
from nodeipam_ctl.model import Node


def nodes(*, name: str | None = None) -> Resource[Node]:
    """All Nodes, or the one of a name. A re-created Node of the same name is another one: the key is its uid."""
    return Resource(
        name="nodes",
        path=NODES,
        decode=decode_node,
        key=lambda node: node.uid,
        field_selector=f"metadata.name={name}" if name is not None else None,
    )

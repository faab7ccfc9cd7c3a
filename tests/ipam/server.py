"""What does the API server keep for two controllers? Nodes, pages with versions, and the log that both read."""

from __future__ import annotations

from dataclasses import replace

from nodeipam_ctl.model import Assignment, LedgerPage, Node, NodeName, NodeUID
from nodeipam_ctl.prefixes import overlaps


class Server:
    """What the API server keeps: Nodes whose podCIDRs change only from empty, pages with versions, and a log of changes."""

    def __init__(self) -> None:
        self.nodes: dict[NodeName, Node] = {}
        self.pages: dict[str, LedgerPage] = {}
        self.log: list[Node | LedgerPage | NodeUID] = []
        self.serial = 0
        self.patched = False

    def create(self, name: str, now: float) -> None:
        """A kubelet registers, unless a Node of this name is there."""
        if name in self.nodes:
            return
        self.serial += 1
        node = Node(name=NodeName(name), uid=NodeUID(f"u{self.serial}"), created_s=now)
        self.nodes[node.name] = node
        self.log.append(node)

    def ask(self, name: NodeName, annotations: dict[str, str]) -> None:
        """Somebody changes what a Node asks for."""
        self.nodes[name] = replace(self.nodes[name], annotations=annotations)
        self.log.append(self.nodes[name])

    def delete(self, name: NodeName) -> None:
        """The Node object is gone."""
        self.log.append(self.nodes.pop(name).uid)

    def patch(self, assignment: Assignment) -> bool:
        """Sets podCIDRs if the uid is the same and none are there."""
        node = self.nodes.get(assignment.node)
        if (
            node is None
            or node.uid != assignment.uid
            or (node.pod_cidrs and node.pod_cidrs != assignment.pod_cidrs)
        ):
            return False
        self.nodes[node.name] = replace(node, pod_cidrs=assignment.pod_cidrs)
        self.log.append(self.nodes[node.name])
        self.patched = True
        return True

    def put(self, page: LedgerPage) -> LedgerPage | None:
        """Writes a page at its version; an unchanged one keeps its version, as kube-apiserver does."""
        present = self.pages.get(page.name)
        if (present.resource_version if present else "") != page.resource_version:
            return None
        if present is not None and (present.entries, present.turn) == (page.entries, page.turn):
            return present
        self.serial += 1
        self.pages[page.name] = written = replace(
            page, resource_version=str(self.serial), uid=present.uid if present else f"p{self.serial}"
        )
        self.log.append(written)
        return written

    def overlap(self) -> tuple[Node, Node] | None:
        """Two nodes that have an address in common; looked for only after a patch."""
        if not self.patched:
            return None
        self.patched = False
        nodes = [node for node in self.nodes.values() if node.pod_cidrs]
        for i, a in enumerate(nodes):
            for b in nodes[i + 1 :]:
                if any(overlaps(x, y) for x in a.pod_cidrs for y in b.pod_cidrs):
                    return a, b
        return None

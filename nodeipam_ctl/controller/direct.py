"""What stands in for the ledger when there is none? Nothing is written; Nodes are patched at once (`--no-ledger`)."""

from __future__ import annotations

from collections.abc import Callable

from nodeipam_ctl.ipam.outcomes import Released, Woken
from nodeipam_ctl.model import Assignment, Node, NodeUID
from nodeipam_ctl.prefixes import Network


class NoLedger:
    """Lets every promise through.

    Two controllers that both believe they lead may then give one block to two Nodes: for measurements, and for the test that
    shows what the ledger is for.
    """

    def __init__(self, submit: Callable[[Assignment], None]) -> None:
        self._submit = submit

    def promise(self, assignment: Assignment) -> None:
        """Patches the Node at once."""
        self._submit(assignment)

    def stands(self, node: Node) -> bool:  # noqa: ARG002 - here and below: the Ledger's signatures
        """Nobody can tell."""
        return True

    def observe(self, node: Node) -> None:
        """Nothing to keep."""

    def withdraw(self, uid: NodeUID, cidrs: tuple[Network, ...]) -> None:
        """Nothing to take back."""

    def release(self, released: Released) -> None:
        """Nothing to keep."""

    def woke(self, woken: Woken) -> None:
        """Nothing to keep."""

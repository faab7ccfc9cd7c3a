"""Is a part of the space that a page closes said to be so, with what opens it again?"""

from __future__ import annotations

from nodeipam_ctl.controller.closed import Closed
from nodeipam_ctl.ipam.page_writes import Conflict
from nodeipam_ctl.model import LedgerEntry, LedgerState, NodeName, NodeUID
from nodeipam_ctl.prefixes import parse_network
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import v4

PAGE, BLOCK = parse_network("10.244.0.0/20"), parse_network("10.244.0.0/24")


def test_what_opens_a_page_again_is_its_line_corrected_not_another_range() -> None:
    cluster = Cluster([v4("p", "10.244.0.0/24")])
    wanted = LedgerEntry(cidr=BLOCK, state=LedgerState.BOUND, node=NodeName("a"), node_uid=NodeUID("a"))
    Closed(cluster.allocator).close(Conflict(wanted=wanted, held=None, reason="", unreadable=PAGE))
    cluster.create("w")
    message = cluster.refusals[NodeName("w")].message
    assert "all of 10.244.0.0/24 lies in podcidrslice/10.244.0.0-20 10.244.0.0/20" in message
    assert "; correct the line of podcidrslice/10.244.0.0-20 that cannot be read, or append" in message

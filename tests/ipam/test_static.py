"""Which node gets a static block that two nodes are promised? The first in the list; the other waits and is told why."""

from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.pools import findings
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, NodeName, PoolName, StaticBlock
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import networks
from tests.ipam.cluster import Cluster

_BLOCK = networks(["10.0.0.0/24"])
_EDGE, _FAR = (StaticBlock(node=NodeName(name), cidrs=_BLOCK) for name in ("edge", "far"))


def _pool(*static: StaticBlock) -> ClusterCIDR:
    ranges = FamilySpec(cidrs=networks(["10.0.0.0/23"]), node_mask_size=24)
    return ClusterCIDR(name=PoolName("p"), families={Family.IPV4: ranges}, static=static)


@pytest.mark.parametrize("order", [("edge", "far"), ("far", "edge")])
def test_a_block_that_is_promised_twice_goes_to_the_first_and_the_other_waits(order: tuple[str, str]) -> None:
    cluster = Cluster([_pool(_EDGE, _FAR)])
    given = {name: cluster.create(name) for name in order}
    assert given == {"edge": _BLOCK, "far": ()}
    assert "static block 10.0.0.0/24 is held by" in cluster.refusals[NodeName("far")].message


def test_the_other_gets_it_once_the_first_is_promised_it_no_longer() -> None:
    cluster = Cluster([_pool(_EDGE, _FAR)])
    cluster.create("far")
    cluster.set_pool(_pool(_FAR))
    cluster.turn()
    assert cluster.nodes[NodeName("far")].pod_cidrs == _BLOCK


def test_a_block_that_is_promised_twice_is_a_finding() -> None:
    (finding,) = findings([_pool(_EDGE, _FAR)])
    assert (finding.code, finding.subject) == ("StaticTwice", "clustercidr/p")
    assert "edge gets it, and far waits" in finding.message

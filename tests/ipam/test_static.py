"""Which node gets a static block that two nodes are promised? The first in the list; the other waits and is told why."""

from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.outcomes import Waiver
from nodeipam_ctl.ipam.pools import findings
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, NodeName, PoolName, StaticBlock
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import networks
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import v4

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


@pytest.mark.parametrize(
    ("rests", "mask", "promised"),
    [
        pytest.param(["10.0.0.0/24"], 24, "10.0.0.0/24", id="all of it, as one block"),
        pytest.param(["10.0.0.0/26", "10.0.0.64/26"], 26, "10.0.0.0/24", id="parts of it, as smaller blocks"),
        pytest.param(["10.0.0.0/23"], 23, "10.0.0.0/24", id="a larger block around it"),
    ],
)
def test_what_rests_on_a_promised_block_gives_way_to_the_node_it_is_promised_to(
    rests: list[str], mask: int, promised: str
) -> None:
    before = v4("p", "10.0.0.0/22", mask=mask, reuse_delay_s=3600.0)
    cluster = Cluster([before])
    for i in range(len(rests)):
        cluster.create(f"old-{i}")
    for i in range(len(rests)):
        released = cluster.delete(f"old-{i}")
        assert released is not None
        assert released.blocks == networks([rests[i]])
    static = (StaticBlock(node=NodeName("edge"), cidrs=networks([promised])),)
    cluster.set_pool(v4("p", "10.0.0.0/22", mask=24, reuse_delay_s=3600.0, static=static))
    assert cluster.create("edge") == networks([promised])
    woken = cluster.allocator.woken()
    assert [str(one.cidr) for one in woken] == rests
    assert {one.waiver for one in woken} == {Waiver.STATIC}


def test_a_promised_block_that_a_living_node_holds_a_part_of_is_waited_for_and_no_rest_is_given_up() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", mask=25, reuse_delay_s=3600.0)])
    cluster.create("old")
    cluster.create("living")
    cluster.delete("old")
    static = (StaticBlock(node=NodeName("edge"), cidrs=networks(["10.0.0.0/24"])),)
    cluster.set_pool(v4("p", "10.0.0.0/24", mask=24, reuse_delay_s=3600.0, static=static))
    assert cluster.create("edge") == ()
    assert "held by node living" in cluster.refusals[NodeName("edge")].message
    assert cluster.allocator.woken() == []
    cluster.delete("living")
    cluster.turn()
    assert cluster.nodes[NodeName("edge")].pod_cidrs == networks(["10.0.0.0/24"])


def test_a_block_that_is_promised_twice_is_a_finding() -> None:
    (finding,) = findings([_pool(_EDGE, _FAR)])
    assert (finding.code, finding.subject) == ("StaticTwice", "clustercidr/p")
    assert "edge gets it, and far waits" in finding.message

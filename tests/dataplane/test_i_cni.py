"""I: what CNI plug-ins are told about blocks that are several, or tiny; and what they make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.cluster import until
from tests.agent.test_tools import line, page
from tests.dataplane.cases import case, scenario
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]


@scenario("I1-subnet-env-v4")
def test_flannels_plug_in_reads_exactly_what_flanneld_would_write(make_lab: MakeLab, tmp_path: Path) -> None:
    wanted = case("I1-subnet-env-v4")["expect"]
    lab = make_lab("n1", pools=True)
    env = tmp_path / "flannel" / "subnet.env"
    lab.settle("--backend", "vxlan", "--flannel-compat", "--subnet-env", str(env))
    lines = env.read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines) == wanted["keys_exact"]
    assert len(lines) == len(wanted["keys_exact"])
    assert env.stat().st_mode & 0o777 == int(wanted["mode"], 8)


@scenario("I8-ranges-of-two-cidrs-same-family")
def test_two_blocks_of_a_family_are_alternatives_for_a_pod(make_lab: MakeLab) -> None:
    lab = make_lab("n1", pools=True)
    own = case("I8-ranges-of-two-cidrs-same-family")["given"]["own"]
    lines = [line(lab.cluster, block, "n1", "192.0.2.11") for block in own]
    lab.cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", lines[0]))
    lab.cluster.apply(page("10.244.130.0-24", "10.244.130.0/24", lines[1]))
    lab.settle("--feed", "slices")
    until(lambda: own[1] in lab.agents["n1"].conflist.read_text(), "both blocks are known")
    ipam = json.loads(lab.agents["n1"].conflist.read_text())["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": block} for block in own]]
    assert len(lab.pod("n1").addresses) == 1, "one address, not one of each block"


@scenario("I9-range-edges")
@pytest.mark.parametrize("row", case("I9-range-edges")["table"], ids=lambda row: str(row["cidr"]))
def test_a_block_without_room_for_a_pod_is_refused(make_lab: MakeLab, row: dict[str, str]) -> None:
    lab = make_lab("n1", dual=True)
    lab.cluster.remove("n1")
    lab.cluster.add("n1", pod_cidrs=(row["cidr"],), addresses=lab.nodes["n1"]["addresses"])
    agent = lab.start("n1")
    if "gw" in row:
        lab.ready()
        pod = lab.pod("n1")
        assert pod.address == "10.0.0.2"
        assert f"default via {row['gw']}" in pod.space.run("ip", "route")
        assert pod.reaches(row["gw"])
        return
    until(lambda: agent.lines("node_not_ready"), "it says that it is not ready")
    assert "PodCIDRTooSmall" in agent.lines("node_not_ready")[-1]["reason"]
    assert [e["remedy"] for e in agent.lines("finding") if e["code"] == "PodCIDRTooSmall"]
    assert not agent.conflist.exists()
    assert agent.get("/readyz")[0] == 503

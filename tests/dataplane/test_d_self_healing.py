"""D: whatever somebody else breaks on a host is put right, by events within 200 ms, else by the audit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.cluster import until
from tests.dataplane.cases import scenario
from tests.dataplane.kernel import back, heal_seconds, heard, ours, state
from tests.dataplane.lab import Lab
from tests.patience import PATIENCE

MakeLab = Callable[..., Lab]
SINK = "unreachable 10.244.1.0/24 metric 4278198272"


def breaks_and_heals(lab: Lab, scripts: list[str]) -> None:
    """Each script disturbs n1; after each the host is exactly as before, on average within 200 ms of the kernel's event."""
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    wanted = state(host, agent)
    drift = agent.metric("nodeipam_drift_repaired_total")
    seconds, times = heal_seconds(agent)
    for number, script in enumerate(scripts, 1):
        host.sh(script)
        back(host, agent, wanted, f"this is healed: {script}")
        until(
            lambda: agent.metric("nodeipam_drift_repaired_total") >= drift + number,  # noqa: B023
            f"this is counted: {script}",
        )
    now_seconds, now_times = heal_seconds(agent)
    # A repair in two turns counts its second half without the time of the event.
    assert 2 * (now_times - times) > len(scripts), "the kernel's events told us, not the audit"
    assert (now_seconds - seconds) / (now_times - times) < 0.2 * PATIENCE
    assert lab.planned("n1") == []


@scenario("D2-overlay-deleted", "D5-single-object-deleted", "D6-wrong-values")
def test_every_single_object_comes_back_with_its_value(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2")
    lab.settle("--backend", "vxlan")
    host = lab.hosts["n1"]
    before = state(host, lab.agents["n1"])
    assert len(before["route"]) == 3
    assert len(before["neighbour"]) == len(before["fdb"]) == 2
    mac = next(line.split()[0] for line in before["fdb"] if " 192.0.2.12 " in line)
    breaks_and_heals(
        lab,
        [
            "ip link del nictl.1",
            "ip route del 10.244.2.0/24",
            "ip neighbour del 10.244.2.0 dev nictl.1",
            f"bridge fdb del {mac} dev nictl.1",
            "ip address del 10.244.1.0/32 dev nictl.1",
            f"ip route del {SINK}",
            "nft delete table inet nodeipam",
            "sysctl -qw net.ipv4.ip_forward=0",
            "ip neighbour replace 10.244.2.0 lladdr 02:00:00:00:00:98 dev nictl.1 nud permanent",
            f"bridge fdb replace {mac} dst 192.0.2.77 dev nictl.1",
            "ip route replace 10.244.3.0/24 via 192.0.2.12 proto 112 metric 103",
            "ip link set nictl.1 mtu 1300",
            "ip link set nictl.1 address 02:00:00:00:00:99",
            "ip link set nictl.1 down",
        ],
    )
    assert lab.pod("n1").reaches(lab.pod("n2").address)


@pytest.mark.kernel
def test_the_ipv6_side_of_the_overlay_heals_as_well(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2", dual=True)
    lab.settle("--backend", "vxlan")
    before = state(lab.hosts["n1"])
    mac = next(line.split()[0] for line in before["fdb"] if " fd00:10::12 " in line)
    breaks_and_heals(
        lab,
        [
            "ip link del nictl-v6.1",
            "ip link set nictl-v6.1 down",
            "ip -6 route del fd00:244:0:2::/64",
            "ip -6 route del unreachable fd00:244:0:1::/64",
            "ip -6 route replace fd00:244:0:3::/64 via fd00:10::12 proto 112 metric 100",
            "ip -6 address del fd00:244:0:1::/128 dev nictl-v6.1",
            "ip neighbour del fd00:244:0:2:: dev nictl-v6.1",
            f"bridge fdb del {mac} dev nictl-v6.1",
            f"bridge fdb replace {mac} dst fd00:10::77 dev nictl-v6.1",
            "sysctl -qw net.ipv6.conf.all.forwarding=0",
            "ip link del nictl.1; ip link del nictl-v6.1",
        ],
    )
    pods = lab.pod("n1"), lab.pod("n2")
    assert all(pods[0].reaches(address) for address in pods[1].addresses)


@pytest.mark.kernel
def test_tunnels_in_routes_heal_as_well(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2")
    lab.settle("--backend", "vxlan-gpe")
    breaks_and_heals(
        lab,
        [
            "ip link del nictl-gpe",
            "ip link set nictl-gpe down",
            "ip link set nictl-gpe mtu 1300",
            "ip route del 10.244.2.0/24",
            "ip route replace 10.244.2.0/24 encap ip id 1 dst 192.0.2.77 dev nictl-gpe proto 112 metric 102",
            "ip route replace 10.244.2.0/24 encap ip id 9 dst 192.0.2.12 dev nictl-gpe proto 112 metric 102",
        ],
    )
    assert lab.pod("n1").reaches(lab.pod("n2").address)


@pytest.mark.kernel
def test_what_somebody_adds_in_our_name_or_among_ours_goes_away(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2", pools=True)
    lab.settle("--backend", "vxlan")
    breaks_and_heals(
        lab,
        [
            "ip route add 10.99.0.0/16 via 192.0.2.12 proto 112 metric 7",
            "ip route add unreachable 10.98.0.0/16 proto 112",
            "ip neighbour add 10.244.99.0 lladdr 02:00:00:00:00:97 dev nictl.1 nud permanent",
            "bridge fdb add 02:00:00:00:00:96 dst 192.0.2.77 dev nictl.1",
            "ip address add 10.97.0.1/24 dev nictl.1",
            "nft 'insert rule inet nodeipam postrouting ip daddr 203.0.113.0/24 return'",
            "nft 'insert rule inet nodeipam postrouting accept'",
            "nft 'add chain inet nodeipam extra'",
        ],
    )


@pytest.mark.kernel
def test_what_the_kernel_sends_no_event_for_is_healed_by_the_audit(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1")
    env = tmp_path / "subnet.env"
    lab.settle("--backend", "vxlan", "--audit-period", "1", "--subnet-env", str(env))
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    wanted, files = state(host, agent), env.read_text()
    for what, disturb in (
        ("the conflist is removed", agent.conflist.unlink),
        ("the conflist is changed", lambda: agent.conflist.write_text("{}")),
        ("another file is changed", lambda: env.write_text("FLANNEL_MTU=9000\n")),
        ("the file's mode is changed", lambda: env.chmod(0o600)),
    ):
        disturb()
        until(
            lambda: (
                state(host, agent) == wanted
                and (env.read_text(), env.stat().st_mode & 0o777) == (files, 0o644)
            ),
            f"this is healed: {what}",
            timeout_s=5,
        )
    assert lab.planned("n1") == []


@scenario("D3-nic-flap")
@pytest.mark.parametrize("backend", ["host-gw", "vxlan"])
def test_a_nic_that_went_and_came_has_its_routes_again(make_lab: MakeLab, backend: str) -> None:
    lab = make_lab("n1", "n2", dual=True)
    lab.settle("--backend", backend)
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    wanted = state(host, agent)
    host.run("ip", "link", "set", "eth0", "down")
    if backend == "host-gw":
        until(lambda: "192.0.2.12" not in "".join(host.routes()), "the routes went with the carrier")
    # IPv6 addresses go with the link; whoever configures the NIC puts them back.
    host.sh("ip link set eth0 up; ip -6 address add fd00:10::11/64 dev eth0 nodad")
    back(host, agent, wanted, "everything is back")
    assert lab.planned("n1") == []
    pods = lab.pod("n1"), lab.pod("n2")
    assert all(pods[0].reaches(address) for address in pods[1].addresses)


@scenario("D8-dump-interrupted")
def test_a_table_that_changes_while_it_is_read_misleads_nobody(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1")
    lab.settle()
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    host.run("ip", "-batch", "-", stdin="".join(f"route add 10.64.{n}.0/24 dev lo\n" for n in range(200)))
    churn = tmp_path / "churn"
    lines = [
        f"route {op} 10.244.2.0/24 via 192.0.2.99 metric {900 + n}"
        for n in range(20)
        for op in ("add", "del")
    ]
    churn.write_text("\n".join(lines) + "\n")
    changes = agent.metric("nodeipam_host_changes_total")
    turns = agent.metric("nodeipam_turn_seconds_count")
    with heard(host, tmp_path, what="route") as events:
        loop = subprocess.Popen(host.inside("sh", "-c", f"while ip -batch {churn}; do :; done"))
        try:
            until(
                lambda: agent.metric("nodeipam_turn_seconds_count") >= turns + 20,
                "it has looked twenty times",
                timeout_s=60,
            )
        finally:
            loop.kill()
            loop.wait()
    assert ours(events) == []
    assert agent.metric("nodeipam_host_changes_total") == changes
    assert agent.process.poll() is None

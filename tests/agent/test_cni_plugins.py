"""Does the real plug-in chain accept what the agent wrote? ADD, a packet, DEL, with Debian's containernetworking-plugins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.agent.cluster import Agent, Cluster, until
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

POD_CIDRS = {
    "IPv4": ("10.244.1.0/24",),
    "IPv6": ("fd00:244:0:1::/64",),
    "dual stack": ("10.244.1.0/24", "fd00:244:0:1::/64"),
}


def chain(
    host: Namespace, agent: Agent, pod: Namespace, command: str, added: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Runs the conflist's plug-ins as a runtime does (CNI specification 1.0.0, section 4)."""
    conflist = json.loads(agent.conflist.read_text())
    plugins = conflist["plugins"][::-1] if command == "DEL" else conflist["plugins"]
    result: dict[str, Any] = added or {}
    for plugin in plugins:
        config = {"cniVersion": conflist["cniVersion"], "name": conflist["name"], **plugin}
        if result:
            config["prevResult"] = result
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "nictl-test",
            "CNI_NETNS": f"/proc/{pod.pid}/ns/net",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
        }
        arguments = [f"{name}={value}" for name, value in variables.items()]
        text = host.run("env", *arguments, f"/usr/lib/cni/{plugin['type']}", stdin=json.dumps(config))
        result = json.loads(text) if text.strip() else result
    return result


@pytest.mark.parametrize("flavour", ["ptp", "bridge"])
@pytest.mark.parametrize("families", POD_CIDRS)
def test_the_real_plug_ins_attach_a_pod(cluster: Cluster, flavour: str, families: str) -> None:
    cluster.add("n1", pod_cidrs=POD_CIDRS[families], addresses=("192.0.2.11", "fd00:10::11"))
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    host.run("ip", "link", "set", "eth0", "mtu", "1400")
    agent = cluster.start_agent(host, "n1", "--cni-flavour", flavour)
    until(agent.conflist.exists, "the conflist is there")
    with Namespace() as pod:
        result = chain(host, agent, pod, "ADD")
        addresses = [entry["address"].partition("/")[0] for entry in result["ips"]]
        assert len(addresses) == len(POD_CIDRS[families])
        assert pod.ip("link", "show", "eth0")[0]["mtu"] == 1400
        for address in addresses:
            version = "-6" if ":" in address else "-4"
            assert pod.ip(version, "route", "show", "default"), f"no default route {version}"
            until(
                lambda: " 0% packet loss" in host.run("ping", "-c", "1", "-W", "1", address, check=False),  # noqa: B023
                f"{address} answers its host",
            )
        chain(host, agent, pod, "CHECK", result)
        routes = host.routes()
        assert len(routes) == len(POD_CIDRS[families]), "the sinks stand below the pod's own route"
        chain(host, agent, pod, "DEL")
        assert pod.run("ip", "link", "show", "eth0", check=False) == ""


def test_a_bridge_flap_does_not_leave_pods_behind_the_sink(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--cni-flavour", "bridge", "--audit-period", "1")
    until(agent.conflist.exists, "the conflist is there")
    with Namespace() as pod:
        (address,) = [entry["address"].partition("/")[0] for entry in chain(host, agent, pod, "ADD")["ips"]]
        host.run("ip", "link", "set", "nictl0", "down")
        turns = agent.metric("nodeipam_turn_seconds_count")
        until(lambda: agent.metric("nodeipam_turn_seconds_count") > turns + 1, "an audit has passed")
        host.run("ip", "link", "set", "nictl0", "up")
        until(
            lambda: " 0% packet loss" in host.run("ping", "-c", "1", "-W", "1", address, check=False),
            "the pod answers again",
        )
        assert "dev nictl0" in host.run("ip", "route", "get", address)
        chain(host, agent, pod, "DEL")

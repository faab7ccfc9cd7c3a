"""Are the rendered Pods what the programs understand, and no more powerful than they must be?"""

from __future__ import annotations

import copy
import re
from typing import Any

import click
import pytest

from nodeipam_ctl.cli import agent, controller, install_cni
from nodeipam_ctl.routing.backends import NAMES
from nodeipam_ctl.telemetry.http import parse_address
from tests.charts.chart import (
    NAMESPACE,
    PROFILES,
    RELEASE,
    Manifest,
    Values,
    manifests,
    one,
    schema,
    values_of,
)

_COMMANDS: dict[str, click.Command] = {"agent": agent.command, "controller": controller.command}
_ALL_COMMANDS = _COMMANDS | {"install-cni": install_cni.command}
_KINDS = {"agent": "DaemonSet", "controller": "Deployment"}


def _pod(values: Values, program: str) -> Manifest:
    pod: Manifest = one(values, _KINDS[program], f"{RELEASE}-{program}")["spec"]["template"]["spec"]
    return pod


def _container(values: Values, program: str) -> Manifest:
    (found,) = _pod(values, program)["containers"]
    assert isinstance(found, dict)
    return found


def _parsed(container: Manifest, node_ip: str = "192.0.2.1") -> dict[str, Any]:
    """What the program makes of the container's arguments.

    Raises:
        click.ClickException: it does not understand them.
    """
    known = {"NODE_NAME": "worker-1", "NODE_IP": node_ip}
    name, *words = (re.sub(r"\$\((\w+)\)", lambda m: known[m[1]], word) for word in container["args"])
    return _ALL_COMMANDS[name].make_context(name, words).params


def _programs() -> list[Any]:
    found = []
    for profile in PROFILES:
        programs = [p for p in _COMMANDS if values_of(profile).get(p, {}).get("enabled", True)]
        found += [pytest.param(profile, program, id=f"{program} of {profile}") for program in programs]
    return found


@pytest.mark.parametrize(("profile", "program"), _programs())
def test_a_program_understands_its_arguments(profile: str, program: str) -> None:
    _parsed(_container(values_of(profile), program))


def test_every_value_that_becomes_a_flag_arrives() -> None:
    values = values_of("vxlan")
    values["agent"] |= {
        "networkUnavailable": False,
        "vxlan": {"vni": 7, "port": 4789},
        "cni": {"flavour": "bridge"},
        "masquerade": False,
        "nonMasqueradeCIDRs": ["192.168.0.0/16"],
        "masqueradeNodes": False,
        "masqueradeHost": True,
        "flannelCompat": True,
        "forwardAccept": False,
        "taint": True,
    }

    parsed = _parsed(_container(values, "agent"))

    assert parsed["node_name"] == "worker-1"
    assert parsed["backend"] == "vxlan"
    assert (parsed["vxlan_vni"], parsed["vxlan_port"], parsed["direct_routing"]) == (7, 4789, True)
    assert (parsed["cni_flavour"], parsed["network_unavailable"]) == ("bridge", False)
    assert (parsed["feed"], parsed["masquerade"], parsed["flannel_compat"]) == ("nodes", False, True)
    assert (parsed["forward_accept"], parsed["taint"]) == (False, True)
    assert (parsed["masquerade_nodes"], parsed["masquerade_host"]) == (False, True)
    assert [str(network) for network in parsed["non_masquerade_cidr"]] == ["192.168.0.0/16"]
    assert [str(network) for network in parsed["service_cidr"]] == ["10.96.0.0/12"]


@pytest.mark.parametrize(
    ("backend", "userspace", "extra"),
    [
        pytest.param("host-gw", True, set(), id="nothing for other backends"),
        pytest.param("wireguard", False, {"state"}, id="the kernel's WireGuard needs a place for the key"),
        pytest.param(
            "wireguard",
            True,
            {"state", "tun", "wireguard-sockets"},
            id="wireguard-go a device and a socket too",
        ),
    ],
)
def test_wireguard_brings_what_it_needs_and_no_more(
    *, backend: str, userspace: bool, extra: set[str]
) -> None:
    values = values_of("host-gw")
    usual = {volume["name"] for volume in _pod(values, "agent")["volumes"]}
    values["agent"] |= {"backend": backend, "wireguard": {"userspace": userspace, "port": 7, "keepalive": 25}}
    pod, container = _pod(values, "agent"), _container(values, "agent")

    assert {volume["name"] for volume in pod["volumes"]} - usual == extra
    assert extra <= {mount["name"] for mount in container["volumeMounts"]}
    parsed = _parsed(container)
    if backend == "wireguard":
        assert (parsed["wireguard_port"], parsed["wireguard_keepalive"]) == (7, 25)
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["state"] == str(parsed["state_dir"])


def test_the_chart_offers_exactly_the_backends_of_the_agent() -> None:
    offered = schema()["properties"]["agent"]["properties"]["backend"]["enum"]

    assert sorted(offered) == sorted(NAMES)


@pytest.mark.parametrize(
    ("enabled", "node_ip", "address"),
    [
        pytest.param(True, "192.0.2.1", ("192.0.2.1", 9412), id="on the node's IPv4 address"),
        pytest.param(True, "2001:db8::1", ("2001:db8::1", 9412), id="on the node's IPv6 address"),
        pytest.param(False, "192.0.2.1", ("127.0.0.1", 9412), id="on loopback when metrics are off"),
    ],
)
def test_metrics_and_probes_meet(*, enabled: bool, node_ip: str, address: tuple[str, int]) -> None:
    container = _container(values_of("host-gw") | {"metrics": {"enabled": enabled}}, "agent")

    assert parse_address(_parsed(container, node_ip)["metrics_address"]) == address
    for probe in ("livenessProbe", "readinessProbe"):
        # On the host's network the kubelet asks the node's own address, unless it is told another.
        assert container[probe]["httpGet"].get("host") == (None if enabled else "127.0.0.1")
        assert container[probe]["httpGet"]["port"] == "metrics"
    assert [port["containerPort"] for port in container["ports"]] == [9412]


def test_the_leader_takes_the_lease_that_its_role_allows() -> None:
    values = values_of("host-gw")
    parsed = _parsed(_container(values, "controller"))
    role = one(values, "Role", f"{RELEASE}-controller-leader")

    assert parsed["leader_elect"] is True
    assert parsed["lease_namespace"] == role["metadata"]["namespace"] == NAMESPACE
    assert [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule] == [
        [parsed["lease_name"]]
    ]


def test_the_controller_has_no_power_over_its_host() -> None:
    pod, container = (f(values_of("host-gw"), "controller") for f in (_pod, _container))

    assert "volumes" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_the_agent_has_two_capabilities_and_three_places_of_its_host() -> None:
    pod, container = (f(values_of("host-gw"), "agent") for f in (_pod, _container))

    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "privileged" not in container["securityContext"]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert {name: paths[name] for name in mounted} == {
        "cni-conf": "/etc/cni/net.d",
        "proc-sys-net": "/proc/sys/net",
        "xtables-lock": "/run/xtables.lock",
    }


def test_the_init_container_copies_plugins_without_any_capability() -> None:
    pod = _pod(values_of("host-gw"), "agent")
    (init,) = pod["initContainers"]

    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert _parsed(init)["cni_plugins"] == "bridge,host-local,loopback,portmap,ptp"
    assert [mount["mountPath"] for mount in init["volumeMounts"]] == ["/host/cni-bin"]


def test_an_option_for_selinux_hosts_reaches_both_containers_of_the_agent() -> None:
    values = copy.deepcopy(values_of("host-gw"))
    values["agent"]["securityContext"] = {"seLinuxOptions": {"type": "spc_t"}}
    pod = _pod(values, "agent")

    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}


def test_pods_come_up_before_there_is_a_network_and_are_not_evicted_for_others() -> None:
    for program, priority in (("controller", "system-cluster-critical"), ("agent", "system-node-critical")):
        pod = _pod(values_of("host-gw"), program)
        assert pod["hostNetwork"] is True
        assert pod["priorityClassName"] == priority
        tolerated = {toleration.get("key") for toleration in pod["tolerations"]}
        assert (
            None in tolerated
            or {
                "node.kubernetes.io/not-ready",
                "node.kubernetes.io/network-unavailable",
                "node-role.kubernetes.io/control-plane",
            }
            <= tolerated
        )


def test_a_disruption_budget_is_made_only_for_a_controller_that_has_a_standby() -> None:
    def budgets(replicas: int) -> int:
        values = values_of("host-gw") | {"controller": {"replicas": replicas}}
        return sum(manifest["kind"] == "PodDisruptionBudget" for manifest in manifests(values))

    assert (budgets(2), budgets(1)) == (1, 0)


def test_a_selector_holds_nothing_that_an_upgrade_changes() -> None:
    values = values_of("vxlan") | {"agent": {"podLabels": {"colour": "blue"}}}
    for program, kind in _KINDS.items():
        selector = one(values, kind, f"{RELEASE}-{program}")["spec"]["selector"]["matchLabels"]
        assert set(selector) == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }


def test_common_labels_are_on_every_object() -> None:
    for manifest in manifests(values_of("vxlan")):
        assert manifest["metadata"]["labels"]["team"] == "network", manifest["metadata"]["name"]


def test_the_api_server_can_be_named_for_nodes_without_kube_proxy() -> None:
    for program in _COMMANDS:
        named = {e["name"]: e.get("value") for e in _container(values_of("vxlan"), program)["env"]}
        assert named["KUBERNETES_SERVICE_HOST"] == "192.0.2.10"
        assert named["KUBERNETES_SERVICE_PORT"] == "6443"

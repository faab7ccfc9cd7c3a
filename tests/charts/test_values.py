"""Which values does the chart accept, and does the schema say what each is for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.charts.chart import ROOT, defaults, rendered, schema


def _leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path


def _described(path: tuple[str, ...]) -> str | None:
    """The description nearest to a value: its own, or that of the free-form object it is a part of."""
    node: dict[str, Any] = schema()
    for key in path:
        if "properties" not in node:
            return node.get("description")  # a Kubernetes fragment, which is described as a whole
        node = node["properties"].get(key, {})
    return node.get("description")


@pytest.mark.parametrize("path", list(_leaves(defaults())), ids=".".join)
def test_every_value_is_described(path: tuple[str, ...]) -> None:
    assert _described(path)


def _properties(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    children = dict(node.get("properties", {}))
    for wildcard in ("additionalProperties", "items"):
        if isinstance(node.get(wildcard), dict) and "properties" in node[wildcard]:
            children["*"] = node[wildcard]
    for name, child in children.items():
        yield f"{path}{name}", child
        yield from _properties(child, f"{path}{name}.")


@pytest.mark.parametrize(("name", "node"), [pytest.param(n, s, id=n) for n, s in _properties(schema())])
def test_every_entry_of_the_schema_has_a_sentence(name: str, node: dict[str, Any]) -> None:
    assert node["description"].endswith("."), name


def test_the_schema_names_no_value_that_the_chart_does_not_have() -> None:
    def names(node: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            yield f"{path}{name}"
            yield from names(child, f"{path}{name}.")

    known = {".".join(path[:length]) for path in _leaves(defaults()) for length in range(1, len(path) + 1)}

    assert {name for name in names(schema()) if name != "global"} <= known


def test_a_cluster_cidr_may_have_every_field_of_its_crd() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "nodeipam.dev_clustercidrs.yaml").read_text())
    theirs = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    ours = schema()["properties"]["clusterCIDRs"]["additionalProperties"]["properties"]

    assert ours.keys() == theirs.keys()
    for family in ("ipv4", "ipv6"):
        assert ours[family]["properties"].keys() == theirs[family]["properties"].keys()


def _pool(**spec: Any) -> dict[str, Any]:
    return {"clusterCIDRs": {"default": spec}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"agnet": {}}, "additional properties 'agnet' not allowed", id="a misspelt section"),
        pytest.param(
            {"agent": {"backend": "vxlna"}},
            "at '/agent/backend': value must be one of",
            id="an unknown backend",
        ),
        pytest.param(
            {"serviceCIDRs": ["10.96.0.1"]},
            "at '/serviceCIDRs/0': '10.96.0.1' does not match",
            id="an address for a range",
        ),
        pytest.param(
            {"agent": {"metrics": {"port": 0}}},
            "at '/agent/metrics/port': minimum: got 0, want 1",
            id="port 0",
        ),
        pytest.param(
            {"controller": {"replicas": "two"}},
            "at '/controller/replicas': got string, want integer",
            id="a word for a number",
        ),
        pytest.param(
            {"image": {"digest": "latest"}},
            "at '/image/digest': 'latest' does not match",
            id="a tag for a digest",
        ),
        pytest.param(
            {"agent": {"cni": {"confDir": "etc/cni"}}},
            "at '/agent/cni/confDir'",
            id="a relative host directory",
        ),
        pytest.param(_pool(), "missing property 'ipv4'", id="a pool without addresses"),
        pytest.param(
            _pool(ipv4={"cidrs": ["10.244.0.0"], "nodeMaskSize": 24}),
            "at '/clusterCIDRs/default/ipv4/cidrs/0': '10.244.0.0' does not match",
            id="a range without a length",
        ),
        pytest.param(
            _pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 31}),
            "at '/clusterCIDRs/default/ipv4/nodeMaskSize': maximum: got 31, want 30",
            id="blocks too small for pods",
        ),
        pytest.param(
            _pool(ipv4={"cidrs": ["10.244.0.0/16"]}),
            "missing property 'nodeMaskSize'",
            id="a pool without a block size",
        ),
        pytest.param(
            _pool(ipv6={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 64}),
            "at '/clusterCIDRs/default/ipv6/cidrs/0'",
            id="an IPv4 range among the IPv6 ones",
        ),
        pytest.param(
            {"fullnameOverride": "My_net"}, "at '/fullnameOverride'", id="a name no object can have"
        ),
        pytest.param(
            {"agent": {"podLabels": {"app.kubernetes.io/name": "mine"}}},
            "invalid propertyName 'app.kubernetes.io/name'",
            id="a label that selects the Pods",
        ),
        pytest.param(
            {"metrics": {"prometheusRule": {"disabled": ["NoSuchAlert"]}}},
            "at '/metrics/prometheusRule/disabled/0'",
            id="an alert that does not exist",
        ),
        pytest.param(
            {"clusterCIDRs": {"Default": {}}}, "invalid propertyName 'Default'", id="a capital in a name"
        ),
    ],
)
def test_wrong_values_are_refused_by_name_and_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        rendered(values)

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"agent": {"backend": "vxlan", "flannelCompat": True}},
            "agent.flannelCompat needs agent.feed=nodes",
            id="flannel's annotations out of the ledger",
        ),
        pytest.param(
            {"agent": {"feed": "nodes", "flannelCompat": True}},
            "agent.flannelCompat needs agent.backend=vxlan",
            id="flannel's annotations without its tunnel",
        ),
        pytest.param(
            {"controller": {"metrics": {"port": 9412}}}, "both are ports of the host", id="one port for two"
        ),
        pytest.param(
            {"metrics": {"enabled": False, "podMonitor": {"enabled": True}}},
            "metrics.podMonitor.enabled needs metrics.enabled=true",
            id="PodMonitors of loopback",
        ),
        pytest.param(
            {"metrics": {"enabled": False, "prometheusRule": {"enabled": True}}},
            "metrics.prometheusRule.enabled needs metrics.enabled=true",
            id="alerts on nothing",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        rendered(values)

    assert message in str(refused.value)


def test_values_of_a_program_that_is_off_contradict_nothing() -> None:
    assert rendered({"agent": {"enabled": False, "flannelCompat": True, "metrics": {"port": 9411}}})


def test_agents_without_our_controller_are_told_where_to_learn_from() -> None:
    alone: dict[str, Any] = {"controller": {"enabled": False}}

    assert "agent.feed=nodes" in rendered(alone)["NOTES.txt"]
    assert "agent.feed=nodes" not in rendered({**alone, "agent": {"feed": "nodes"}})["NOTES.txt"]

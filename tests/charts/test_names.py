"""Are names and labels good for whatever a release, its namespace or a value is called?"""

from __future__ import annotations

import re
from typing import Any

import helm_python
import pytest

from tests.charts import kube_types
from tests.charts.chart import RELEASE, manifests, one, rendered, values_of

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1035: what a Service may be called."""


def _service_names(values: dict[str, Any], release: str = RELEASE) -> list[str]:
    return [m["metadata"]["name"] for m in manifests(values, release=release) if m["kind"] == "Service"]


@pytest.mark.parametrize(
    ("release", "names"),
    [
        pytest.param(
            "pod.net",
            ["pod-net-nodeipam-ctl-controller-metrics", "pod-net-nodeipam-ctl-agent-metrics"],
            id="a dot",
        ),
        pytest.param(
            "nodeipam-ctl",
            ["nodeipam-ctl-controller-metrics", "nodeipam-ctl-agent-metrics"],
            id="the chart's name, once",
        ),
        pytest.param(
            "x" * 29 + ".nodeipam-ctl-and.on",
            ["x" * 29 + "-nodeipam-ctl-a-controller-metrics", "x" * 29 + "-nodeipam-ctl-a-agent-metrics"],
            id="long",
        ),
    ],
)
def test_a_release_gives_names_that_services_may_have(release: str, names: list[str]) -> None:
    helm_python.validate_release_name(release)
    found = _service_names({}, release)

    assert all(_LABEL.fullmatch(name) for name in found)
    assert found == names


def test_an_override_is_cut_where_names_end() -> None:
    found = _service_names({"fullnameOverride": "n" * 90})

    assert len(found) == 2
    assert all(_LABEL.fullmatch(name) for name in found)


def test_a_release_that_begins_with_a_digit_is_told_what_to_do() -> None:
    with pytest.raises(helm_python.HelmRenderError, match="begin with a digit, as that of release 1net"):
        rendered({}, release="1net")

    assert _service_names({"fullnameOverride": "net"}, "1net") == [
        "net-controller-metrics",
        "net-agent-metrics",
    ]
    assert _service_names({"metrics": {"service": {"enabled": False}}}, "1net") == []


@pytest.mark.parametrize("word", ["123", "1e3", "null", "true", "0x1f", "on"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(word: str) -> None:
    values = values_of("host-gw") | {"nameOverride": "", "fullnameOverride": "net"}
    values["clusterCIDRs"] = {word: values["clusterCIDRs"]["default"]}
    values["agent"] |= {
        "serviceAccount": {"create": False, "name": word},
        "priorityClassName": word,
        "podLabels": {"a": word},
    }
    found = list(manifests(values, release=word, namespace=word))

    for manifest in found:
        metadata = manifest["metadata"]
        texts = [metadata["name"], metadata.get("namespace", ""), *metadata["labels"].values()]
        assert all(isinstance(text, str) for text in texts), metadata
        if kube_types.is_known(manifest):
            assert kube_types.problems(manifest) == []
    (pool,) = (m for m in found if m["kind"] == "ClusterCIDR")
    assert pool["metadata"]["name"] == word
    assert pool["metadata"]["annotations"]["meta.helm.sh/release-name"] == word


def test_the_nearest_label_wins() -> None:
    values = values_of("host-gw") | {"commonLabels": {"team": "a", "app.kubernetes.io/part-of": "platform"}}
    values["agent"] |= {"podLabels": {"team": "b"}}
    values["metrics"]["podMonitor"]["labels"] = {"team": "c"}
    daemon_set = one(values, "DaemonSet", f"{RELEASE}-agent")
    monitor = one(values, "PodMonitor", f"{RELEASE}-agent")

    found = [m["metadata"]["labels"] for m in (daemon_set, daemon_set["spec"]["template"], monitor)]
    assert [labels["team"] for labels in found] == ["a", "b", "c"]
    assert {labels["app.kubernetes.io/part-of"] for labels in found} == {"platform"}

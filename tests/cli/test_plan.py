"""`nodeipam-ctl plan`: what fits, until when, and what a changed or new ClusterCIDR would do."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.cli.conftest import GPU, Operator

Golden = Callable[[str, str], None]

CHANGED = """
apiVersion: nodeipam.dev/v1alpha1
kind: ClusterCIDR
metadata: {name: default}
spec:
  reuseDelay: 0s
  ipv4: {cidrs: [10.244.0.0/24], nodeMaskSize: 26}
---
# new
apiVersion: nodeipam.dev/v1alpha1
kind: ClusterCIDR
metadata: {name: edge}
spec:
  priority: 5
  ipv4: {cidrs: [10.8.0.0/22], nodeMaskSize: 24}
  nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: edge, operator: Exists}]}]}
"""


async def _pools(operator: Operator) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.244.0.0/22"], "nodeMaskSize": 24}, nodeSelector=None)
    await operator.cluster.pool(
        "gpu",
        ipv4={"cidrs": ["10.9.0.0/16"], "nodeMaskSize": 24, "exclude": ["10.9.0.0/20"]},
        ipv6={"cidrs": ["fd00:9::/32"], "nodeMaskSize": 96},
        nodeSelector=GPU,
    )


async def _plan(operator: Operator, *arguments: str) -> Any:
    said = await operator("plan", "-o", "json", *arguments)
    assert (said.code, said.err) == (0, "")
    return json.loads(said.out)


async def test_shows_capacity_growth_and_groups(operator: Operator, golden: Golden) -> None:
    await _pools(operator)
    await operator.serve("worker-1", "worker-2")
    await operator.serve("gpu-1", labels={"gpu": "a100"})
    said = await operator("plan")
    assert (said.code, said.err) == (0, "")
    golden("plan", said.out)


async def test_says_when_a_cluster_cidr_is_full_at_the_present_rate(operator: Operator) -> None:
    await _pools(operator)
    for hours, name in ((10, "worker-1"), (5, "worker-2")):
        operator.clock.ago(hours * 3600)
        await operator.serve(name)
    answer = await _plan(operator)
    default = next(pool for pool in answer["clusterCIDRs"] if pool["name"] == "default")
    assert (default["newNodes"], default["fits"]) == (2, 2)
    assert default["newNodesPerDay"] == pytest.approx(2.4, rel=0.01), (
        "one more in the ten hours since the first"
    )
    assert default["fullInSeconds"] == pytest.approx(20 * 3600, rel=0.01)
    assert default["fullAt"] > "2026"
    assert "in 20h" in (await operator("plan")).out or "in 19h" in (await operator("plan")).out


async def test_a_cluster_that_was_just_built_has_no_rate(operator: Operator) -> None:
    await _pools(operator)
    operator.clock.ago(60)
    await operator.serve("worker-1", "worker-2")
    assert "too early to say" in (await operator("plan")).out
    answer = await _plan(operator)
    assert [pool["fullInSeconds"] for pool in answer["clusterCIDRs"]] == [None, None]


async def test_a_longer_window_sees_slower_growth(operator: Operator) -> None:
    await _pools(operator)
    for days, name in ((20, "worker-1"), (10, "worker-2")):
        operator.clock.ago(days * 86400)
        await operator.serve(name)
    assert "no growth seen in 24h" in (await operator("plan")).out
    answer = await _plan(operator, "--window", "720h")
    assert answer["clusterCIDRs"][0]["newNodes"] == 2
    assert answer["clusterCIDRs"][0]["fullInSeconds"] == pytest.approx(40 * 86400, rel=0.01)


async def test_released_blocks_that_rest_are_not_free(operator: Operator) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.244.0.0/22"], "nodeMaskSize": 24}, reuseDelay="24h")
    operator.clock.ago(60)
    await operator.serve("worker-1")
    await operator.cluster.delete("/api/v1/nodes/worker-1")
    answer = await _plan(operator)
    [pool] = answer["clusterCIDRs"]
    counts = {name: pool["families"]["IPv4"][name] for name in ("allocated", "resting", "free")}
    assert counts == {"allocated": 0, "resting": 1, "free": 3}


async def test_a_disabled_cluster_cidr_takes_no_more_nodes(operator: Operator) -> None:
    await operator.cluster.pool(disabled=True)
    [pool] = (await _plan(operator))["clusterCIDRs"]
    assert (pool["state"], pool["fits"]) == ("disabled", 0)
    assert pool["families"]["IPv4"]["free"] == 256


async def test_a_file_is_shown_as_a_diff(operator: Operator, golden: Golden, tmp_path: Path) -> None:
    await _pools(operator)
    await operator.serve("worker-1", "worker-2")
    await operator.cluster.node(
        "edge-1", labels={"edge": ""}, annotations={"nodeipam.dev/cluster-cidr": "edge"}
    )
    file = tmp_path / "new.yaml"
    file.write_text(CHANGED)
    said = await operator("plan", "-f", str(file))
    assert (said.code, said.err) == (0, "")
    golden("plan-file", said.out)


async def test_a_file_is_told_as_data_too(operator: Operator, tmp_path: Path) -> None:
    await _pools(operator)
    await operator.serve("worker-1", "worker-2")
    await operator.cluster.node("edge-1", annotations={"nodeipam.dev/cluster-cidr": "edge"})
    file = tmp_path / "new.yaml"
    file.write_text(CHANGED)
    answer = await _plan(operator, "-f", str(file))
    assert yaml.safe_load((await operator("plan", "-o", "yaml", "-f", str(file))).out) == answer
    assert [(c["op"], c["clusterCIDR"]) for c in answer["changes"]] == [
        ("replace", "default"),
        ("add", "edge"),
    ]
    assert answer["nodes"]["orphaned"] == [{"node": "worker-2", "podCIDR": "10.244.1.0/24"}]
    assert answer["nodes"]["served"] == [
        {"node": "edge-1", "clusterCIDR": "edge", "podCIDRs": ["10.8.0.0/24"]}
    ]
    fits = {pool["name"]: (pool["fitsBefore"], pool["fits"]) for pool in answer["clusterCIDRs"]}
    assert fits == {"default": (2, 0), "edge": (None, 3), "gpu": (240, 240)}


async def test_a_file_that_says_what_is_there_changes_nothing(operator: Operator, tmp_path: Path) -> None:
    await operator.cluster.pool()
    stored = (await operator.cluster.items("/apis/nodeipam.dev/v1alpha1/clustercidrs"))[0]
    file = tmp_path / "same.json"
    file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [stored]}))
    said = await operator("plan", "-f", str(file))
    assert (said.code, said.out) == (0, "no change: the cluster says the same already\n")


async def test_what_a_file_leaves_to_the_server_is_what_the_server_would_say(
    operator: Operator, tmp_path: Path
) -> None:
    body = {"apiVersion": "nodeipam.dev/v1alpha1", "kind": "ClusterCIDR", "metadata": {"name": "short"}}
    body["spec"] = {"ipv4": {"cidrs": ["10.9.0.0/16"]}, "ipv6": {"cidrs": ["fd00::/48"]}}
    file = tmp_path / "short.json"
    file.write_text(json.dumps(body))
    said = await operator("plan", "-f", str(file))
    assert "+   spec.ipv4.nodeMaskSize: 24\n" in said.out
    assert "+   spec.ipv6.nodeMaskSize: 64\n" in said.out
    await operator.cluster.create("/apis/nodeipam.dev/v1alpha1/clustercidrs", body)
    said = await operator("plan", "-f", str(file))
    assert said.out == "no change: the cluster says the same already\n"


async def test_reads_a_file_from_standard_input(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(CHANGED.encode())))
    said = await operator("plan", "-f", "-")
    assert said.code == 0
    assert "+ clustercidr/edge" in said.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "no ClusterCIDR in it", id="an empty file"),
        pytest.param("{a: [", "neither YAML nor JSON at line", id="no YAML"),
        pytest.param(
            "a0: &a0 [lol, lol]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 12)),
            "its aliases stand for more than 1 MiB",
            id="a billion laughs",
        ),
        pytest.param(
            CHANGED + "x: &x {a: {b: *x}}\n" + 100 * "# \n",
            "the alias *x stands for what it lies in",
            id="a loop",
        ),
        pytest.param("[" * 100_000, "nested deeper than 100 levels", id="nested beyond the C stack"),
        pytest.param("text", "not an object", id="a text"),
        pytest.param("kind: Pod\napiVersion: v1\n", "it is Pod of v1; only ClusterCIDRs", id="another kind"),
        pytest.param(
            CHANGED.replace("10.244.0.0/24", "10.244.0.1/24"), "has host bits set: write", id="host bits"
        ),
        pytest.param(CHANGED.replace("nodeMaskSize: 26", "nodeMaskSize: 20"), "does not fit into", id="mask"),
        pytest.param(
            CHANGED.replace("reuseDelay", "reuseDlay"), "no field spec.reuseDlay", id="unknown field"
        ),
        pytest.param(
            CHANGED.replace("nodeMaskSize: 26", "nodeMaskSize: 26, excluded: []"),
            "no field spec.ipv4.excluded",
            id="unknown field of a family",
        ),
        pytest.param(CHANGED.replace("{name: edge}", "{name: default}"), "given twice", id="one name twice"),
        pytest.param(CHANGED.replace("{name: default}", "{}"), "no metadata.name", id="no name"),
        pytest.param(
            CHANGED.replace("{name: edge}", "{name: ../Edge}"),
            "'../Edge' is not an object name",
            id="a bad name",
        ),
        pytest.param(
            CHANGED.replace("  reuseDelay: 0s", "  reuseDelay: 0s\n  reuseDelay: 5m"),
            "line 7: 'reuseDelay' is already set in this mapping; leave one out",
            id="a key twice",
        ),
        pytest.param(
            CHANGED.replace("nodeMaskSize: 26", "nodeMaskSize: .nan"),
            "spec.ipv4.nodeMaskSize is no number that JSON can express",
            id="not a number",
        ),
        pytest.param(
            CHANGED.replace("priority: 5", "priority: 2147483648"),
            "spec.priority: 2147483648 is not between -1000000 and 1000000",
            id="a priority beyond the API's",
        ),
        pytest.param(CHANGED.replace("5", "! 5\x1b"), "neither YAML nor JSON", id="a control character"),
    ],
)
async def test_a_bad_file_is_one_line_and_exit_code_2(
    operator: Operator, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    said = await operator("plan", "-f", str(file))
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert str(file) in said.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["-f", "/nowhere/at/all"], "/nowhere/at/all: cannot be read", id="no file"),
        pytest.param(["--window", "soon"], "--window: 'soon' is not a duration", id="no duration"),
        pytest.param(["--window", "0s"], "no time at all", id="no time"),
        pytest.param(["-o", "xml"], "'xml'", id="an unknown form"),
        pytest.param(["--service-cidr", "x"], "--service-cidr: 'x' is not a CIDR", id="no range"),
        pytest.param(["surplus"], "surplus", id="an argument"),
    ],
)
async def test_a_wrong_flag_is_one_line_and_exit_code_2(
    operator: Operator, arguments: list[str], says: str
) -> None:
    said = await operator("plan", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.err

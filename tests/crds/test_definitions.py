"""Our definitions are such that every supported Kubernetes takes them, and that `kubectl explain` explains them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver.jsonpath import JsonPath
from nodeipam_ctl.demo.apiserver.schema import Structural
from nodeipam_ctl.demo.apiserver.schema_check import faults

ROOT = Path(__file__).parents[2]
OURS = sorted((ROOT / "crds").glob("*.yaml"))
ALL = [*OURS, ROOT / "tests" / "data" / "networking.x-k8s.io_clustercidrs.yaml"]


def schemas(path: Path) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Every schema below a definition's: where it stands, itself, and how many values it may describe at most."""

    def walk(where: str, schema: dict[str, Any], count: float) -> Iterator[tuple[str, dict[str, Any], float]]:
        yield where, schema, count
        for name, inner in (schema.get("properties") or {}).items():
            yield from walk(f"{where}.{name}", inner, count)
        if "items" in schema:
            yield from walk(f"{where}[]", schema["items"], count * schema.get("maxItems", math.inf))

    for version in yaml.safe_load(path.read_text())["spec"]["versions"]:
        yield from walk("", version["schema"]["openAPIV3Schema"], 1)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_is_structural_and_its_rules_compile(path: Path) -> None:
    for version in yaml.safe_load(path.read_text())["spec"]["versions"]:
        assert faults(version["schema"]["openAPIV3Schema"]) == []


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_every_field_is_explained(path: Path) -> None:
    unexplained = [
        where
        for where, schema, _ in schemas(path)
        if "description" not in schema and not where.endswith("[]") and where != ".metadata"
    ]
    assert unexplained == []


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_everything_a_rule_can_see_is_bounded(path: Path) -> None:
    """kube-apiserver's cost estimate takes an unbounded list or text for millions of items."""
    unbounded = [
        where
        for where, schema, _ in schemas(path)
        if (schema.get("type") == "array" and "maxItems" not in schema)
        or (
            schema.get("type") == "string"
            and where not in {".apiVersion", ".kind"}
            and not schema.keys() & {"maxLength", "enum", "format"}
        )
    ]
    assert unbounded == []


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_rules_are_sentences_that_keep_to_what_kubernetes_1_31_affords(path: Path) -> None:
    for where, schema, _ in schemas(path):
        for entry in schema.get("x-kubernetes-validations") or ():
            assert entry["message"], where
            # An estimate of `==` on CIDRs is unbounded in 1.31; containsCIDR is wrong before 1.31.9 and 1.32.5.
            assert "containsCIDR" not in entry["rule"], where
            assert ") == cidr(" not in entry["rule"], where


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_patterns_stay_far_below_the_cost_of_a_rule(path: Path) -> None:
    """A match costs a tenth of the text's length times a quarter of the pattern's, for every value there may be."""
    for where, schema, count in schemas(path):
        for entry in schema.get("x-kubernetes-validations") or ():
            if "self.matches(" in entry["rule"]:
                pattern = entry["rule"].split("'")[1]
                cost = math.ceil((schema["maxLength"] + 1) / 10) * math.ceil(len(pattern) / 4) * count
                assert cost < 2_000_000, where


USAGE = {"usage": "12/256", "free": 244, "resting": 1}
READY = {"type": "Ready", "status": "True", "reason": "Allocating"}
LINE = {"state": "Bound", "node": "worker-1", "clusterCIDR": "default"}
METADATA = {
    "name": "full",
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "labels": {"nodeipam.dev/family": "IPv4"},
}
FULL: dict[str, dict[str, Any]] = {
    "ClusterCIDR": {
        "metadata": METADATA,
        "spec": {"ipv4": {"cidrs": ["10.244.0.0/16"]}, "ipv6": {"cidrs": ["fd00:10:244::/48"]}},
        "status": {"ipv4": USAGE, "ipv6": USAGE, "nodes": 12, "waitingNodes": 0, "conditions": [READY]},
    },
    "PodCIDRSlice": {
        "metadata": METADATA,
        "page": "10.244.0.0/20",
        "entries": [{**LINE, "cidr": f"10.244.{number}.0/24"} for number in range(3)],
    },
}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_every_column_shows_something_of_a_full_object(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())["spec"]
    for version in spec["versions"]:
        structural = Structural(version["schema"]["openAPIV3Schema"])
        obj = copy.deepcopy(FULL[spec["names"]["kind"]])
        assert structural.prune(obj) == []
        structural.default(obj)
        assert structural.validate(obj, None) == []
        empty = [
            column["name"]
            for column in version["additionalPrinterColumns"]
            if not JsonPath(column["jsonPath"]).values(obj)
        ]
        assert empty == []


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_no_key_stands_twice(path: Path) -> None:
    """kubectl refuses such a file; PyYAML takes the last one in silence."""
    twice: list[str] = []

    def look(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    twice.append(f"line {key.start_mark.line + 1}: {key.value}")
                seen.add(key.value)
                look(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                look(item)

    document = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    assert document is not None
    look(document)
    assert twice == []

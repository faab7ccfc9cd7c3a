"""A definition becomes a served resource, or is refused with the reason; the project's own ones are accepted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.jsonpath import JsonPath
from tests.demo.apiserver.http import Http, http
from tests.demo.apiserver.test_kubectl import RANGES

PROJECT_CRDS = Path(__file__).parents[3] / "crds"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
async def api() -> AsyncIterator[Http]:
    async with ApiServer() as server, http(server) as client:
        yield client


def definition(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(RANGES)
    found["spec"] |= changes
    return found


async def test_the_projects_definitions_are_installed_at_start() -> None:
    async with ApiServer(crd_dir=PROJECT_CRDS) as server, http(server) as api:
        assert (await api("GET", "/apis/nodeipam.dev/v1alpha1/clustercidrs")).status == 200
        assert (await api("GET", "/apis/nodeipam.dev/v1alpha1/podcidrslices")).status == 200
        await server.restart(lose_data=True)
        assert (await api("GET", "/apis/nodeipam.dev/v1alpha1/clustercidrs")).status == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"scope": "Galaxy"}, "spec.scope", id="an unknown scope"),
        pytest.param({"group": "other.example.com"}, "metadata.name", id="a name that is not plural.group"),
        pytest.param({"versions": []}, "spec.versions", id="no storage version"),
    ],
)
async def test_a_wrong_definition_is_refused(api: Http, changes: dict[str, Any], field: str) -> None:
    refused = await api("POST", DEFINITIONS, definition(**changes))
    assert refused.status == 422
    assert field in [cause["field"] for cause in refused.body["details"]["causes"]]


async def test_a_rule_that_does_not_compile_is_refused_before_anything_is_stored(api: Http) -> None:
    broken = definition()
    schema = broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.size >"}]
    refused = await api("POST", DEFINITIONS, broken)
    assert refused.status == 422
    assert "x-kubernetes-validations[0].rule" in refused.body["message"]
    assert (await api("GET", DEFINITIONS)).body["items"] == []


async def test_a_new_schema_counts_for_the_next_write(api: Http) -> None:
    await api("POST", DEFINITIONS, definition())
    path = "/apis/example.com/v1/ranges"
    body = {"apiVersion": "example.com/v1", "kind": "Range", "metadata": {"name": "r"}, "spec": {"size": 40}}
    assert (await api("POST", path, body)).status == 201
    version = definition()["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["maximum"] = 30
    await api.patch(f"{DEFINITIONS}/ranges.example.com", {"spec": {"versions": [version]}})
    body["metadata"] = {"name": "s"}
    assert (await api("POST", path, body)).status == 422
    assert (await api("GET", f"{path}/r")).status == 200


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param(".spec.size", [24], id="a field"),
        pytest.param(".spec.cidrs[0]", ["a"], id="an index"),
        pytest.param(".spec.cidrs[-1]", ["b"], id="from the end"),
        pytest.param(".spec.cidrs[*]", ["a", "b"], id="every item"),
        pytest.param('.status.conditions[?(@.type=="Ready")].status', ["True"], id="a filter"),
        pytest.param(".metadata.labels['a.b/c']", ["x"], id="a quoted name"),
        pytest.param(r".metadata.labels.a\.b/c", ["x"], id="an escaped dot"),
        pytest.param(".spec.cidrs[0:1]", [], id="what the subset does not read"),
        pytest.param(".spec.nope.deeper", [], id="an absent field"),
    ],
)
def test_json_paths_find(path: str, found: list[Any]) -> None:
    obj = {
        "metadata": {"labels": {"a.b/c": "x"}},
        "spec": {"size": 24, "cidrs": ["a", "b"]},
        "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
    }
    assert JsonPath(path).values(obj) == found

"""The life cycle beyond the recording: PUT, namespaces, Events in two groups, definitions in two versions, tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, http
from tests.demo.apiserver.test_kubectl import RANGES

NODES = "/api/v1/nodes"
RANGE_PATH = "/apis/example.com/v1/ranges"
EVENTS = "/api/v1/namespaces/default/events"
NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        running.apply(yaml.safe_load(RANGES))
        running.create(node("n1"))
        yield running


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Http]:
    async with http(server) as client:
        yield client


def a_range(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Range", "metadata": {"name": "r1"}, "spec": spec}


async def test_put_replaces_the_spec_and_keeps_the_status(api: Http) -> None:
    current = (await api("GET", f"{NODES}/n1")).body
    changed = current | {"spec": {"unschedulable": True}, "status": {}}
    replaced = (await api("PUT", f"{NODES}/n1", changed)).body
    assert replaced["spec"] == {"unschedulable": True}
    assert replaced["status"] == current["status"]


async def test_put_of_a_custom_resource_needs_a_version(api: Http) -> None:
    await api("POST", RANGE_PATH, a_range(size=24))
    refused = await api("PUT", f"{RANGE_PATH}/r1", a_range(size=25))
    assert (refused.status, refused.body["details"]["causes"][0]["field"]) == (
        422,
        "metadata.resourceVersion",
    )


async def test_put_with_another_uid_is_a_conflict(api: Http) -> None:
    current = (await api("GET", f"{NODES}/n1")).body
    current["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert (await api("PUT", f"{NODES}/n1", current)).status == 409


async def test_a_name_in_the_body_must_be_the_one_in_the_path(api: Http) -> None:
    current = (await api("GET", f"{NODES}/n1")).body
    current["metadata"]["name"] = "n2"
    assert (await api("PUT", f"{NODES}/n1", current)).status == 400


async def test_an_event_is_one_object_with_two_faces(api: Http) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": "n1"},
        "reason": "CIDRAssigned",
        "message": "text",
        "type": "Normal",
        "count": 2,
    }
    assert (await api("POST", EVENTS, event)).status == 201
    other = (await api("GET", f"{NEW_EVENTS}/e")).body
    assert (other["note"], other["regarding"]["name"], other["deprecatedCount"]) == ("text", "n1", 2)
    (await api.patch(f"{NEW_EVENTS}/e", {"note": "changed"}))
    back = (await api("GET", f"{EVENTS}?fieldSelector=involvedObject.name%3Dn1")).body
    assert [item["message"] for item in back["items"]] == ["changed"]


async def test_a_definition_may_serve_two_versions_of_the_same_objects(server: ApiServer, api: Http) -> None:
    definition = yaml.safe_load(RANGES)
    older = dict(definition["spec"]["versions"][0]) | {"name": "v1beta1", "storage": False}
    definition["spec"]["versions"].append(older)
    server.apply(definition)
    await api("POST", RANGE_PATH, a_range(size=24))
    shown = (await api("GET", "/apis/example.com/v1beta1/ranges/r1")).body
    assert (shown["apiVersion"], shown["spec"]) == ("example.com/v1beta1", {"size": 24})
    async with api.watch("/apis/example.com/v1beta1/ranges?watch=1") as events:
        assert (await events.next())[1]["apiVersion"] == "example.com/v1beta1"


async def test_a_definition_stays_until_the_last_finalizer_of_its_objects_is_gone(api: Http) -> None:
    held = a_range(size=24)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api("POST", RANGE_PATH, held)
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ranges.example.com"
    await api("DELETE", crd)
    assert (await api("GET", crd)).body["metadata"]["deletionTimestamp"]
    await api.patch(f"{RANGE_PATH}/r1", {"metadata": {"finalizers": None}})
    assert (await api("GET", crd)).status == 404


async def test_nothing_new_enters_a_terminating_namespace(api: Http) -> None:
    await api(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    )
    maps = "/api/v1/namespaces/team/configmaps"
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "finalizers": ["example.com/hold"]},
    }
    await api("POST", maps, held)
    await api("DELETE", "/api/v1/namespaces/team")
    late = await api("POST", maps, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}})
    assert (late.status, late.body["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    await api.patch(f"{maps}/c", {"metadata": {"finalizers": None}})
    assert (await api("GET", "/api/v1/namespaces/team")).status == 404


async def test_dry_run_changes_nothing(server: ApiServer, api: Http) -> None:
    version = server.store.rv
    assert (await api("POST", f"{NODES}?dryRun=All", node("n2"))).status == 201
    assert (await api("DELETE", f"{NODES}/n1?dryRun=All")).status == 200
    assert (await api("DELETE", f"{NODES}?dryRun=All")).status == 200
    assert server.store.rv == version


async def test_strict_validation_of_a_patch_names_the_unknown_field(api: Http) -> None:
    await api("POST", RANGE_PATH, a_range(size=24))
    refused = await api(
        "PATCH",
        f"{RANGE_PATH}/r1?fieldValidation=Strict",
        {"spec": {"nope": 1}},
        kind="application/merge-patch+json",
    )
    assert refused.status == 422
    assert (
        'unknown field \\"spec.nope\\"' in refused.body["message"]
        or 'unknown field "spec.nope"' in refused.body["message"]
    )


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        pytest.param({"a": 1}, "cannot unmarshal number", id="a label that is a number"),
        pytest.param({"a": "white space"}, "a valid label must be", id="a label value with a space"),
        pytest.param({"/": "x"}, "name part must consist of", id="a label key without a name"),
    ],
)
async def test_wrong_labels_are_refused_with_the_reason(api: Http, labels: dict[str, Any], why: str) -> None:
    refused = await api.patch(f"{NODES}/n1", {"metadata": {"labels": labels}})
    assert refused.status in (400, 422)
    assert why in refused.body["message"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/api/v1/nosuch", 404, id="an unknown resource"),
        pytest.param("/api/v1/nodes/n1/nosuch", 404, id="an unknown subresource"),
        pytest.param("/api/v2/nodes", 404, id="an unknown version"),
        pytest.param("/nosuch", 404, id="a path that is no API"),
        pytest.param("/api/v1/namespaces/default/pods/p/log", 404, id="the log of a missing pod"),
    ],
)
async def test_unknown_paths_are_not_found(api: Http, path: str, status: int) -> None:
    assert (await api("GET", path)).status == status


async def test_a_yaml_body_is_read_like_json(api: Http) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {day: 2026-01-01}\n"
    made = await api("POST", "/api/v1/namespaces/default/configmaps", text, kind="application/yaml")
    assert made.body["data"] == {"day": "2026-01-01"}


async def test_a_body_of_an_unknown_type_is_unsupported(api: Http) -> None:
    refused = await api("POST", NODES, "<node/>", kind="text/xml")
    assert (refused.status, refused.body["reason"]) == (415, "UnsupportedMediaType")

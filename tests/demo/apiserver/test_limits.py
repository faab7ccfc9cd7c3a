"""What is too much for the server: depth, size and length get kube-apiserver's answer, never a 500 or a cut connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, http

NODES = "/api/v1/nodes"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEEP = "[" * 100_000
"""Enough to overflow the C stack of a parser that recurses."""


@pytest.fixture
async def api() -> AsyncIterator[Http]:
    async with ApiServer() as server, http(server) as client:
        yield client


def config_map(size: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "big"},
        "data": {"text": "x" * size},
    }


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        pytest.param("POST", NODES, "application/json", id="a new object in JSON"),
        pytest.param("POST", NODES, "application/yaml", id="a new object in YAML"),
        pytest.param("PATCH", f"{NODES}/n1", "application/merge-patch+json", id="a merge patch"),
        pytest.param("PATCH", f"{NODES}/n1", "application/json-patch+json", id="a JSON patch"),
    ],
)
async def test_a_body_nested_without_end_is_a_bad_request(
    api: Http, method: str, path: str, kind: str
) -> None:
    await api("POST", NODES, node("n1"))
    reply = await api(method, path, DEEP, kind=kind)
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")


async def test_takes_bodies_of_two_megabytes(api: Http) -> None:
    assert (await api("POST", CONFIG_MAPS, config_map(2_000_000))).status == 201


async def test_refuses_bodies_over_three_megabytes(api: Http) -> None:
    reply = await api("POST", CONFIG_MAPS, config_map(3_200_000))
    assert reply.status == 413
    assert reply.body["reason"] == "RequestEntityTooLarge"
    assert reply.body["message"] == "Request entity too large: limit is 3145728"


@pytest.mark.parametrize(("size", "status"), [(262_000, 201), (262_145, 422)])
async def test_annotations_hold_a_quarter_of_a_megabyte(api: Http, size: int, status: int) -> None:
    reply = await api(
        "POST", NODES, {**node("n1"), "metadata": {"name": "n1", "annotations": {"a": "x" * size}}}
    )
    assert reply.status == status
    if status == 422:
        assert "metadata.annotations: Too long: may not be more than 262144 bytes" in reply.body["message"]


async def test_a_selector_may_be_longer_than_eight_kilobytes(api: Http) -> None:
    names = ",".join(f"zone-{number}" for number in range(2000))
    reply = await api("GET", f"{NODES}?labelSelector=zone+in+({names})")
    assert (reply.status, reply.body["items"]) == (200, [])


async def test_a_watch_from_a_version_that_is_no_number_is_refused(api: Http) -> None:
    reply = await api("GET", f"{NODES}?watch=1&resourceVersion=abc")
    assert reply.status == 422
    assert 'resourceVersion: Invalid value: "abc"' in reply.body["message"]

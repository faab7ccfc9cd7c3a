"""Lists are consistent across pages, honour versions, and select like a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.errors import ApiError
from nodeipam_ctl.demo.apiserver.selectors import parse_fields, parse_labels
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, Reply, http

NODES = "/api/v1/nodes"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        for index in range(7):
            running.create(node(f"n{index}", zone="ab"[index % 2]))
        yield running


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Http]:
    async with http(server) as client:
        yield client


def names(reply: Reply) -> list[str]:
    return [item["metadata"]["name"] for item in reply.body["items"]]


async def test_pages_show_one_moment_whatever_happens_between_them(server: ApiServer, api: Http) -> None:
    first = await api("GET", f"{NODES}?limit=3")
    await api("DELETE", f"{NODES}/n5")
    server.create(node("n3a"))
    seen, page = names(first), first
    while token := page.body["metadata"].get("continue"):
        page = await api("GET", f"{NODES}?limit=3&continue={token}")
        assert page.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
        seen += names(page)
    assert seen == [f"n{i}" for i in range(7)]


async def test_an_exact_version_is_shown_as_it_was(server: ApiServer, api: Http) -> None:
    version = server.store.rv
    await api("DELETE", f"{NODES}/n0")
    old = await api("GET", f"{NODES}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert names(old) == [f"n{i}" for i in range(7)]


async def test_the_expired_token_comes_with_one_that_continues(server: ApiServer, api: Http) -> None:
    token = (await api("GET", f"{NODES}?limit=3")).body["metadata"]["continue"]
    await api("DELETE", f"{NODES}/n0")
    server.store.compact()
    expired = await api("GET", f"{NODES}?limit=3&continue={token}")
    rest = await api("GET", f"{NODES}?continue={expired.body['metadata']['continue']}")
    assert (expired.status, names(rest)) == (410, ["n3", "n4", "n5", "n6"])


async def test_version_zero_ignores_the_limit(api: Http) -> None:
    assert len(names(await api("GET", f"{NODES}?limit=2&resourceVersion=0"))) == 7


async def test_selectors_hide_how_many_remain(api: Http) -> None:
    page = await api("GET", f"{NODES}?limit=2&labelSelector=zone%3Da")
    assert names(page) == ["n0", "n2"]
    assert "remainingItemCount" not in page.body["metadata"]


async def test_a_namespaced_list_pages_within_its_namespace(server: ApiServer, api: Http) -> None:
    for namespace in ("default", "kube-public"):
        for index in range(3):
            meta = {"name": f"c{index}", "namespace": namespace}
            server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    page = await api("GET", "/api/v1/namespaces/default/configmaps?limit=2")
    assert (names(page), page.body["metadata"]["remainingItemCount"]) == (["c0", "c1"], 1)
    everywhere = await api("GET", "/api/v1/configmaps")
    assert len(names(everywhere)) == 6


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("resourceVersionMatch=Exact", id="a match without a version"),
        pytest.param("resourceVersion=0&resourceVersionMatch=Exact", id="exactly version 0"),
        pytest.param("resourceVersion=1&resourceVersionMatch=Perhaps", id="an unknown match"),
        pytest.param("resourceVersion=abc", id="a version that is no number"),
    ],
)
async def test_contradictory_versions_are_invalid(api: Http, query: str) -> None:
    assert (await api("GET", f"{NODES}?{query}")).status == 422


@pytest.mark.parametrize(
    ("text", "labels", "chosen"),
    [
        pytest.param("a=1", {"a": "1"}, True, id="equal"),
        pytest.param("a==1", {"a": "2"}, False, id="double equal, another value"),
        pytest.param("a!=1", {}, True, id="not equal holds when the label is absent"),
        pytest.param("a", {"a": ""}, True, id="exists"),
        pytest.param("!a", {"a": ""}, False, id="does not exist"),
        pytest.param("a in (1, 2),b", {"a": "2", "b": ""}, True, id="set, and another requirement"),
        pytest.param("a notin (1)", {}, True, id="notin holds when the label is absent"),
        pytest.param("a>3", {"a": "10"}, True, id="greater, as numbers"),
        pytest.param("a<3", {"a": "x"}, False, id="less, but not a number"),
        pytest.param("a in ()", {"a": ""}, True, id="the empty set holds the empty value"),
        pytest.param("in=x", {"in": "x"}, True, id="a keyword as a key"),
    ],
)
def test_label_selectors_choose_as_apimachinery_does(text: str, labels: dict[str, str], chosen: bool) -> None:
    matcher = parse_labels(text)
    assert matcher is not None
    assert matcher(labels) is chosen


@pytest.mark.parametrize("text", ["a in (", "a in b", "=1", "a,", "a=1 b=2", "a>x", "(a)"])
def test_malformed_label_selectors_are_bad_requests(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_labels(text)
    assert refused.value.code == 400


@given(st.text(alphabet="abz01=!(),<> innot", max_size=20))
def test_no_label_selector_crashes_the_parser(text: str) -> None:
    with contextlib.suppress(ApiError):
        matcher = parse_labels(text)
        assert matcher is None or matcher({"a": "1"}) in (True, False)


def test_field_selectors_keep_the_operator() -> None:
    supported = frozenset({"metadata.name", "spec.nodeName"})
    assert parse_fields("metadata.name!=a,spec.nodeName==b", supported) == {
        "metadata.name": (False, "a"),
        "spec.nodeName": (True, "b"),
    }
    with pytest.raises(ApiError, match="understand"):
        parse_fields("metadata.name", supported)

"""Tables say what kubectl prints: ages, columns of the built-in kinds, and as much of the object as was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.builtin import BUILTIN
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.table import age, table
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, http

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
async def api() -> AsyncIterator[Http]:
    async with ApiServer(now=lambda: NOW) as server, http(server) as client:
        server.create(node("n1"))
        yield client


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=0), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=3, seconds=12), "3m12s"),
        (timedelta(minutes=9), "9m"),
        (timedelta(minutes=59, seconds=59), "59m"),
        (timedelta(minutes=179), "179m"),
        (timedelta(hours=5, minutes=30), "5h30m"),
        (timedelta(hours=30), "30h"),
        (timedelta(days=3, hours=4), "3d4h"),
        (timedelta(days=100), "100d"),
        (timedelta(days=800), "2y70d"),
        (timedelta(days=3000), "8y"),
        (timedelta(hours=-1), "<invalid>"),
    ],
)
def test_ages_are_rounded_as_kubectl_does(passed: timedelta, text: str) -> None:
    assert age((NOW - passed).isoformat(), NOW) == text


def test_an_unknown_age_is_said_to_be_unknown() -> None:
    assert age(None, NOW) == "<unknown>"


@pytest.mark.parametrize(
    ("include", "kind"), [("Metadata", "PartialObjectMetadata"), ("Object", "Node"), ("None", None)]
)
async def test_rows_carry_as_much_of_the_object_as_was_asked_for(
    api: Http, include: str, kind: str | None
) -> None:
    shown = await api("GET", f"/api/v1/nodes?includeObject={include}", Accept=TABLE)
    (row,) = shown.body["rows"]
    assert row["cells"][:3] == ["n1", "Unknown", "<none>"]
    assert row.get("object", {}).get("kind") == kind


async def test_a_single_object_is_a_table_of_one_row(api: Http) -> None:
    shown = await api("GET", "/api/v1/nodes/n1", Accept=TABLE)
    assert (shown.body["kind"], len(shown.body["rows"])) == ("Table", 1)


@pytest.mark.parametrize("resource", [r for r in BUILTIN if not r.virtual], ids=lambda r: r.qualified)
def test_every_built_in_kind_prints_even_an_empty_object(resource: Resource) -> None:
    reference = {"kind": "ClusterRole", "name": "r"}
    bare = {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": {"name": "x"}}
    made = table(resource, [bare | {"roleRef": reference}], list_metadata={}, now=NOW)
    assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])
    assert made["rows"][0]["cells"][0] == "x"

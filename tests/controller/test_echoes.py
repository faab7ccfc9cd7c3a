"""Events of ledger pages while a write of ours is under way: our own are not read, nobody else's is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nodeipam_ctl.controller.app import Controller
from nodeipam_ctl.kube.client import Client
from tests.controller.harness import PAGES, Cluster, eventually

PAGE = "10.244.0.0-20"
TWO = {"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24}
RESTING = {
    "cidr": "10.244.1.0/24",
    "state": "Resting",
    "node": "theirs",
    "nodeUID": "11111111-2222-4333-8444-555555555555",
    "clusterCIDR": "default",
    "reusableAt": "2199-01-01T00:00:00Z",
}


class SlowAnswers(Client):
    """A client to which answers to writes of one ledger page come late."""

    stored: asyncio.Event
    answer: asyncio.Event

    async def create(self, path: str, body: bytes, **options: Any) -> bytes:
        answer = await super().create(path, body, **options)
        if path == PAGES and json.loads(body)["metadata"]["name"] == PAGE:
            self.stored.set()
            await self.answer.wait()
        return answer


@pytest.fixture
async def slow() -> AsyncIterator[type[SlowAnswers]]:
    """The class of a client whose `stored` says that the write is done and whose `answer` lets it know."""

    class Slow(SlowAnswers):
        stored = asyncio.Event()
        answer = asyncio.Event()

    yield Slow
    Slow.answer.set()


async def seen(controller: Controller, version: str) -> None:
    """Waits until the controller's watch of the pages has brought a version."""
    pages = controller._pages
    assert pages is not None
    await eventually(lambda: int(pages.version) >= int(version), what=f"version {version} at the controller")


async def test_anothers_write_between_ours_and_its_answer_is_not_taken_for_ours(
    cluster: Cluster, slow: type[SlowAnswers]
) -> None:
    await cluster.pool(ipv4=TWO, reuseDelay="1h")
    async with cluster.controller(client_type=slow) as running:
        await cluster.node("ours")
        await slow.stored.wait()
        page = await cluster.get(f"{PAGES}/{PAGE}")
        written = await cluster.patch(f"{PAGES}/{PAGE}", {"entries": [*page["entries"], RESTING]})
        await seen(running.controller, written["metadata"]["resourceVersion"])
        slow.answer.set()
        assert await cluster.served("ours") == ["10.244.0.0/24"]

        async def rests() -> bool:
            return bool((await cluster.status()).get("ipv4", {}).get("resting") == 1)

        await eventually(rests, what="another's line is known")


async def test_a_page_deleted_between_our_write_and_its_answer_is_written_again(
    cluster: Cluster, slow: type[SlowAnswers]
) -> None:
    await cluster.pool(ipv4=TWO)
    async with cluster.controller(client_type=slow) as running:
        node = await cluster.node("ours")
        await slow.stored.wait()
        await cluster.delete(f"{PAGES}/{PAGE}")
        last = await cluster.create(
            PAGES,
            {
                "apiVersion": "nodeipam.dev/v1alpha1",
                "kind": "PodCIDRSlice",
                "metadata": {"name": "10.99.0.0-20"},
                "page": "10.99.0.0/20",
            },
        )
        await seen(running.controller, last["metadata"]["resourceVersion"])
        slow.answer.set()
        assert await cluster.served("ours") == ["10.244.0.0/24"]
        with contextlib.suppress(KeyError):
            page = await cluster.get(f"{PAGES}/{PAGE}")
            assert [entry["nodeUID"] for entry in page["entries"]] == [node["metadata"]["uid"]]
            return
        raise AssertionError("the node was patched without a line")


async def test_the_own_write_seen_before_its_answer_is_no_news(
    cluster: Cluster, slow: type[SlowAnswers]
) -> None:
    await cluster.pool(ipv4=TWO)
    async with cluster.controller(client_type=slow) as running:
        await cluster.node("ours")
        await slow.stored.wait()
        page = await cluster.get(f"{PAGES}/{PAGE}")
        await seen(running.controller, page["metadata"]["resourceVersion"])
        slow.answer.set()
        assert await cluster.served("ours") == ["10.244.0.0/24"]
        assert running.metric("nodeipam_ledger_page_writes_total", result="conflict") == 0
        assert running.metric("nodeipam_ledger_page_writes_total", result="unknown") == 0

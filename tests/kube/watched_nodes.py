"""Nodes on an API server, and the informer that follows them: against the embedded server, or said line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.deltas import Delta
from nodeipam_ctl.kube.informer import Informer, Timing
from nodeipam_ctl.kube.resources import nodes
from nodeipam_ctl.model import Node

PATIENT = Timing(watch_s=60, silence_s=20, list_timeout_s=20, page=3)
IMPATIENT = Timing(watch_s=60, silence_s=0.3, list_timeout_s=20, page=3)


class Watched:
    """A server, a client, an informer of Nodes that runs, and the deltas it delivered."""

    def __init__(self, server: ApiServer, client: Client, *, timing: Timing = PATIENT) -> None:
        self.server = server
        self.client = client
        self.deltas: list[Delta[Node]] = []
        self.informer = Informer(
            client, nodes(), self.deltas.append, timing=timing, backoff=Backoff(first_s=0.01, cap_s=0.05)
        )

    async def create(self, name: str, **labels: str) -> None:
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        await self.client.create("/api/v1/nodes", json.dumps(body).encode())

    async def label(self, name: str, **labels: str) -> None:
        await self.client.patch(
            f"/api/v1/nodes/{name}", json.dumps({"metadata": {"labels": labels}}).encode()
        )

    async def delete(self, name: str) -> None:
        await self.client.delete(f"/api/v1/nodes/{name}")

    @property
    def names(self) -> set[str]:
        return {node.name for node in self.informer.store.values()}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the condition is the server's and the kernel's
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(timing: Timing = PATIENT) -> AsyncIterator[Watched]:
    async with ApiServer(bookmark_every_s=0.1) as server:
        access = Access(server=server.url, token=StaticToken(server.token))
        async with Client(access) as client:
            made = Watched(server, client, timing=timing)
            task = asyncio.create_task(made.informer.run())
            try:
                yield made
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def kinds(deltas: list[Delta[Node]]) -> str:
    return " ".join(type(delta).__name__ for delta in deltas)


def event(kind: str, name: str, version: int, **metadata: Any) -> bytes:
    body = {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), **metadata}}
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def listing(version: int, *names: str, more: str = "") -> bytes:
    items = [{"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1"}} for name in names]
    return json.dumps(
        {"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}
    ).encode()

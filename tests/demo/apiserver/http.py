"""A bare HTTP client for tests that look at single answers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from nodeipam_ctl.demo.apiserver import ApiServer

MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: Any


class Http:
    """Requests with one token."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self._session = session
        self.token = token

    async def __call__(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **headers: str
    ) -> Reply:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        # As a file, because aiohttp warns of large texts.
        file = io.BytesIO(data.encode() if isinstance(data, str) else data) if data else None
        async with self._session.request(method, path, headers=sent, data=file) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            body = json.loads(raw) if is_json and raw else raw.decode()
            return Reply(status=response.status, headers=dict(response.headers), body=body)

    async def patch(self, path: str, body: Any) -> Reply:
        """A JSON merge patch."""
        return await self("PATCH", path, body, kind=MERGE)

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[Events]:
        """A running watch."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self._session.get(path, headers=headers) as response:
            assert response.status == 200, await response.text()
            yield Events(response)


class Events:
    """The events of a watch, one by one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, *, within_s: float = 10.0) -> tuple[str, Any]:
        """Type and object of the next event; `("END", None)` when the stream ends in order."""
        async with asyncio.timeout(within_s):
            line = await self._response.content.readline()
        if not line:
            return "END", None
        event = json.loads(line)
        return event["type"], event["object"]

    async def nothing(self, *, for_s: float = 0.15) -> bool:
        """Does the watch stay silent for a while?"""
        try:
            await self.next(within_s=for_s)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def http(server: ApiServer, token: str | None = None) -> AsyncIterator[Http]:
    """A client of `server`; the admin, unless another token is given."""
    async with aiohttp.ClientSession(server.url) as session:
        yield Http(session, token or server.token)

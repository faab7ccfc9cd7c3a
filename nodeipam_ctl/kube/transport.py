"""Which connection takes a request to the API server? Kept ones, a bounded number of them; plain asyncio, TLS; no JSON, no verbs.

The connections are our own, the parser is not (docs/adr/0007): aiohttp costs every agent 12 MB, and repeats a PUT by itself when
a kept connection was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from urllib.parse import urlsplit

from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.connection import Connection, Cut, reason_of
from nodeipam_ctl.kube.http1 import Head

_CONNECT_WITHIN_S = 10.0
_IDLE_S = 60.0
"""kube-apiserver closes a connection that was idle for 90 s; ours must be the first to let go."""


class NotConnected(Exception):
    """No connection could be made, or none was wanted any more: the request was surely not sent."""


class Pool:
    """Connections to one server, kept for the next request, the one used last first."""

    def __init__(self, access: Access, *, limit: int) -> None:
        parts = urlsplit(access.server)
        assert parts.hostname is not None
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = access.ssl if parts.scheme == "https" else None
        self._server_hostname = access.server_hostname or self._host
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closing = False

    async def exchange(
        self,
        request: bytes,
        *,
        timeout_s: float,
        repeatable: bool,
        allowed: Callable[[], bool] | None = None,
    ) -> tuple[Head, bytes]:
        """Sends a request and returns the whole answer.

        Args:
            request: head and body.
            timeout_s: for all of it, waiting for a free connection included.
            repeatable: sent again, once, when a kept connection turns out to have been closed; never for a write.
            allowed: asked at the last moment; nothing is sent when it says no.

        Raises:
            NotConnected: it was surely not sent.
            Cut: it was sent, and no answer came, or not all of it.
        """
        sent = False
        try:
            async with asyncio.timeout(timeout_s), self._free:
                while True:
                    connection = await (self._connect() if sent else self._connection())
                    keep = False
                    try:
                        if allowed is not None and not allowed():
                            raise NotConnected("not sent: we may not write any more")
                        connection.send(request)
                        sent = True
                        head, body = await connection.answer()
                        keep = head.keeps_connection
                        return head, body
                    except Cut:
                        if not (repeatable and connection.reused and not connection.answer_began):
                            raise
                    finally:
                        self._put_back(connection, keep=keep)
        except TimeoutError as exc:
            if sent:
                raise Cut(f"no answer within {timeout_s:g} s") from exc
            raise NotConnected(f"no connection within {timeout_s:g} s") from exc

    @contextlib.asynccontextmanager
    async def stream(
        self, request: bytes, *, connect_timeout_s: float
    ) -> AsyncGenerator[tuple[Head, Connection], None]:
        """Sends a request on a connection of its own and gives its head and the connection, which ends with the block.

        Raises:
            NotConnected: no connection, or no head within `connect_timeout_s`.
            Cut: ended before the head.
        """
        connection: Connection | None = None
        try:
            try:
                async with asyncio.timeout(connect_timeout_s):
                    connection = await self._connect()
                    connection.send(request)
                    head = await connection.head()
            except TimeoutError as exc:
                raise NotConnected(f"no answer within {connect_timeout_s:g} s") from exc
            yield head, connection
        finally:
            if connection is not None:
                self._put_back(connection, keep=False)

    async def close(self) -> None:
        """Ends every connection."""
        self._closing = True
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()
            await connection.closed

    async def _connection(self) -> Connection:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now_s - connection.idle_since_s < _IDLE_S:
                connection.reused = True
                return connection
            connection.abort()
        return await self._connect()

    async def _connect(self) -> Connection:
        self._check_open()
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection,
                    self._host,
                    self._port,
                    ssl=self._ssl,
                    server_hostname=self._server_hostname if self._ssl is not None else None,
                )
        except OSError as exc:  # a timeout, ssl.SSLError and an unknown host are OSErrors as well
            raise NotConnected(reason_of(exc, f"no connection within {_CONNECT_WITHIN_S:g} s")) from exc
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        try:
            self._check_open()
        except NotConnected:
            connection.abort()
            raise
        return connection

    def _check_open(self) -> None:
        if self._closing:
            raise NotConnected("the client is closed")

    def _put_back(self, connection: Connection, *, keep: bool) -> None:
        if keep and connection.usable and not self._closing:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()

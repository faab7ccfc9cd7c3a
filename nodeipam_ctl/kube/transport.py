"""How do bytes reach the API server, over which connection? Plain asyncio, HTTP/1.1, kept connections, TLS; no JSON, no verbs.

Written by hand (docs/adr/0007): aiohttp costs every agent 10 MB, and repeats a PUT by itself when a kept connection was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.http1 import AnswerReader, Head, Malformed

_CONNECT_WITHIN_S = 10.0
_IDLE_S = 60.0
"""kube-apiserver closes a connection that was idle for 90 s; ours must be the first to let go."""
_BUFFERED_MOST_BYTES = 4 << 20


class NotConnected(Exception):
    """No connection could be made: the request was surely not sent."""


class Cut(Exception):
    """The connection ended, or made no sense, after the request was sent."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self.reused = False
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_piece = False
        self._buffered = 0
        self._failure: str | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and self._failure is None and not self._transport.is_closing()

    @property
    def answer_began(self) -> bool:
        """Whether a byte of the present answer has come."""
        return self._reader is not None and self._reader.began

    def send(self, request: bytes) -> None:
        """Sends a whole request; its answer is awaited with `head`, `body` or `piece`."""
        assert self._transport is not None
        self._reader = AnswerReader()
        self._wants_piece = False
        self._transport.write(request)

    async def head(self) -> Head:
        """Status and header fields, as soon as they are there."""
        self._wants_piece = True
        while True:
            reader = self._alive()
            if reader.head is not None:
                return reader.head
            await self._wait()

    async def answer(self) -> tuple[Head, bytes]:
        """The whole answer."""
        reader = self._alive()
        self._wants_piece = False
        while not reader.done:
            await self._wait()
            reader = self._alive()
        assert reader.head is not None
        pieces = reader.pieces
        return reader.head, pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def piece(self) -> bytes:
        """What has come of the body since the last call; empty at its end."""
        self._wants_piece = True
        while True:
            reader = self._reader
            assert reader is not None
            if reader.pieces:
                taken = reader.pieces[0] if len(reader.pieces) == 1 else b"".join(reader.pieces)
                reader.pieces.clear()
                self._buffered = 0
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.resume_reading()
                return taken
            if reader.done:
                return b""
            self._alive()
            await self._wait()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio: connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _watch_over(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """For asyncio: bytes came."""
        reader = self._reader
        if reader is None or reader.done:
            self._fail("bytes nobody asked for")
            return
        try:
            complete = reader.feed(data)
        except Malformed as exc:
            self._fail(str(exc))
            return
        if complete or self._wants_piece:
            self._wake()
        if self._wants_piece:
            self._buffered += len(data)
            if self._buffered > _BUFFERED_MOST_BYTES and self._transport is not None:
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio: the connection ended."""
        if self._reader is not None and not self._reader.done:
            try:
                self._reader.end()
            except Malformed as cut:
                self._failure = self._failure or _text(exc, str(cut))
        self._failure = self._failure or "the connection is closed"
        self._wake()
        if not self.closed.done():
            self.closed.set_result(None)

    def _alive(self) -> AnswerReader:
        assert self._reader is not None
        if self._failure is not None and not self._reader.done:
            raise Cut(self._failure)
        return self._reader

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self.abort()
        self._wake()


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

    async def exchange(self, request: bytes, *, timeout_s: float, repeatable: bool) -> tuple[Head, bytes]:
        """Sends a request and returns the whole answer.

        Args:
            request: head and body.
            timeout_s: for all of it, waiting for a free connection included.
            repeatable: sent again, once, when a kept connection turns out to have been closed; never for a write.

        Raises:
            NotConnected: it was surely not sent.
            Cut: it was sent, and no answer came, or not all of it.
        """
        sent = False
        try:
            async with asyncio.timeout(timeout_s), self._free:
                while True:
                    connection = await self._connection()
                    keep = False
                    try:
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
        if self._closing:
            raise NotConnected("the client is closed")
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
            raise NotConnected(_text(exc, f"no connection within {_CONNECT_WITHIN_S:g} s")) from exc
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    def _put_back(self, connection: Connection, *, keep: bool) -> None:
        if keep and connection.usable and not self._closing:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()


def _watch_over(sock: socket.socket | None) -> None:
    """A vanished peer is noticed by the kernel within about 25 s, also while nothing is sent."""
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000)


def _text(exc: Exception | None, otherwise: str) -> str:
    """The reason alone: `Connection refused`, `certificate verify failed: ...`, `Name or service not known`."""
    if exc is None:
        return otherwise
    verify = getattr(exc, "verify_message", "")
    if verify:
        return f"TLS: the server's certificate was refused: {verify}; check the certificate authority of the kubeconfig"
    reason = getattr(exc, "strerror", None) or getattr(exc, "reason", None) or str(exc)
    return " ".join(str(reason).split()) or otherwise

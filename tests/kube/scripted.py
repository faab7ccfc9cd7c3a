"""A server that answers exactly what a test says, byte for byte: what no proper server would ever do can be tried too."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[bool]]
"""Writes an answer; returns whether the connection is kept."""


def answer(
    body: bytes = b"{}", *, status: str = "200 OK", headers: tuple[str, ...] = (), keep: bool = True
) -> Handler:
    """A proper answer of a length."""

    async def send(_request: Request, writer: asyncio.StreamWriter) -> bool:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return keep

    return send


def refusal(code: int, reason: str, message: str, *headers: str) -> Handler:
    """A meta/v1 Status."""
    body = f'{{"kind":"Status","status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}'
    return answer(body.encode(), status=f"{code} {reason}", headers=headers)


async def cut(_request: Request, _writer: asyncio.StreamWriter) -> bool:
    """Takes the request and closes without a word."""
    return False


async def hang(_request: Request, writer: asyncio.StreamWriter) -> bool:
    """Takes the request and never answers."""
    await writer.wait_closed()
    return False


def raw(data: bytes) -> Handler:
    """Any bytes, and the end."""

    async def send(_request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        return False

    return send


def stream(*lines: bytes, then: Handler = hang) -> Handler:
    """A watch: a head, these pieces as chunks, and what comes then."""

    async def send(request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in lines:
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return await then(request, writer)

    return send


async def end(_request: Request, writer: asyncio.StreamWriter) -> bool:
    """The proper end of a stream."""
    writer.write(b"0\r\n\r\n")
    return True


class Scripted:
    """Answers by `handlers`, the last of which answers for ever; remembers what it was asked."""

    def __init__(self, *handlers: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handlers = list(handlers)
        self.requests: list[Request] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method=method, path=path, headers=headers, body=body)
        self.requests.append(request)
        self.asked.set()
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        return await handler(request, writer)

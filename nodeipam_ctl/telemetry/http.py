"""How do probes and Prometheus ask us? A very small HTTP/1.1 server for three paths.

aiohttp would cost an agent more than 10 MB for three GETs without bodies, and httptools would make this longer: of a request only the
first line matters. So it waits for a head (at most 8 kB within 10 s), answers, and closes. It can do nothing but read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self

import structlog

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.telemetry.readiness import Readiness

log = structlog.get_logger(__name__)

_HEAD_MOST_BYTES = 8192
_HEAD_WITHIN_S = 10.0
_CONNECTIONS_MOST = 64
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [HOST]:PORT or :PORT (every address); port 0 lets the kernel choose.

    Raises:
        UsageError: not of that form.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"metrics address {text!r} is not HOST:PORT; write it like 127.0.0.1:9411 or [::]:9411"
        )
    if ":" in host and not bracketed:
        raise UsageError(f"metrics address {text!r}: put the IPv6 address in brackets, like [::1]:9411")
    if not host and not bracketed:
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
    if not host:
        raise UsageError(f"metrics address {text!r} has no host; write it like [::]:9411")
    return host, int(port)


class TelemetryServer:
    """/metrics, /healthz and /readyz on one address: `async with TelemetryServer(...) as server`.

    Args:
        address: HOST:PORT to listen on.
        metrics: the exposition.
        readiness: what /readyz answers.
        stuck: why the program should be restarted, one line; empty while it works.

    Attributes:
        address: HOST:PORT it listens on, with the port the kernel chose.
    """

    def __init__(
        self,
        address: str,
        *,
        metrics: Callable[[], bytes],
        readiness: Readiness,
        stuck: Callable[[], str] = lambda: "",
    ) -> None:
        self._host, self._port = parse_address(address)
        self.address = address
        self._metrics = metrics
        self._readiness = readiness
        self._stuck = stuck
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        """Listens.

        Raises:
            UsageError: the address is in use or not ours, on one line.
        """
        loop = asyncio.get_running_loop()
        try:
            listening = _listening_socket(self._host, self._port)
        except OSError as exc:
            raise UsageError(
                f"metrics address {self.address}: cannot listen: {exc.strerror or exc}; "
                "choose another with --metrics-address HOST:PORT"
            ) from exc
        self._server = await loop.create_server(lambda: _Connection(self), sock=listening)
        host, port = listening.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("telemetry_served", address=self.address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self._open):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    def admitted(self, connection: _Connection) -> bool:
        """Whether one more connection may be open."""
        if len(self._open) >= _CONNECTIONS_MOST:
            return False
        self._open.add(connection)
        return True

    def gone(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)

    def answer(self, method: str, path: str) -> bytes:
        """The whole answer to one request."""
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n", head=False)
        match path.partition("?")[0]:
            case "/metrics":
                return _response(HTTPStatus.OK, self._metrics(), head=method == "HEAD", content_type=_METRICS)
            case "/healthz" | "/livez":
                if reason := self._stuck():
                    stuck = f"{reason}\n".encode()
                    return _response(HTTPStatus.INTERNAL_SERVER_ERROR, stuck, head=method == "HEAD")
                return _response(HTTPStatus.OK, b"ok\n", head=method == "HEAD")
            case "/readyz":
                ready, report = self._readiness.ready, self._readiness.report()
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                body = f"{report}{'ready' if ready else 'not ready'}\n"
                return _response(status, body.encode(), head=method == "HEAD")
            case _:
                return _response(
                    HTTPStatus.NOT_FOUND, b"see /metrics, /healthz, /readyz\n", head=method == "HEAD"
                )


class _Connection(asyncio.Protocol):
    """One connection, one request, one answer."""

    def __init__(self, server: TelemetryServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._deadline: asyncio.TimerHandle | None = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._server.admitted(self):
            transport.abort()
            return
        self._deadline = asyncio.get_running_loop().call_later(_HEAD_WITHIN_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._transport.write(self._answer(bytes(self._head)))
            self._transport.close()
        elif len(self._head) > _HEAD_MOST_BYTES:
            self._transport.write(
                _response(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    b"the request's head is too large\n",
                    head=False,
                )
            )
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._deadline is not None:
            self._deadline.cancel()
        self._server.gone(self)

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST, b"not an HTTP/1.1 request\n", head=False)
        return self._server.answer(words[0].decode("latin-1"), words[1].decode("latin-1"))


def _response(status: HTTPStatus, body: bytes, *, head: bool, content_type: str = _TEXT) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode("ascii") + (b"" if head else body)


def _listening_socket(host: str, port: int) -> socket.socket:
    """One listening socket on the first address of the host's name; `::` also takes IPv4."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(address)
        made.listen(64)
        made.setblocking(False)  # noqa: FBT003 - the standard library takes it so
    except OSError:
        made.close()
        raise
    return made

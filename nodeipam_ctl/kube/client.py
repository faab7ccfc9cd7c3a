"""How does one request reach the API server and come back as bytes or as one of our errors? Over aiohttp, and nothing else is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import aiohttp
import structlog
from yarl import URL

from nodeipam_ctl import __version__
from nodeipam_ctl.errors import NodeIPAMError, OutcomeUnknown, Permanent, Transient
from nodeipam_ctl.kube.answers import error_of
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.reachability import Reachability

log = structlog.get_logger(__name__)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SEEN_WARNINGS_MOST = 200
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


class Silence(Exception):
    """A watch brought nothing within its deadline."""


class Client:
    """One API server, as seen by one program: `async with Client(access) as client`.

    Every call raises errors of our tree only. For a read, whatever may pass is Transient. For a write, Transient means that
    it surely did not happen (no connection, 429); a cut connection, a timeout or a 5xx after sending is OutcomeUnknown.
    Nothing is tried again here: callers know what a second attempt means. (aiohttp itself repeats a PUT or DELETE once when
    a kept connection turns out to be closed: a PUT whose first copy did arrive is then a Conflict, so a Conflict always
    calls for a fresh read.)

    Args:
        access: where and who, from `auth.load`.
        component: the program's name in User-Agent, as audit logs and managedFields show it.
        connections: how many requests may be under way at once; watches are not counted.
        timeout_s: for a whole request, in seconds, unless the call says otherwise.

    Attributes:
        reachability: what the informers of this client know together about the server.
    """

    def __init__(
        self,
        access: Access,
        *,
        component: str = "nodeipam-ctl",
        connections: int = 64,
        timeout_s: float = 30.0,
    ) -> None:
        self._access = access
        self._timeouts = {timeout_s: _request_timeout(timeout_s)}
        self._timeout_s = timeout_s
        self._agent = f"{component}/{__version__}"
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._warned: set[str] = set()
        self._headers: dict[tuple[str, str], dict[str, str]] = {}
        self.reachability = Reachability(access.server)

    def __repr__(self) -> str:
        return f"Client({self._access.server!r})"

    @property
    def server(self) -> str:
        """The server's URL, for messages."""
        return self._access.server

    @property
    def namespace(self) -> str:
        """The namespace of our credentials."""
        return self._access.namespace

    async def __aenter__(self) -> Self:
        self._session = self._open(limit=self._connections)
        self._watches = self._open(limit=0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._session, self._watches):
            if session is not None:
                await session.close()
        self._session = self._watches = None

    async def get(self, path: str, *, timeout_s: float | None = None) -> bytes:
        """The object, or list, at a path (with its query, if any)."""
        return await self._request("GET", path, None, JSON, timeout_s)

    async def create(self, path: str, body: bytes, *, timeout_s: float | None = None) -> bytes:
        """POSTs an object to its collection; the answer is the object as stored.

        Raises:
            AlreadyExists: the name is taken.
        """
        return await self._request("POST", path, body, JSON, timeout_s)

    async def replace(self, path: str, body: bytes, *, timeout_s: float | None = None) -> bytes:
        """PUTs an object; with metadata.resourceVersion in it only if nobody changed it meanwhile.

        Raises:
            Conflict: somebody, or an earlier copy of this request, changed it.
        """
        return await self._request("PUT", path, body, JSON, timeout_s)

    async def patch(
        self, path: str, body: bytes, *, kind: str = MERGE_PATCH, timeout_s: float | None = None
    ) -> bytes:
        """PATCHes an object; `kind` is one of this module's patch content types."""
        return await self._request("PATCH", path, body, kind, timeout_s)

    async def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """DELETEs an object; with `uid` or `resource_version` only if it is still that one (else Conflict)."""
        conditions = [
            f'"{key}":"{value}"'
            for key, value in (("uid", uid), ("resourceVersion", resource_version))
            if value
        ]
        body = None
        if conditions:
            body = f'{{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{{{",".join(conditions)}}}}}'.encode()
        return await self._request("DELETE", path, body, JSON, timeout_s)

    @asynccontextmanager
    async def watch(
        self, path: str, *, silence_s: float, connect_timeout_s: float = 10.0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """An open watch: its lines, one JSON document each, until the server ends it.

        Args:
            path: with its query: watch=1, resourceVersion, timeoutSeconds.
            silence_s: how long the server may say nothing, bookmarks included, in seconds.
            connect_timeout_s: for the connection and the answer's head, in seconds.

        Raises:
            Transient: no connection, cut, or silent for too long.
            Expired: the server does not know that resourceVersion any more.
        """
        assert self._watches is not None, "use `async with client`"
        what = f"WATCH {path.partition('?')[0]}"
        try:
            async with asyncio.timeout(connect_timeout_s):
                response = await self._watches.request(
                    "GET",
                    self._url(path),
                    headers=await self._headers_for(JSON, has_body=False),
                    timeout=_NO_TIMEOUT,
                    allow_redirects=False,
                    server_hostname=self._access.server_hostname,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise self._unreachable(what, exc, is_write=False) from exc
        try:
            if response.status != 200:
                async with asyncio.timeout(connect_timeout_s):
                    content = await response.read()
                raise self._refused(what, response, content, is_write=False)
            self._surface_warnings(response)
            async with aclosing(_lines(response, silence_s)) as lines:
                yield lines
        except Silence as exc:
            raise Transient(f"{what}: silent for {silence_s:.0f} s") from exc
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise self._unreachable(what, exc, is_write=False) from exc
        finally:
            # Never reused: closing the connection is how we tell the server that we are gone.
            response.close()

    async def _request(
        self, method: str, path: str, body: bytes | None, content_type: str, timeout_s: float | None
    ) -> bytes:
        assert self._session is not None, "use `async with client`"
        is_write = method in _WRITES
        try:
            async with self._session.request(
                method,
                self._url(path),
                data=body,
                headers=await self._headers_for(content_type, has_body=body is not None),
                timeout=self._timeout(timeout_s),
                allow_redirects=False,
                server_hostname=self._access.server_hostname,
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise self._unreachable(f"{method} {path.partition('?')[0]}", exc, is_write=is_write) from exc
        if 200 <= response.status < 300:
            if "Warning" in response.headers:
                self._surface_warnings(response)
            return content
        raise self._refused(f"{method} {path.partition('?')[0]}", response, content, is_write=is_write)

    def _open(self, *, limit: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limit,
                ssl=self._access.ssl if self._access.ssl is not None else False,
                keepalive_timeout=60,
                socket_factory=_socket,
                force_close=False,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._agent, "Accept": JSON},
            skip_auto_headers=("Accept-Encoding",),
            auto_decompress=False,
            trust_env=False,
        )

    def _url(self, path: str) -> URL:
        return URL(self._access.server + path, encoded=True)

    def _timeout(self, timeout_s: float | None) -> aiohttp.ClientTimeout:
        seconds = self._timeout_s if timeout_s is None else timeout_s
        known = self._timeouts.get(seconds)
        if known is None:
            known = self._timeouts[seconds] = _request_timeout(seconds)
        return known

    async def _headers_for(self, content_type: str, *, has_body: bool) -> Mapping[str, str] | None:
        token = await self._access.token.token() if self._access.token is not None else ""
        key = (content_type if has_body else "", token)
        headers = self._headers.get(key)
        if headers is None:
            headers = {}
            if has_body:
                headers["Content-Type"] = content_type
            if token:
                headers["Authorization"] = f"Bearer {token}"
            if len(self._headers) > 8:  # an old token's headers
                self._headers.clear()
            self._headers[key] = headers
        return headers

    def _refused(
        self, what: str, response: aiohttp.ClientResponse, body: bytes, *, is_write: bool
    ) -> NodeIPAMError:
        self._surface_warnings(response)
        if response.status == 401 and self._access.token is not None:
            self._access.token.rejected()
        return error_of(
            what, response.status, body, retry_after=response.headers.get("Retry-After"), is_write=is_write
        )

    def _unreachable(self, what: str, exc: Exception, *, is_write: bool) -> NodeIPAMError:
        server = self._access.server
        if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return Transient(
                f"{what}: {server}: TLS failed: {_text(exc)}; check the kubeconfig's certificate authority"
            )
        not_sent = isinstance(
            exc, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL
        )
        if isinstance(exc, aiohttp.InvalidURL):
            return Permanent(f"{what}: {server}: not a URL")
        if is_write and not not_sent:
            return OutcomeUnknown(f"{what}: {server}: no answer: {_text(exc)}")
        return Transient(f"{what}: {server}: {_text(exc)}")

    def _surface_warnings(self, response: aiohttp.ClientResponse) -> None:
        """Logs each distinct Warning header once (RFC 7234, section 5.5; KEP-1693)."""
        for text in response.headers.getall("Warning", ()):
            if text not in self._warned and len(self._warned) < _SEEN_WARNINGS_MOST:
                self._warned.add(text)
                log.warning("api_server_warned", text=warning_text(text))


def query(path: str, parameters: Mapping[str, str | int | None]) -> str:
    """A path with its query, leaving out what is None."""
    given = {key: value for key, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def segment(name: str) -> str:
    """An object's name as one part of a path."""
    return quote(name, safe="")


def warning_text(header: str) -> str:
    """The text of a Warning header: `299 - "text"`."""
    _, _, rest = header.partition('"')
    return rest.rpartition('"')[0].replace('\\"', '"').replace("\\\\", "\\") or header


def _request_timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, 10.0))


def _socket(address: Iterable[object]) -> socket.socket:
    """A socket on which a vanished peer is noticed by the kernel within about 25 s, also while nothing is sent."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)  # type: ignore[arg-type]  # addrinfo of any family
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000)
    return made


async def _lines(response: aiohttp.ClientResponse, silence_s: float) -> AsyncGenerator[bytes, None]:
    """Lines of any length: aiohttp's own readline gives up beyond its buffer, and a Node may be larger."""
    rest: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(silence_s):
                chunk = await response.content.readany()
        except TimeoutError as exc:
            raise Silence from exc
        if not chunk:
            return  # a line without its end was cut: it comes again after the last resourceVersion
        head, newline, tail = chunk.partition(b"\n")
        if not newline:
            rest.append(chunk)
            continue
        if rest:
            rest.append(head)
            head = b"".join(rest)
            rest.clear()
        if head:
            yield head
        *lines, last = tail.split(b"\n")
        for line in lines:
            if line:
                yield line
        if last:
            rest.append(last)


def _text(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "timed out"
    return " ".join(str(exc).split()) or type(exc).__name__

"""How does one request reach the API server and come back as bytes or as one of our errors? Verbs, tokens, warnings, errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from copy import copy
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

import structlog

from nodeipam_ctl import __version__
from nodeipam_ctl.errors import Invalid, NodeIPAMError, OutcomeUnknown, Transient
from nodeipam_ctl.kube.answers import error_of
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.connection import Connection, Cut, Silent
from nodeipam_ctl.kube.http1 import Head
from nodeipam_ctl.kube.reachability import Reachability
from nodeipam_ctl.kube.transport import NotConnected, Pool
from nodeipam_ctl.prefixes import Address, parse_address

log = structlog.get_logger(__name__)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SEEN_WARNINGS_MOST = 200
_LINE_MOST_BYTES = 64 << 20
"""Of one watch event or one refusal; etcd takes objects of 1.5 MB."""


class SilentWatch(Transient):
    """A watch that is open brought nothing within its deadline."""


class Client:
    """One API server, as seen by one program: `async with Client(access) as client`.

    Every call raises errors of our tree only. For a read, whatever may pass is Transient. For a write, Transient means that
    it surely did not happen (no connection, 429); a cut connection, a timeout or a 5xx after sending is OutcomeUnknown.
    Nothing is tried again here, except a read on a kept connection that the server had closed: callers know what a second
    attempt means.

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
        parts = urlsplit(access.server)
        self.reachability = Reachability(access.server)
        self._access = access
        self._timeout_s = timeout_s
        self._connections = connections
        self._pool: Pool | None = None
        self._prefix = parts.path.rstrip("/")
        self._fixed = (
            f"Host: {parts.netloc}\r\nUser-Agent: {component}/{__version__}\r\nAccept: application/json\r\n"
        )
        self._warned: set[str] = set()
        self._may_write: Callable[[], bool] | None = None

    def __repr__(self) -> str:
        return f"Client({self._access.server!r})"

    @property
    def address(self) -> Address | None:
        """The API server's address; None when it is known by name."""
        host = urlsplit(self.server).hostname or ""
        try:
            return parse_address(host)
        except ValueError:
            return None

    @property
    def server(self) -> str:
        """The server's URL, for messages."""
        return self._access.server

    @property
    def namespace(self) -> str:
        """The namespace of our credentials."""
        return self._access.namespace

    async def __aenter__(self) -> Self:
        self._pool = Pool(self._access, limit=self._connections)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.close()
        self._pool = None

    def fenced(self, may_write: Callable[[], bool]) -> Client:
        """This client over the same connections, whose writes are not sent (Transient) while `may_write` says no.

        It is asked when a write's bytes would leave, not when the write begins: waiting for a connection takes time. A leader
        gives `elector.leading`.
        """
        fenced = copy(self)
        fenced._may_write = may_write  # noqa: SLF001 - another one of us
        return fenced

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
            Conflict: somebody changed it, or an earlier write of ours whose outcome was unknown.
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
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        given = {key: value for key, value in preconditions.items() if value}
        body = None
        if given:
            body = json.dumps({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": given}).encode()
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
            SilentWatch: nothing came for `silence_s`.
            Transient: no connection, or cut.
            Expired: the server does not know that resourceVersion any more.
        """
        assert self._pool is not None, "use `async with client`"
        what = f"WATCH {path.partition('?')[0]}"
        request = await self._request_bytes("GET", path, None, JSON)
        try:
            async with self._pool.stream(request, connect_timeout_s=connect_timeout_s) as (head, connection):
                if head.status != 200:
                    content = await _whole(connection, within_s=connect_timeout_s)
                    raise self._refused(what, head, content, is_write=False)
                self._surface_warnings(head)
                async with aclosing(_lines(connection, silence_s)) as lines:
                    yield lines
        except Silent as exc:
            raise SilentWatch(f"{what}: silent for {silence_s:g} s") from exc
        except (NotConnected, Cut) as exc:
            raise Transient(f"{what}: {self._access.server}: {exc}") from exc

    async def _request(
        self, method: str, path: str, body: bytes | None, content_type: str, timeout_s: float | None
    ) -> bytes:
        assert self._pool is not None, "use `async with client`"
        is_write = method in _WRITES
        request = await self._request_bytes(method, path, body, content_type)
        try:
            head, content = await self._pool.exchange(
                request,
                timeout_s=self._timeout_s if timeout_s is None else timeout_s,
                repeatable=not is_write,
                allowed=self._may_write if is_write else None,
            )
        except NotConnected as exc:
            raise Transient(f"{_what(method, path)}: {self._access.server}: {exc}") from exc
        except Cut as exc:
            text = f"{_what(method, path)}: {self._access.server}: {exc}"
            raise OutcomeUnknown(text) if is_write else Transient(text) from exc
        if 200 <= head.status < 300:
            if b"warning" in head.fields:
                self._surface_warnings(head)
            return content
        raise self._refused(_what(method, path), head, content, is_write=is_write)

    async def _request_bytes(self, method: str, path: str, body: bytes | None, content_type: str) -> bytes:
        if not (path.isascii() and path.isprintable()) or " " in path:
            raise Invalid(f"{method} {path!r}: not a path; names in it must go through `segment`")
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._fixed}"
        if self._access.token is not None:
            head += f"Authorization: Bearer {await self._access.token.token()}\r\n"
        if body is None:
            return f"{head}\r\n".encode("ascii")
        return (
            f"{head}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii")
            + body
        )

    def _refused(self, what: str, head: Head, body: bytes, *, is_write: bool) -> NodeIPAMError:
        self._surface_warnings(head)
        if head.status == 401 and self._access.token is not None:
            self._access.token.rejected()
        return error_of(what, head.status, body, retry_after=head.get(b"retry-after"), is_write=is_write)

    def _surface_warnings(self, head: Head) -> None:
        """Logs each distinct Warning header once (RFC 7234, section 5.5; KEP-1693)."""
        for text in head.every(b"warning"):
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


def _what(method: str, path: str) -> str:
    return f"{method} {path.partition('?')[0]}"


async def _whole(connection: Connection, *, within_s: float) -> bytes:
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(within_s):
            while piece := await connection.piece():
                _keep(pieces, piece)
    except TimeoutError as exc:
        raise Cut(f"half an answer within {within_s:g} s") from exc
    return b"".join(pieces)


async def _lines(connection: Connection, silence_s: float) -> AsyncGenerator[bytes, None]:
    """Lines of any length: a Node can be larger than what line readers take."""
    rest: list[bytes] = []
    connection.allow_silence(silence_s)
    # An empty piece is the end. A line without its end was cut: it comes again after the last resourceVersion.
    while chunk := await connection.piece():
        head, newline, tail = chunk.partition(b"\n")
        if not newline:
            _keep(rest, chunk)
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


def _keep(pieces: list[bytes], piece: bytes) -> None:
    pieces.append(piece)
    if sum(map(len, pieces)) > _LINE_MOST_BYTES:
        raise Cut(f"a line of more than {_LINE_MOST_BYTES >> 20} MiB")

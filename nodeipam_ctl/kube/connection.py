"""What happens on one connection to the API server? A request goes out, its answer or its stream comes in; no pool, no verbs.

asyncio's protocol without its streams: an answer is handed over whole, and a busy stream is read in batches (docs/adr/0007).
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from nodeipam_ctl.kube.http1 import AnswerReader, Head, Malformed

_BUFFERED_MOST_BYTES = 4 << 20
_ANSWER_MOST_BYTES = 256 << 20
"""Of a whole answer: the longest is a page of a list, and an object has at most 1.5 MB."""
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""What OpenSSL, by its version, calls an answer that is no TLS at all."""
_GATHER_S = 0.01
_GATHER_MOST_BYTES = 64 * 1024


class Cut(Exception):
    """The connection ended, or made no sense, after the request was sent."""


class Silent(Exception):
    """A stream is open and brought nothing for longer than was allowed."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self.reused = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_piece = False
        self._buffered = 0
        self._paused = False
        self._failure: str | None = None
        self._quiet_since_s = 0.0
        self._silence_s: float | None = None
        self._silent = False
        self._silence_timer: asyncio.TimerHandle | None = None
        self._gather_timer: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

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
        self._buffered = 0
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

    def allow_silence(self, silence_s: float) -> None:
        """From now on `piece` does not wait for longer than so many seconds."""
        self._silence_s = silence_s
        self._quiet_since_s = self._loop.time()
        self._look_at_silence()

    async def piece(self) -> bytes:
        """What has come of the body since the last call; empty at its end.

        Raises:
            Silent: nothing came for as long as `allow_silence` said.
        """
        self._wants_piece = True
        while True:
            reader = self._reader
            assert reader is not None
            if reader.pieces:
                taken = reader.pieces[0] if len(reader.pieces) == 1 else b"".join(reader.pieces)
                reader.pieces.clear()
                self._buffered = 0
                if self._paused and self._transport is not None and not self._transport.is_closing():
                    self._paused = False
                    self._transport.resume_reading()
                return taken
            if reader.done:
                return b""
            self._alive()
            if self._silent:
                raise Silent
            self._quiet_since_s = self._loop.time()
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
        self._buffered += len(data)
        if self._wants_piece:
            self._wake()
            self._after_piece()
        elif complete:
            self._wake()
        elif self._buffered > _ANSWER_MOST_BYTES:
            self._fail(f"the answer is longer than {_ANSWER_MOST_BYTES >> 20} MiB")

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio: the connection ended."""
        for timer in (self._silence_timer, self._gather_timer):
            if timer is not None:
                timer.cancel()
        if exc is not None:
            self._failure = self._failure or reason_of(exc, "the connection broke")
        if self._reader is not None and not self._reader.done:
            try:
                self._reader.end(clean=self._failure is None)
            except Malformed as cut:
                self._failure = self._failure or str(cut)
        self._failure = self._failure or "the connection is closed"
        self._wake()
        if not self.closed.done():
            self.closed.set_result(None)

    def _after_piece(self) -> None:
        """Holds the flow of a stream: no more than a consumer takes, and from a busy one not every packet by itself.

        To be woken for one packet costs more CPU than to read the event in it. So when a stream has just brought something,
        the kernel keeps what follows for 10 ms, unless it is much, or the end. A quiet stream's event comes at once.
        """
        assert self._transport is not None
        if self._buffered > _BUFFERED_MOST_BYTES:
            self._paused = True
            self._transport.pause_reading()
        now_s = self._loop.time()
        busy = now_s - self._quiet_since_s < 2 * _GATHER_S
        self._quiet_since_s = now_s
        if busy and self._gather_timer is None and self._wake_at(_GATHER_MOST_BYTES):
            self._gather_timer = self._loop.call_later(_GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gather_timer = None
        self._wake_at(1)

    def _wake_at(self, count_bytes: int) -> bool:
        """Has the kernel call the socket readable from so many bytes on (SO_RCVLOWAT, socket(7)); it works under TLS as well."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._transport.is_closing():
            return False
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count_bytes)
        except OSError:
            return False
        return True

    def _look_at_silence(self) -> None:
        """One timer for a stream's whole life: to set one for each event would cost more than to read the event."""
        assert self._silence_s is not None
        quiet_s = self._loop.time() - self._quiet_since_s
        if self._waiter is not None and quiet_s >= self._silence_s:
            self._silent = True
            self._wake()
            return
        left_s = self._silence_s - quiet_s if self._waiter is not None else self._silence_s
        self._silence_timer = self._loop.call_later(left_s, self._look_at_silence)

    def _alive(self) -> AnswerReader:
        assert self._reader is not None
        if self._failure is not None and not self._reader.done:
            raise Cut(self._failure)
        return self._reader

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
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


def _watch_over(sock: socket.socket | None) -> None:
    """A peer that vanished without a word is noticed by the kernel within about 14 s, also while nothing is sent.

    After 8 s without a word from it the kernel asks every 2 s whether it is there: one small packet in 8 s on an idle connection.
    The timeout is what counts then, not the number of questions (tcp(7)); it is just short of the third, which ends the connection.
    It cannot be wrong about a server that is slow or stopped: its kernel answers. A proxy between us answers for itself as well,
    and only the silence of a stream tells that there is nobody behind it.
    """
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 8)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 13_500)


def reason_of(exc: Exception | None, otherwise: str) -> str:
    """The reason alone: `Connection refused`, `certificate verify failed: ...`, `Name or service not known`."""
    if exc is None:
        return otherwise
    verify = getattr(exc, "verify_message", "")
    if verify:
        return f"TLS: the server's certificate was refused: {verify}; check the certificate authority of the kubeconfig"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        if exc.reason in _NO_TLS:
            return "TLS: the server answers without TLS; write http:// instead of https:// in the kubeconfig, or check the port"
        return f"TLS: {exc.reason.lower().replace('_', ' ')}"
    reason = getattr(exc, "strerror", None) or getattr(exc, "reason", None) or str(exc)
    return " ".join(str(reason).split()) or otherwise

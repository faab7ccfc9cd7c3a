"""How do messages travel to the kernel and back? Sockets, headers, attributes, acknowledgements, dumps and events of netlink.

What the messages say is in `rtnl.py`. pyroute2 does all of this too, at ten megabytes and a tenth of the speed, and cannot
express tunnel encapsulation of routes (docs/adr/0015).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from nodeipam_ctl.errors import NodeIPAMError, Permanent, Transient

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_ACK_TLVS = 0x200
NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

NETFILTER = 12
"""The protocol of nftables and ipsets; `socket` has no name for it."""

NLMSG_ERROR = 2
NLMSG_DONE = 3

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33
_ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERRNO = struct.Struct("=i")
_RECEIVE_BYTES = 1 << 18
_EVENT_BUFFER_BYTES = 16 << 20
_BATCH_MESSAGES = 256
_DUMP_TRIES = 10
_TIMEOUT_S = 10.0

_TRANSIENT = {errno.EAGAIN, errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EINTR}


class KernelError(Permanent):
    """The kernel refused a request; `code` is its errno."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class KernelBusy(Transient):
    """The kernel could not do it now (EBUSY, ENOBUFS, ENOMEM); `code` is its errno."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Request(NamedTuple):
    """One message to the kernel, without its header."""

    type: int
    flags: int
    body: bytes


class Message(NamedTuple):
    """One message from the kernel; `port` is the socket that caused it (0: the kernel itself)."""

    type: int
    flags: int
    port: int
    body: memoryview


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: memoryview) -> dict[int, memoryview]:
    """The attributes in a message's tail, by type; a repeated one keeps its last value."""
    found: dict[int, memoryview] = {}
    place, end = 0, len(data)
    while place + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < 4:
            break
        found[kind & _NLA_TYPE_MASK] = data[place + 4 : place + length]
        place += (length + 3) & ~3
    return found


class Socket:
    """A netlink socket for requests and dumps; one thread at a time."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = _open(protocol)
        self._socket.settimeout(_TIMEOUT_S)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0
        self.port: int = self._socket.getsockname()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()

    @property
    def sent(self) -> int:
        """How many messages have been sent: changes and requests for dumps."""
        return self._sequence

    def request(self, message: Request) -> None:
        """Sends one message and waits for the kernel's answer.

        Raises:
            KernelError: the kernel refused.
            KernelBusy: it could not do it now.
        """
        (error,) = self.batch([message])
        if error is not None:
            raise error

    def batch(self, messages: Sequence[Request]) -> list[NodeIPAMError | None]:
        """Sends many messages in few system calls; one result for each, None where the kernel agreed.

        A failing message does not stop those behind it.
        """
        results: list[NodeIPAMError | None] = [None] * len(messages)
        for start in range(0, len(messages), _BATCH_MESSAGES):
            chunk = messages[start : start + _BATCH_MESSAGES]
            first = self._sequence + 1
            last = self._sequence = self._sequence + len(chunk)
            # Errors are always reported; only the last message needs an acknowledgement for us to know that all are done.
            self._socket.send(
                b"".join(
                    _packed(m, NLM_F_REQUEST | (NLM_F_ACK if first + i == last else 0), first + i)
                    for i, m in enumerate(chunk)
                )
            )
            done = False
            while not done:
                for sequence, kind, flags, body in self._receive():
                    if kind == NLMSG_ERROR and first <= sequence <= last:
                        results[start + sequence - first] = _error(body, flags)
                        done = done or sequence == last
        return results

    def dump(self, kind: int, body: bytes) -> Iterator[Message]:
        """Every object of a kind; asked again when the kernel says that its tables changed meanwhile (NLM_F_DUMP_INTR).

        Raises:
            KernelError: the kernel refused, or its tables never stood still.
        """
        for _ in range(_DUMP_TRIES):
            found, interrupted = self._dump_once(kind, body)
            if not interrupted:
                yield from found
                return
        raise KernelBusy(errno.EINTR, "the kernel's tables changed during every dump; trying again later")

    def _dump_once(self, kind: int, body: bytes) -> tuple[list[Message], bool]:
        self._sequence += 1
        self._socket.send(
            _HEADER.pack(len(body) + 16, kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + body
        )
        found: list[Message] = []
        interrupted = False
        while True:
            for sequence, got, flags, payload in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if got == NLMSG_DONE:
                    return found, interrupted
                if got == NLMSG_ERROR:
                    error = _error(payload, flags)
                    if error is not None:
                        raise error
                found.append(Message(got, flags, 0, payload))

    def _receive(self) -> Iterator[tuple[int, int, int, memoryview]]:
        for message, sequence in _messages(self._socket.recv(_RECEIVE_BYTES)):
            yield sequence, message.type, message.flags, message.body


class Monitor:
    """A socket that hears what changes in the kernel; never blocks."""

    def __init__(self, groups: Sequence[int], protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = _open(protocol)
        self._socket.settimeout(0)
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()

    def read(self) -> tuple[list[Message], bool]:
        """What has arrived, and whether something was lost since (ENOBUFS): then only a new dump tells the truth."""
        heard: list[Message] = []
        lost = False
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return heard, lost
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            heard += (message for message, _ in _messages(data))


def _open(protocol: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER_BYTES)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_BYTES)
    opened.bind((0, 0))
    return opened


def _packed(message: Request, flags: int, sequence: int) -> bytes:
    return (
        _HEADER.pack(len(message.body) + 16, message.type, message.flags | flags, sequence, 0) + message.body
    )


def _messages(data: bytes) -> Iterator[tuple[Message, int]]:
    view = memoryview(data)
    place, end = 0, len(data)
    while place + 16 <= end:
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, place)
        if length < 16:
            break
        yield Message(kind, flags, port, view[place + 16 : place + length]), sequence
        place += (length + 3) & ~3


def _error(body: memoryview, flags: int) -> NodeIPAMError | None:
    (code,) = _ERRNO.unpack_from(body)
    if code == 0:
        return None
    text = os.strerror(-code)
    if flags & NLM_F_ACK_TLVS:
        # With NETLINK_CAP_ACK the answer quotes only the header of our message (16 bytes) before its own attributes.
        said = attributes(body[20:]).get(_ERROR_TEXT)
        if said is not None:
            text = f"{text}: {bytes(said).rstrip(bytes(1)).decode(errors='replace')}"
    return KernelBusy(-code, text) if -code in _TRANSIENT else KernelError(-code, text)

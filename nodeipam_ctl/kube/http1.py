"""What does this HTTP/1.1 answer say? PURE: bytes are fed in, a head and the pieces of a body come out; no I/O at all.

Only what an API server's answers need (RFC 9112): a length, chunks, or until the connection ends. Anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

_HEAD_MOST_BYTES = 256 * 1024
_LINE_MOST_BYTES = 16 * 1024


class Malformed(Exception):
    """The other side does not speak HTTP/1.1, or the answer was cut short; the connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and header fields of an answer; names in lower case, several of one name on lines of their own."""

    status: int
    fields: dict[bytes, bytes]
    keeps_connection: bool

    def get(self, name: bytes) -> str | None:
        """The last field of a name, as text."""
        value = self.fields.get(name)
        return None if value is None else value.rpartition(b"\n")[2].decode("latin-1")

    def every(self, name: bytes) -> list[str]:
        """All fields of a name, as text."""
        value = self.fields.get(name)
        return [] if value is None else value.decode("latin-1").split("\n")


class _State(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    UNTIL_CLOSE = auto()
    DONE = auto()


class AnswerReader:
    """Reads one answer.

    Attributes:
        head: None until it is complete.
        pieces: of the body so far; callers may take them out.
        done: the body is complete.
        began: at least one byte has come.
    """

    __slots__ = ("_buffer", "_left", "_state", "began", "head", "pieces")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.began = False
        self._state = _State.HEAD
        self._buffer = b""
        self._left = 0

    @property
    def done(self) -> bool:
        """Whether the body is complete."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> bool:
        """Takes bytes as they come, cut anywhere; whether the answer is complete with them.

        Raises:
            Malformed: the answer makes no sense.
        """
        self.began = True
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data:
            match self._state:
                case _State.LENGTH | _State.CHUNK:
                    data = self._body(data)
                case _State.UNTIL_CLOSE:
                    self.pieces.append(data)
                    return False
                case _State.DONE:
                    raise Malformed("more bytes than one answer")
                case _State.HEAD:
                    end = data.find(b"\r\n\r\n")
                    if end < 0:
                        self._keep(data, _HEAD_MOST_BYTES)
                        return False
                    self._take_head(data[:end])
                    data = data[end + 4 :]
                case _:
                    end = data.find(b"\r\n")
                    if end < 0:
                        self._keep(data, _LINE_MOST_BYTES)
                        return False
                    self._line(data[:end])
                    data = data[end + 2 :]
        return self._state is _State.DONE

    def end(self) -> None:
        """The connection ended.

        Raises:
            Malformed: in the middle of an answer.
        """
        if self._state is _State.UNTIL_CLOSE:
            self._state = _State.DONE
        elif self._state is not _State.DONE:
            raise Malformed("the connection ended before the answer did")

    def _keep(self, data: bytes, most: int) -> None:
        if len(data) > most:
            raise Malformed("a header or chunk line is too long")
        self._buffer = data

    def _body(self, data: bytes) -> bytes:
        piece = data[: self._left]
        self.pieces.append(piece)
        self._left -= len(piece)
        if self._left == 0:
            self._state = _State.DONE if self._state is _State.LENGTH else _State.CHUNK_END
        return data[len(piece) :]

    def _line(self, line: bytes) -> None:
        """A line of the chunked coding: a size, the end of a chunk's data, or a trailer."""
        match self._state:
            case _State.CHUNK_SIZE:
                size = line.partition(b";")[0].strip()
                if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
                    raise Malformed("a chunk has no size")
                self._left = int(size, 16)
                self._state = _State.CHUNK if self._left else _State.TRAILER
            case _State.CHUNK_END:
                if line:
                    raise Malformed("a chunk is longer than its size")
                self._state = _State.CHUNK_SIZE
            case _:
                if not line:
                    self._state = _State.DONE

    def _take_head(self, block: bytes) -> None:
        first, *lines = block.split(b"\r\n")
        words = first.split(b" ", 2)
        if (
            len(words) < 2
            or words[0] not in {b"HTTP/1.1", b"HTTP/1.0"}
            or len(words[1]) != 3
            or not words[1].isdigit()
        ):
            raise Malformed("the answer does not begin like HTTP/1.1")
        status = int(words[1])
        fields: dict[bytes, bytes] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or name[:1] in b" \t" or name[-1:] in b" \t":
                raise Malformed("a header line has no name")
            key = name.lower()
            present = fields.get(key)
            fields[key] = value.strip() if present is None else present + b"\n" + value.strip()
        if 100 <= status < 200:
            return  # an interim answer: the real one follows
        coding = fields.get(b"transfer-encoding", b"").lower()
        length = fields.get(b"content-length")
        if status in {204, 304}:
            self._state = _State.DONE
        elif coding == b"chunked":
            self._state = _State.CHUNK_SIZE
        elif coding:
            raise Malformed(f"transfer coding {coding.decode('latin-1')!r} is not known")
        elif length is not None:
            sizes = set(length.replace(b",", b"\n").split(b"\n"))
            size = sizes.pop().strip()
            if sizes or not size.isdigit() or len(size) > 15:
                raise Malformed("the answer's length makes no sense")
            self._left = int(size)
            self._state = _State.LENGTH if self._left else _State.DONE
        else:
            self._state = _State.UNTIL_CLOSE
        if fields.get(b"content-encoding", b"identity") != b"identity":
            raise Malformed("the answer is compressed, which nobody asked for")
        options = fields.get(b"connection", b"").lower()
        keeps = (
            b"close" not in options
            and self._state is not _State.UNTIL_CLOSE
            and (words[0] == b"HTTP/1.1" or b"keep-alive" in options)
        )
        self.head = Head(status, fields, keeps)

"""What does this HTTP/1.1 answer say? PURE: bytes are fed in, a head and the pieces of a body come out; no I/O at all.

httptools (llhttp, the parser of Node.js) reads; here stands what an answer of an API server may be (RFC 9112): a length, chunks,
or until the connection ends, in one coding, and heads of a bounded size. Anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import httptools

_OVERHEAD_MOST_BYTES = 256 * 1024


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


class AnswerReader:
    """Reads one answer to a request that has a body in its answer: to any but HEAD.

    Attributes:
        head: None until it is complete.
        pieces: of the body so far; callers may take them out.
        done: the body is complete.
        began: at least one byte has come.
    """

    __slots__ = (
        "_ends_with_connection",
        "_fields",
        "_overhead",
        "_parser",
        "began",
        "done",
        "head",
        "pieces",
    )

    def __init__(self) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.done = False
        self.began = False
        self._fields: dict[bytes, bytes] = {}
        self._ends_with_connection = False
        self._overhead = 0
        # The parser holds our methods: it is let go as soon as it is of no use, so that no cycle waits for the collector.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Takes bytes as they come, cut anywhere; whether the answer is complete with them.

        Raises:
            Malformed: the answer makes no sense.
        """
        if self._parser is None:
            raise Malformed("more bytes than one answer")
        self.began = True
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._parser = None
            raise Malformed("the answer speaks another protocol, which nobody asked for") from exc
        except httptools.HttpParserError as exc:
            self._parser = None
            if isinstance(exc.__context__, Malformed):  # ours, from a callback
                raise exc.__context__ from None
            raise Malformed(f"the answer is not HTTP/1.1: {exc}") from exc
        if self.done:
            self._parser = None
        elif self._overhead > _OVERHEAD_MOST_BYTES:
            self._parser = None
            raise Malformed("a head, a chunk's size or a trailer is too long")
        return self.done

    def end(self, *, clean: bool = True) -> None:
        """The connection ended; not `clean` when it broke, which is never the end of an answer.

        Raises:
            Malformed: in the middle of an answer.
        """
        self._parser = None
        if self._ends_with_connection and clean:
            self.done = True
        elif not self.done:
            raise Malformed("the connection ended before the answer did")

    def on_message_begin(self) -> None:
        """For httptools: the first byte of an answer."""
        if self.done:
            raise Malformed("more bytes than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """For httptools: one field of the head, or of a trailer."""
        if self.head is None:
            key = name.lower()
            present = self._fields.get(key)
            self._fields[key] = value if present is None else present + b"\n" + value

    def on_headers_complete(self) -> None:
        """For httptools: the head is complete."""
        parser, fields = self._parser, self._fields
        assert parser is not None
        status = parser.get_status_code()
        if 100 <= status < 200:
            fields.clear()  # an interim answer: the real one follows
            return
        if parser.get_http_version() not in {"1.1", "1.0"}:
            raise Malformed("the answer is not HTTP/1.1")
        coding = fields.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise Malformed(f"transfer coding {coding.decode('latin-1')!r} is not known")
        if fields.get(b"content-encoding", b"identity") != b"identity":
            raise Malformed("the answer is compressed, which nobody asked for")
        self._ends_with_connection = (
            coding is None and b"content-length" not in fields and status not in {204, 304}
        )
        self.head = Head(status, fields, parser.should_keep_alive())

    def on_body(self, piece: bytes) -> None:
        """For httptools: some of the body."""
        self.pieces.append(piece)
        self._overhead = 0

    def on_message_complete(self) -> None:
        """For httptools: the end of an answer, perhaps of an interim one."""
        self.done = self.head is not None

"""Does the answer reader understand every legal framing, however the bytes are cut, and refuse the others?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.kube.http1 import AnswerReader, Malformed

BODY = b'{"kind":"Node"}\n' * 5


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\nTrailer: x\r\n\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 7),
    "until the connection ends": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    % (len(BODY), BODY),
    "without a reason phrase": b"HTTP/1.1 200\r\ncontent-length:%d\r\n\r\n%s" % (len(BODY), BODY),
}


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(1, 60), max_size=40))
def test_reads_an_answer_however_its_bytes_are_cut(name: str, cuts: list[int]) -> None:
    reader = AnswerReader()
    answer = ANSWERS[name]
    position = 0
    complete = False
    for cut in [*cuts, len(answer)]:
        piece = answer[position : position + cut]
        position += cut
        if piece:
            complete = reader.feed(piece)
    if name == "until the connection ends":
        assert not complete
        reader.end()
    assert reader.done
    assert reader.head is not None
    assert reader.head.status == 200
    assert b"".join(reader.pieces) == BODY


@given(st.sampled_from(["length", "chunks"]), st.integers(0, 400))
def test_an_answer_cut_short_is_never_complete(name: str, kept: int) -> None:
    answer = ANSWERS[name]
    reader = AnswerReader()
    if kept:
        reader.feed(answer[: min(kept, len(answer) - 1)])
    with pytest.raises(Malformed):
        reader.end()


def test_a_connection_that_broke_is_never_the_end_of_an_answer() -> None:
    reader = AnswerReader()
    reader.feed(ANSWERS["until the connection ends"])
    with pytest.raises(Malformed):
        reader.end(clean=False)


@pytest.mark.parametrize("data", [b"H", b"\r\n", b"x"])
def test_bytes_after_a_complete_answer_are_refused(data: bytes) -> None:
    reader = AnswerReader()
    assert reader.feed(ANSWERS["length"])
    with pytest.raises(Malformed):
        reader.feed(data)


@given(st.binary(max_size=300))
def test_hostile_bytes_end_in_malformed_or_nothing_else(data: bytes) -> None:
    reader = AnswerReader()
    try:
        reader.feed(b"HTTP/1.1 200 OK\r\n" + data)
        reader.end()
    except Malformed:
        return
    assert reader.done


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/2 200 OK\r\n\r\n", id="HTTP/2 text"),
        pytest.param(b"HTTP/1.1 2x0 OK\r\n\r\n", id="a status that is no number"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", id="two lengths"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", id="a negative length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="an unknown transfer coding"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", id="a compressed body nobody asked for"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            id="a chunk size that is no number",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            id="a chunk longer than its size",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", id="more than one answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", id="a folded header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, id="a head without end"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000, id="interim answers without end"),
        pytest.param(CHUNKED + b"1;x=" + b"a" * 300_000, id="a chunk's size without end"),
        pytest.param(CHUNKED + b"0\r\nX: " + b"a" * 300_000, id="a trailer without end"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a length and chunks, by which answers are smuggled",
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI",
            id="another protocol from here on",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n",
            id="an answer after the answer",
        ),
    ],
)
def test_refuses(answer: bytes) -> None:
    with pytest.raises(Malformed):
        AnswerReader().feed(answer)


@pytest.mark.parametrize(
    ("fields", "keeps"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0", True, id="HTTP/1.1 keeps by default"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", False, id="unless it says close"
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0", False, id="HTTP/1.0 does not"),
        pytest.param(b"HTTP/1.1 204 No Content", True, id="an answer without body"),
        pytest.param(b"HTTP/1.1 200 OK", False, id="a body that ends with the connection"),
    ],
)
def test_whether_the_connection_is_kept(fields: bytes, *, keeps: bool) -> None:
    reader = AnswerReader()
    reader.feed(fields + b"\r\n\r\n")
    assert reader.head is not None
    assert reader.head.keeps_connection is keeps


def test_header_fields_of_one_name_stay_apart() -> None:
    reader = AnswerReader()
    reader.feed(
        b'HTTP/1.1 200 OK\r\nWarning: 299 - "a, b"\r\nwarning: 299 - "c"\r\nContent-Length: 0\r\n\r\n'
    )
    assert reader.head is not None
    assert reader.head.every(b"warning") == ['299 - "a, b"', '299 - "c"']
    assert reader.head.get(b"content-length") == "0"
    assert reader.head.get(b"retry-after") is None


def test_neither_an_interim_answer_nor_a_trailer_adds_to_the_head() -> None:
    reader = AnswerReader()
    reader.feed(
        b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n" + CHUNKED + b"0\r\nRetry-After: 8\r\n\r\n"
    )
    assert reader.done
    assert reader.head is not None
    assert reader.head.fields == {b"transfer-encoding": b"chunked"}

"""Is a connection used as it should be: nothing taken for an answer that is none, a busy stream read in batches, silence noticed?"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nodeipam_ctl.kube import connection as connection_file
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.connection import Connection, Cut, Silent
from nodeipam_ctl.kube.http1 import AnswerReader
from nodeipam_ctl.kube.transport import NotConnected, Pool
from tests.kube.scripted import Request, Scripted, answer, stream

REQUEST = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def streaming() -> AsyncIterator[tuple[Connection, asyncio.StreamWriter]]:
    """A stream that is open, and the server's end of it."""
    writers: list[asyncio.StreamWriter] = []

    async def keep(_request: Request, writer: asyncio.StreamWriter) -> bool:
        writers.append(writer)
        await writer.wait_closed()
        return False

    async with Scripted(stream(then=keep)) as server:
        pool = Pool(Access(server=server.url), limit=4)
        async with pool.stream(REQUEST, connect_timeout_s=20) as (_, connection):
            while not writers:  # noqa: ASYNC110 - the server's task has yet to run
                await asyncio.sleep(0.001)
            yield connection, writers[0]
        await pool.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def wakes_at(connection: Connection) -> int:
    assert connection._transport is not None
    sock: socket.socket = connection._transport.get_extra_info("socket")
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


async def test_what_a_busy_stream_brings_is_held_for_a_moment_and_never_longer() -> None:
    async with asyncio.timeout(30), streaming() as (connection, writer):
        held = 0
        for number in range(20):
            writer.write(chunk(b"line %d\n" % number))
            assert await connection.piece() == b"line %d\n" % number
            held += wakes_at(connection) > 1
        assert held
        while wakes_at(connection) > 1:  # noqa: ASYNC110 - the kernel is asked
            await asyncio.sleep(0.001)


async def test_much_data_and_the_end_are_not_held() -> None:
    async with asyncio.timeout(30), streaming() as (connection, writer):
        expected = b"y" * 3_000_000
        writer.write(chunk(expected) + b"0\r\n\r\n")
        writer.close()
        assert b"".join([piece async for piece in pieces(connection)]) == expected


async def test_a_stream_that_brings_nothing_is_silent() -> None:
    async with asyncio.timeout(30), streaming() as (connection, writer):
        connection.allow_silence(0.05)
        writer.write(chunk(b"{}\n"))
        assert await connection.piece() == b"{}\n"
        with pytest.raises(Silent):
            await connection.piece()


async def test_a_slow_reader_is_no_silence() -> None:
    async with asyncio.timeout(30), streaming() as (connection, writer):
        connection.allow_silence(0.05)
        await asyncio.sleep(0.15)  # longer than the silence allowed, but nobody was waiting
        waiting = asyncio.create_task(connection.piece())
        await asyncio.sleep(0)
        writer.write(chunk(b"{}\n"))
        assert await waiting == b"{}\n"


async def test_an_answer_without_length_is_not_complete_when_its_connection_breaks() -> None:
    async def reset(_request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    async with Scripted(reset) as server:
        pool = Pool(Access(server=server.url), limit=1)
        with pytest.raises(Cut):
            await pool.exchange(REQUEST, timeout_s=20, repeatable=True)
        await pool.close()


async def test_an_answer_longer_than_any_object_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_file, "_ANSWER_MOST_BYTES", 1 << 20)
    async with Scripted(answer(b"y" * (3 << 20))) as server:
        pool = Pool(Access(server=server.url), limit=1)
        with pytest.raises(Cut, match="longer than 1 MiB"):
            await pool.exchange(REQUEST, timeout_s=20, repeatable=True)
        await pool.close()


async def test_a_write_that_is_not_allowed_any_more_is_not_sent() -> None:
    async with Scripted(answer()) as server:
        pool = Pool(Access(server=server.url), limit=1)
        with pytest.raises(NotConnected):
            await pool.exchange(REQUEST, timeout_s=20, repeatable=False, allowed=lambda: False)
        assert not server.requests
        await pool.exchange(REQUEST, timeout_s=20, repeatable=False, allowed=lambda: True)
        assert len(server.requests) == 1
        await pool.close()


async def test_a_connection_made_while_the_pool_closes_is_closed_as_well() -> None:
    async with Scripted(answer()) as server:
        pool = Pool(Access(server=server.url), limit=1)
        late = asyncio.create_task(pool.exchange(REQUEST, timeout_s=20, repeatable=True))
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises((NotConnected, Cut)):
            await late
        assert not server.requests


async def test_answers_leave_nothing_to_the_garbage_collector() -> None:
    async with Scripted(answer()) as server:
        pool = Pool(Access(server=server.url), limit=1)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await pool.exchange(REQUEST, timeout_s=20, repeatable=True)
            assert sum(isinstance(found, AnswerReader) for found in gc.get_objects()) <= 1
        finally:
            gc.enable()
        await pool.close()


async def pieces(connection: Connection) -> AsyncIterator[bytes]:
    while piece := await connection.piece():
        yield piece

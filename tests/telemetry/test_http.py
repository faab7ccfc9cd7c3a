"""Do probes and Prometheus get their answers, and strangers nothing else?"""

from __future__ import annotations

import asyncio
import socket

import pytest

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.telemetry.http import TelemetryServer, parse_address
from nodeipam_ctl.telemetry.metrics import Metrics
from nodeipam_ctl.telemetry.readiness import Readiness


async def ask(address: str, request: bytes) -> bytes:
    host, port = parse_address(address)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def get(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    answer = await ask(address, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_serves_metrics_health_and_readiness_with_reasons() -> None:
    metrics, readiness = Metrics("tester"), Readiness()
    metrics.counter("things_total", "Things.", ("kind",)).labels("a").inc(3)
    readiness.waiting("nodes", "not listed yet")
    leader = ""
    readiness.check("lease", lambda: leader)
    async with TelemetryServer("127.0.0.1:0", metrics=metrics.exposition, readiness=readiness) as server:
        assert not server.address.endswith(":0")
        status, body = await get(server.address, "/metrics")
        assert (status, 'nodeipam_things_total{kind="a"} 3.0' in body) == (200, True)
        assert 'nodeipam_build_info{program="tester"' in body
        assert "process_resident_memory_bytes" in body
        assert (await get(server.address, "/healthz"))[0] == 200
        assert await get(server.address, "/readyz?verbose") == (
            503,
            "[+]lease ok\n[-]nodes: not listed yet\nnot ready\n",
        )
        readiness.passed("nodes")
        assert await get(server.address, "/readyz") == (200, "[+]lease ok\n[+]nodes ok\nready\n")
        leader = "the API server is away"
        assert (await get(server.address, "/readyz"))[0] == 503


async def test_a_remark_is_shown_on_the_line_of_its_check_and_never_speaks_against_readiness() -> None:
    readiness = Readiness()
    reason, remark = "", "node/n3: no route\n[-]forged: \x1b[31m"
    readiness.check("host", lambda: reason)
    readiness.remark("host", lambda: remark)
    async with TelemetryServer("127.0.0.1:0", metrics=bytes, readiness=readiness) as server:
        shown = "[+]host ok: node/n3: no route\\x0a[-]forged: \\x1b[31m\nready\n"
        assert await get(server.address, "/readyz") == (200, shown)
        remark = ""
        assert await get(server.address, "/readyz") == (200, "[+]host ok\nready\n")
        reason, remark = "no route at all", "one more"
        assert await get(server.address, "/readyz") == (503, "[-]host: no route at all\nnot ready\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET /nothing HTTP/1.1\r\n\r\n", b"404", id="another path"),
        pytest.param(b"POST /metrics HTTP/1.1\r\n\r\n", b"405", id="another method"),
        pytest.param(b"HEAD /healthz HTTP/1.0\r\n\r\n", b"200", id="HEAD"),
        pytest.param(b"\x16\x03\x01 \r\n\r\n", b"400", id="TLS"),
        pytest.param(b"GET /metrics\r\n\r\n", b"400", id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 9000, b"431", id="a head without end"),
    ],
)
async def test_strangers_get_a_short_answer(request_bytes: bytes, status: bytes) -> None:
    async with TelemetryServer("127.0.0.1:0", metrics=bytes, readiness=Readiness()) as server:
        answer = await ask(server.address, request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status)
    if b"HEAD" in request_bytes:
        assert answer.endswith(b"\r\n\r\n")


async def test_connections_are_bounded_and_end_with_the_server() -> None:
    async with TelemetryServer("127.0.0.1:0", metrics=bytes, readiness=Readiness()) as server:
        host, port = parse_address(server.address)
        opened = [await asyncio.open_connection(host, port) for _ in range(70)]
        async with asyncio.timeout(30):
            ends = [reader.read() for reader, _ in opened[64:]]
            for result in await asyncio.gather(*ends, return_exceptions=True):
                assert result == b"" or isinstance(result, ConnectionError)
        opened[0][1].close()
    for _, writer in opened:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in opened), return_exceptions=True)


async def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match="--metrics-address") as caught:
            async with TelemetryServer(address, metrics=bytes, readiness=Readiness()):
                pass
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["[::1]:0", "localhost:0", ":0", "[::]:0"])
async def test_listens_on(address: str) -> None:
    async with TelemetryServer(address, metrics=bytes, readiness=Readiness()) as server:
        port = server.address.rpartition(":")[2]
        host = "[::1]" if "::1" in address else "127.0.0.1"
        if address == "localhost:0":
            host = server.address.rpartition(":")[0]
        assert (await get(f"{host}:{port}", "/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9411", ("127.0.0.1", 9411)),
        ("[::]:9411", ("::", 9411)),
        (" localhost:0 ", ("localhost", 0)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "127.0.0.1", "x:99999", "x:-1", "x:http", "::1:80", "[]:80", "x:٣"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"like \[?[1:]"):
        parse_address(text)

"""Does a request come back as bytes or as the one error its caller can act on?"""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest
import structlog
from structlog.testing import capture_logs

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NodeIPAMError,
    NotFound,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from nodeipam_ctl.kube import client as client_file
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import STRATEGIC_PATCH, Client, query, segment
from tests.kube.scripted import Handler, Scripted, answer, cut, end, hang, raw, refusal, stream

NODE = "/api/v1/nodes/a"


async def call(client: Client, method: str, *, timeout_s: float = 20.0) -> bytes:
    match method:
        case "get":
            return await client.get(NODE, timeout_s=timeout_s)
        case "create":
            return await client.create("/api/v1/nodes", b"{}", timeout_s=timeout_s)
        case "replace":
            return await client.replace(NODE, b"{}", timeout_s=timeout_s)
        case "patch":
            return await client.patch(NODE, b"{}", timeout_s=timeout_s)
        case _:
            return await client.delete(NODE, timeout_s=timeout_s)


async def watched(client: Client, *, silence_s: float = 20.0, connect_s: float = 20.0) -> list[bytes]:
    async with client.watch("/x?watch=1", silence_s=silence_s, connect_timeout_s=connect_s) as lines:
        return [line async for line in lines]


async def failure(handler: Handler, method: str) -> NodeIPAMError:
    async with Scripted(handler) as server, Client(Access(server=server.url)) as client:
        with pytest.raises(NodeIPAMError) as caught:
            await call(client, method, timeout_s=0.3 if handler is hang else 20.0)
    return caught.value


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        pytest.param(400, "BadRequest", Invalid, id="400 is Invalid"),
        pytest.param(401, "Unauthorized", Forbidden, id="401 is Forbidden"),
        pytest.param(403, "Forbidden", Forbidden, id="403 is Forbidden"),
        pytest.param(404, "NotFound", NotFound, id="404 is NotFound"),
        pytest.param(409, "Conflict", Conflict, id="409 Conflict is Conflict"),
        pytest.param(409, "AlreadyExists", AlreadyExists, id="409 AlreadyExists is AlreadyExists"),
        pytest.param(410, "Expired", Expired, id="410 is Expired"),
        pytest.param(410, "Gone", Expired, id="410 Gone is Expired"),
        pytest.param(415, "UnsupportedMediaType", Invalid, id="415 is Invalid"),
        pytest.param(422, "Invalid", Invalid, id="422 is Invalid"),
        pytest.param(429, "TooManyRequests", Transient, id="429 is Transient: the write was turned away"),
        pytest.param(302, "Found", Permanent, id="a redirect is not followed"),
    ],
)
@pytest.mark.parametrize("method", ["get", "patch"])
async def test_status_decides_the_error_for_reads_and_writes(
    code: int, reason: str, error: type[NodeIPAMError], method: str
) -> None:
    found = await failure(refusal(code, reason, "the reason"), method)
    assert type(found) is error
    assert "the reason" in str(found)
    assert str(code) in str(found)


@pytest.mark.parametrize("code", [500, 502, 503, 504])
async def test_a_server_error_is_transient_for_a_read_and_unknown_for_a_write(code: int) -> None:
    assert type(await failure(refusal(code, "InternalError", "etcd"), "get")) is Transient
    for method in ("create", "replace", "patch", "delete"):
        assert type(await failure(refusal(code, "InternalError", "etcd"), method)) is OutcomeUnknown


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(cut, id="cut after the request"),
        pytest.param(hang, id="no answer in time"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), id="half an answer"),
        pytest.param(raw(b"nonsense\r\n\r\n"), id="no HTTP"),
    ],
)
async def test_no_trustworthy_answer_is_transient_for_a_read_and_unknown_for_a_write(
    handler: Handler,
) -> None:
    assert type(await failure(handler, "get")) is Transient
    for method in ("create", "replace", "patch", "delete"):
        assert type(await failure(handler, method)) is OutcomeUnknown


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
async def test_nobody_listening_is_transient_because_nothing_was_sent(method: str) -> None:
    async with Scripted(cut) as server:
        url = server.url
    async with Client(Access(server=url)) as client:
        with pytest.raises(Transient, match=r"127\.0\.0\.1"):
            await call(client, method)


async def test_an_unknown_host_is_transient() -> None:
    async with Client(Access(server="http://does-not-exist.invalid:1")) as client:
        with pytest.raises(Transient):
            await client.get(NODE, timeout_s=5)


async def test_a_write_that_only_waited_for_a_free_connection_surely_did_not_happen() -> None:
    async with Scripted(hang) as server, Client(Access(server=server.url), connections=1) as client:
        first = asyncio.create_task(client.patch(NODE, b"{}", timeout_s=5))
        await server.asked.wait()
        with pytest.raises(Transient):
            await client.patch(NODE, b"{}", timeout_s=0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(server.requests) == 1


async def test_a_fence_is_asked_when_a_write_would_leave_and_never_for_a_read() -> None:
    leading = True
    async with Scripted(answer()) as server, Client(Access(server=server.url), connections=1) as client:
        fenced = client.fenced(lambda: leading)
        await fenced.patch(NODE, b"{}")
        leading = False
        for method in ("create", "replace", "patch", "delete"):
            with pytest.raises(Transient, match="may not write"):
                await call(fenced, method)
        await fenced.get(NODE)
        await client.patch(NODE, b"{}")
    assert [request.method for request in server.requests] == ["PATCH", "GET", "PATCH"]


async def test_retry_after_is_told_from_the_header_or_the_status() -> None:
    found = await failure(refusal(429, "TooManyRequests", "slow down", "Retry-After: 7"), "patch")
    assert isinstance(found, Transient)
    assert found.retry_after_s == 7
    body = b'{"message":"m","reason":"ServerTimeout","code":504,"details":{"retryAfterSeconds":3}}'
    found = await failure(answer(body, status="504 Gateway Timeout"), "get")
    assert isinstance(found, Transient)
    assert found.retry_after_s == 3


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>Bad Gateway</html>", id="a proxy's page"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(b'{"message":5,"code":"x"}', id="a Status of wrong types"),
        pytest.param(b'{"message":"m","details":7}', id="details of a wrong type"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="nested beyond reason"),
    ],
)
async def test_an_error_body_that_makes_no_sense_still_gives_one_line(body: bytes) -> None:
    found = await failure(answer(body, status="404 Not Found"), "get")
    assert type(found) is NotFound
    assert "\n" not in str(found)
    assert len(str(found)) < 1000


async def test_a_read_is_repeated_once_when_the_kept_connection_was_closed_and_a_write_never() -> None:
    async with Scripted(answer(), cut, answer(), cut) as server, Client(Access(server=server.url)) as client:
        await client.get(NODE)
        assert await client.get(NODE) == b"{}"
        with pytest.raises(OutcomeUnknown):
            await client.replace(NODE, b"{}")
    assert [request.method for request in server.requests] == ["GET", "GET", "GET", "PUT"]


async def test_connections_are_kept_and_reused() -> None:
    async with Scripted(answer()) as server, Client(Access(server=server.url)) as client:
        for _ in range(5):
            await client.get(NODE)
    assert server.connections == 1


async def test_a_connection_the_server_wants_closed_is_not_reused() -> None:
    async with (
        Scripted(answer(headers=("Connection: close",), keep=False)) as server,
        Client(Access(server=server.url)) as client,
    ):
        await client.patch(NODE, b"{}")
        await client.patch(NODE, b"{}")
    assert server.connections == 2


async def test_no_more_requests_are_under_way_than_connections_allowed() -> None:
    async with Scripted(answer()) as server, Client(Access(server=server.url), connections=3) as client:
        await asyncio.gather(*(client.get(NODE) for _ in range(30)))
    assert server.connections <= 3


async def test_what_a_request_says() -> None:
    async with (
        Scripted(answer()) as server,
        Client(Access(server=server.url + "/prefix", token=StaticToken("t0p")), component="tester") as client,
    ):
        await client.patch(NODE, b'{"a":1}', kind=STRATEGIC_PATCH)
        await client.delete(NODE, uid="u1", resource_version="7")
    patch, delete = server.requests
    assert (patch.method, patch.path, patch.body) == ("PATCH", f"/prefix{NODE}", b'{"a":1}')
    assert patch.headers["content-type"] == STRATEGIC_PATCH
    assert patch.headers["authorization"] == "Bearer t0p"
    assert patch.headers["user-agent"].startswith("tester/")
    assert json.loads(delete.body)["preconditions"] == {"uid": "u1", "resourceVersion": "7"}


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ä", "/a\x00"])
async def test_a_path_that_would_be_more_than_a_path_is_refused(path: str) -> None:
    async with Scripted(answer()) as server, Client(Access(server=server.url)) as client:
        with pytest.raises(Invalid):
            await client.get(path)
    assert not server.requests


async def test_an_api_server_warning_is_logged_once() -> None:
    warned = answer(headers=('Warning: 299 - "v1beta1 is \\"old\\""',))
    structlog.reset_defaults()
    with capture_logs() as logs:
        async with Scripted(warned) as server, Client(Access(server=server.url)) as client:
            await client.get(NODE)
            await client.get(NODE)
    assert [line["text"] for line in logs if line["event"] == "api_server_warned"] == ['v1beta1 is "old"']


async def test_a_watch_gives_its_lines_whatever_their_size_and_however_they_are_cut() -> None:
    large = b'{"x":"' + b"y" * 3_000_000 + b'"}'
    pieces = (b'{"a":1}\n{"b"', b":2}\n", large[:70_000], large[70_000:], b"\n\n", b"half a line")
    async with Scripted(stream(*pieces, then=end)) as server, Client(Access(server=server.url)) as client:
        found = await watched(client)
    assert found == [b'{"a":1}', b'{"b":2}', large]


async def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_file, "_LINE_MOST_BYTES", 100_000)
    async with (
        Scripted(stream(*[b"x" * 50_000] * 3)) as server,
        Client(Access(server=server.url)) as client,
    ):
        with pytest.raises(Transient, match="a line of more than"):
            await watched(client)


async def test_a_silent_watch_is_given_up() -> None:
    async with Scripted(stream(b"{}\n")) as server, Client(Access(server=server.url)) as client:
        with pytest.raises(Transient, match="silent"):
            await watched(client, silence_s=0.05)


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        pytest.param(refusal(410, "Expired", "too old"), Expired, id="410"),
        pytest.param(refusal(403, "Forbidden", "no"), Forbidden, id="403"),
        pytest.param(refusal(500, "InternalError", "no"), Transient, id="500"),
        pytest.param(cut, Transient, id="cut"),
        pytest.param(hang, Transient, id="no head"),
        pytest.param(stream(b"{}\n", then=cut), Transient, id="cut in the middle"),
    ],
)
async def test_why_a_watch_fails(handler: Handler, error: type[NodeIPAMError]) -> None:
    async with Scripted(handler) as server, Client(Access(server=server.url)) as client:
        with pytest.raises(error):
            await watched(client, connect_s=0.2 if handler is hang else 20.0)


async def test_a_fast_server_cannot_fill_our_memory_through_a_watch() -> None:
    line = b'{"x":"' + b"y" * 65_000 + b'"}\n'
    sent = 0

    async def flood(_request: object, writer: asyncio.StreamWriter) -> bool:
        nonlocal sent
        for _ in range(600):
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")
        return False

    async with (
        Scripted(stream(then=flood)) as server,
        Client(Access(server=server.url)) as client,
        client.watch("/x?watch=1", silence_s=5) as lines,
    ):
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.05)  # until the kernel's buffers and ours are full
        assert sent < 400
        assert len([line async for line in lines]) == 600


async def test_https_to_a_server_without_tls_says_what_to_write() -> None:
    async with ApiServer() as server:
        url = server.url.replace("http://", "https://")
        async with Client(Access(server=url, ssl=ssl.create_default_context())) as client:
            with pytest.raises(
                Transient, match="write http:// instead of https:// in the kubeconfig"
            ) as caught:
                await client.get(NODE)
    assert "WRONG_VERSION" not in str(caught.value)
    assert "[SSL" not in str(caught.value)


async def test_http_to_a_server_with_tls_says_what_to_write() -> None:
    goes = answer(b"Client sent an HTTP request to an HTTPS server.\n", status="400 Bad Request", keep=False)
    async with Scripted(goes) as server, Client(Access(server=server.url)) as client:
        with pytest.raises(Invalid, match="write https:// instead of http:// in the kubeconfig"):
            await client.get(NODE)


def test_paths() -> None:
    assert query("/x", {"a": "1 2", "b": None, "c": 3}) == "/x?a=1%202&c=3"
    assert query("/x", {"a": None}) == "/x"
    assert segment("a/b ü") == "a%2Fb%20%C3%BC"

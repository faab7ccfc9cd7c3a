"""The server stays on loopback, hands out kubeconfigs only their owner can read, and speaks TLS when asked."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import aiohttp
import pytest
import yaml

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.tls import make_authority
from nodeipam_ctl.errors import Permanent, UsageError
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import http


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_refuses_to_listen_where_others_can_reach_it(host: str) -> None:
    with pytest.raises(UsageError, match="--listen-anywhere"):
        ApiServer(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_listens_on_loopback_without_being_asked_twice(host: str) -> None:
    ApiServer(host=host)


async def test_listens_elsewhere_with_the_explicit_flag() -> None:
    async with ApiServer(host="0.0.0.0", allow_nonloopback=True) as server:
        assert server.url.startswith("http://0.0.0.0:")


async def test_the_kubeconfig_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kubeconfig"
    async with ApiServer() as server:
        server.write_kubeconfig(path)
        assert path.stat().st_mode & 0o777 == 0o600
        config = yaml.safe_load(path.read_text())
        assert config["clusters"][0]["cluster"]["server"] == server.url
        assert config["users"][0]["user"]["token"] == server.token


_HEAD = b"POST /api/v1/nodes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="a version that does not exist"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", id="a space in a header's name"),
        pytest.param(b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", id="no URL"),
        pytest.param(_HEAD + b"Content-Length: -5\r\n\r\n", id="a negative length"),
        pytest.param(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="no chunk"),
        pytest.param(
            _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", id="gzip that is none"
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 50, id="TLS"),
    ],
)
async def test_what_is_no_http_is_refused_and_told_in_one_line(
    sent: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with ApiServer(unsecured=True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(sent)
        async with asyncio.timeout(10):
            assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert len(caplog.records) <= 1
    for record in caplog.records:
        assert record.exc_info is None
        assert "\n" not in record.getMessage()
    assert "Traceback" not in capfd.readouterr().err


async def test_tls_is_vouched_for_by_the_ca_in_the_kubeconfig() -> None:
    async with ApiServer(tls=True) as server:
        assert server.ca_pem is not None
        context = ssl.create_default_context(cadata=server.ca_pem.decode())
        headers = {"Authorization": f"Bearer {server.token}"}
        async with (
            aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get("/api/v1/nodes", headers=headers) as answer,
        ):
            assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "address", "said"),
    [
        pytest.param(
            "/nonexistent", "127.0.0.1", "openssl is not installed, but TLS was asked", id="missing"
        ),
        pytest.param(
            os.environ["PATH"], "nonsense", "openssl x509 failed: .*value=nonsense", id="it refuses"
        ),
    ],
)
async def test_tls_without_a_working_openssl_is_one_line(
    path: str, address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path)
    with pytest.raises(Permanent, match=said) as failed:
        await make_authority((address,))
    assert "\n" not in str(failed.value)


async def test_a_client_certificate_names_its_user(tmp_path: Path) -> None:
    async with ApiServer(tls=True, rbac=True) as server:
        authority = server.cluster.tls
        assert authority is not None
        certificate, key = await authority.client_certificate("root", ("system:masters",))
        (tmp_path / "client.crt").write_bytes(certificate)
        (tmp_path / "client.key").write_bytes(key)
        context = ssl.create_default_context(cadata=authority.ca_pem.decode())
        context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
        async with (
            aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get("/api/v1/nodes") as answer,
        ):
            assert answer.status == 200


async def test_two_servers_know_nothing_of_each_other() -> None:
    async with ApiServer() as one, ApiServer() as two, http(two) as api:
        one.create(node("n1"))
        assert (await api("GET", "/api/v1/nodes")).body["items"] == []
        assert (await api("GET", "/api/v1/nodes", Authorization=f"Bearer {one.token}")).status == 401


def test_a_refused_object_is_named_with_the_reason() -> None:
    with pytest.raises(Permanent, match=r"Node.*metadata\.name"):
        ApiServer().create(node("Not_A_Name"))


def test_an_object_without_a_definition_is_refused() -> None:
    with pytest.raises(Permanent, match="install its CRD first"):
        ApiServer().apply({"apiVersion": "example.com/v1", "kind": "Range", "metadata": {"name": "r"}})


def test_a_broken_definition_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x.y}\n"
        "spec: {group: y, scope: Nowhere, names: {plural: x, kind: X}, versions: []}\n"
    )
    with pytest.raises(Permanent, match=r"broken\.yaml.*spec\.scope"):
        ApiServer(crd_dir=tmp_path)

"""Do we find the API server and log in as the file says, over verified TLS, and say in one line what is wrong with it?"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.errors import Forbidden, Transient, UsageError
from nodeipam_ctl.kube import kubeconfig
from nodeipam_ctl.kube.auth import TokenFile, in_cluster, load
from nodeipam_ctl.kube.client import Client

SECRET = "s3cr3t-t0ken"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def config(path: Path, *, cluster: dict[str, Any], user: dict[str, Any] | None = None, **top: Any) -> Path:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user or {}}],
        **top,
    }
    file = path / "config"
    file.write_text(yaml.safe_dump(document))
    return file


async def lists_nodes(file: Path) -> bool:
    async with Client(await load(file)) as client:
        return b'"NodeList"' in await client.get("/api/v1/nodes")


async def test_logs_in_with_the_kubeconfig_of_the_demo(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server:
        server.write_kubeconfig(tmp_path / "config")
        assert await lists_nodes(tmp_path / "config")


async def test_logs_in_with_a_client_certificate_from_data_and_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(kubeconfig, "_memory_directory", lambda: str(memory))
    async with ApiServer(tls=True) as server:
        assert server.cluster.tls is not None
        crt, key = await server.cluster.tls.client_certificate("admin", ("system:masters",))
        user = {"client-certificate-data": b64(crt), "client-key-data": b64(key)}
        cluster = {"server": server.url, "certificate-authority-data": b64(server.ca_pem or b"")}
        assert await lists_nodes(config(tmp_path, cluster=cluster, user=user))
        assert not list(memory.iterdir())


async def test_logs_in_with_files_named_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server:
        assert server.cluster.tls is not None
        crt, key = await server.cluster.tls.client_certificate("admin", ("system:masters",))
        (tmp_path / "c.crt").write_bytes(crt)
        (tmp_path / "c.key").write_bytes(key)
        (tmp_path / "ca.crt").write_bytes(server.ca_pem or b"")
        cluster = {"server": server.url + "/", "certificate-authority": "ca.crt"}
        user = {"client-certificate": "c.crt", "client-key": "c.key"}
        assert await lists_nodes(config(tmp_path, cluster=cluster, user=user))


async def test_a_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server, ApiServer(tls=True) as other:
        cluster = {"server": server.url, "certificate-authority-data": b64(other.ca_pem or b"")}
        with pytest.raises(Transient, match="certificate"):
            await lists_nodes(config(tmp_path, cluster=cluster, user={"token": server.token}))


async def test_a_server_of_another_name_is_refused_unless_the_name_to_expect_is_given(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server:
        port = server.url.rpartition(":")[2]
        cluster = {
            "server": f"https://127.0.0.2:{port}",
            "certificate-authority-data": b64(server.ca_pem or b""),
        }
        user = {"token": server.token}
        reach = {**cluster, "server": server.url, "tls-server-name": "elsewhere.example"}
        with pytest.raises(Transient, match="elsewhere"):
            await lists_nodes(config(tmp_path, cluster=reach, user=user))
        assert await lists_nodes(
            config(tmp_path, cluster={**reach, "tls-server-name": "localhost"}, user=user)
        )
        insecure = {"server": server.url, "insecure-skip-tls-verify": True}
        assert await lists_nodes(config(tmp_path, cluster=insecure, user=user))


async def test_a_rotated_token_file_is_read_again(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server:
        server.add_user(SECRET, "old")
        server.add_user("new-one", "new")
        (tmp_path / "token").write_text(SECRET + "\n")
        cluster = {"server": server.url, "certificate-authority-data": b64(server.ca_pem or b"")}
        access = await load(config(tmp_path, cluster=cluster, user={"tokenFile": "token"}))
        async with Client(access) as client:
            await client.get("/api/v1/nodes")
            (tmp_path / "token").write_text("not-known-to-anybody")
            assert access.token is not None
            access.token.rejected()
            with pytest.raises(Forbidden):
                await client.get("/api/v1/nodes")
            (tmp_path / "token").write_text("new-one")
            await client.get("/api/v1/nodes")  # the 401 made us look again


async def test_a_token_file_is_looked_at_now_and_then_and_kept_while_it_is_away(tmp_path: Path) -> None:
    now_s = 0.0
    file = tmp_path / "token"
    file.write_text("one")
    token = TokenFile(file, clock=lambda: now_s, check_every_s=10)
    file.unlink()
    assert await token.token() == "one"
    now_s = 11
    assert await token.token() == "one"
    file.write_text("two")
    assert await token.token() == "one"
    now_s = 22
    assert await token.token() == "two"


async def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server:
        (tmp_path / "ca.crt").write_bytes(server.ca_pem or b"")
        (tmp_path / "token").write_text(server.token)
        (tmp_path / "namespace").write_text("kube-system\n")
        port = server.url.rpartition(":")[2]
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}
        access = in_cluster(environment, directory=tmp_path)
        assert access.namespace == "kube-system"
        async with Client(access) as client:
            assert b"NodeList" in await client.get("/api/v1/nodes")
        v6 = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1"}, directory=tmp_path)
        assert v6.server == "https://[fd00::1]:443"
        assert server.token not in repr(access)


async def test_an_exec_plugin_is_asked_for_the_token(tmp_path: Path) -> None:
    async with ApiServer(tls=True) as server:
        plugin = tmp_path / "plugin"
        credential = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "kind": "ExecCredential",
            "status": {"token": server.token},
        }
        plugin.write_text(f"#!/bin/sh\nprintf '%s' '{json.dumps(credential)}'\n")
        plugin.chmod(0o755)
        cluster = {"server": server.url, "certificate-authority-data": b64(server.ca_pem or b"")}
        user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(plugin)}}
        assert await lists_nodes(config(tmp_path, cluster=cluster, user=user))


async def test_a_failing_exec_plugin_is_one_line_without_its_output(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{SECRET}'; echo '{SECRET}' >&2; exit 3\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(plugin)}}
    with pytest.raises(UsageError) as caught:
        await load(config(tmp_path, cluster={"server": "https://127.0.0.1:1"}, user=user))
    assert SECRET not in str(caught.value)
    assert "'u'" in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD = {"server": "https://127.0.0.1:6443"}


@pytest.mark.parametrize(
    ("cluster", "user", "top", "reason"),
    [
        pytest.param(
            GOOD, {}, {"current-context": ""}, "current-context is not set", id="no current context"
        ),
        pytest.param(GOOD, {}, {"current-context": "x"}, "no context named 'x'", id="an unknown context"),
        pytest.param(GOOD, {}, {"clusters": []}, "no cluster named 'k'", id="an unknown cluster"),
        pytest.param(GOOD, {}, {"users": None}, "no user named 'u'", id="an unknown user"),
        pytest.param(GOOD, {}, {"clusters": [{"name": "k"}]}, "has no content", id="an empty cluster"),
        pytest.param({}, {}, {}, "is not a URL", id="no server"),
        pytest.param({"server": "ftp://x"}, {}, {}, "is not a URL", id="another scheme"),
        pytest.param({"server": "https://x:99999"}, {}, {}, "is not a URL", id="an impossible port"),
        pytest.param(
            {"server": "https://a:b@x"}, {}, {}, "user name or password", id="a password in the URL"
        ),
        pytest.param({"server": 5}, {}, {}, "server must be text", id="a number for the server"),
        pytest.param({**GOOD, "proxy-url": "http://p"}, {}, {}, "proxy-url is not supported", id="a proxy"),
        pytest.param(
            {**GOOD, "certificate-authority-data": "%%"}, {}, {}, "not base64", id="a CA that is not base64"
        ),
        pytest.param(
            {**GOOD, "certificate-authority-data": b64(b"x")}, {}, {}, "PEM", id="a CA that is not PEM"
        ),
        pytest.param(
            {**GOOD, "certificate-authority": "/nowhere"},
            {},
            {},
            "No such file",
            id="a CA file that is missing",
        ),
        pytest.param(
            {**GOOD, "insecure-skip-tls-verify": "yes"}, {}, {}, "true or false", id="text for a flag"
        ),
        pytest.param(GOOD, {"username": "a", "password": SECRET}, {}, "not supported", id="a password"),
        pytest.param(GOOD, {"tokenFile": "/nowhere"}, {}, "/nowhere", id="a token file that is missing"),
        pytest.param(
            GOOD, {"token": f"{SECRET}\nX: y"}, {}, "HTTP does not allow", id="a token with a line break"
        ),
        pytest.param(
            GOOD, {"client-certificate-data": b64(b"x")}, {}, "one is missing", id="a certificate without key"
        ),
        pytest.param(
            GOOD,
            {"client-certificate-data": b64(SECRET.encode()), "client-key-data": b64(SECRET.encode())},
            {},
            "must be PEM",
            id="a certificate that is not PEM",
        ),
    ],
)
async def test_what_is_wrong_with_a_kubeconfig_is_said_in_one_line(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], top: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError) as caught:
        await load(config(tmp_path, cluster=cluster, user=user, **top))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\x00\x01\x02", "not YAML", id="bytes"),
        pytest.param(b"a: [", "not YAML", id="broken YAML"),
        pytest.param(b"- a", "not a kubeconfig", id="a list"),
        pytest.param(b"", "not a kubeconfig", id="an empty file"),
        pytest.param(
            b"!!python/object/apply:os.system ['true']", "not YAML", id="YAML that wants to run something"
        ),
        pytest.param(b"[" * 5000, "not YAML", id="nested beyond reason"),
        pytest.param(b"[" * 100_000, "nested deeper than 100 levels", id="nested beyond the C stack"),
        pytest.param(b"a: 1\n---\nb: 2\n", "not a kubeconfig", id="two documents"),
        pytest.param(b"#" * (5 << 20), "larger than 4 MiB", id="a huge file"),
    ],
)
async def test_a_file_that_is_no_kubeconfig_is_said_in_one_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        await load(file)
    assert str(file) in str(caught.value)


async def test_a_file_that_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        await load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="directory"):
        await load(tmp_path)


async def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with asyncio.timeout(5):
        for path in (pipe, Path("/dev/zero")):
            with pytest.raises(UsageError, match="not a regular file; write it into a file") as caught:
                await load(path)
            assert str(path) in str(caught.value)


async def test_outside_a_pod_a_kubeconfig_is_asked_for() -> None:
    with pytest.raises(UsageError, match="--kubeconfig"):
        await load(None, environment={})


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_pod_without_a_whole_service_account_says_what_is_missing(
    tmp_path: Path, missing: str
) -> None:
    async with ApiServer(tls=True) as server:
        (tmp_path / "ca.crt").write_bytes(server.ca_pem or b"")
    (tmp_path / "token").write_text("t")
    (tmp_path / missing).unlink()
    with pytest.raises(UsageError, match=missing):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, directory=tmp_path)


def test_no_secret_is_part_of_any_text(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from nodeipam_ctl.kube.auth import load\n"
        "access = asyncio.run(load(pathlib.Path(sys.argv[1])))\n"
        "print(access, repr(access), access.token, vars(type(access)).keys())\n"
        "loaded = [m for m in ('kubernetes_asyncio', 'aiohttp', 'kopf') if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    file = config(tmp_path, cluster=GOOD, user={"token": SECRET})
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:6443" in done.stdout
    assert SECRET not in done.stdout + done.stderr

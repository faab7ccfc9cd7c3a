"""`nodeipam-ctl controller`: every mistake is one line, exit code 2, and never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from nodeipam_ctl.cli.main import main; main()", "controller", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", **environment},
    )


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    return file


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--no-such-flag"], "--no-such-flag", id="an unknown flag"),
        pytest.param(
            ["--kubeconfig", "/nowhere/at/all"], "/nowhere/at/all", id="a kubeconfig that does not exist"
        ),
        pytest.param([], "give --kubeconfig FILE", id="no kubeconfig outside of a Pod"),
        pytest.param(["--service-cidr", "10.96.0.1/16"], "host bits", id="a service range with host bits"),
        pytest.param(["--service-cidr", "services"], "is not a CIDR", id="a service range that is none"),
        pytest.param(["--batch-window", "-1"], "--batch-window", id="a negative batch window"),
        pytest.param(["--batch-window", "nan"], "'nan' is not a number of seconds", id="a window of nan"),
        pytest.param(["--batch-window", "inf"], "--batch-window", id="an endless window"),
        pytest.param(["--kubeconfig", ""], "the name is empty", id="a kubeconfig without a name"),
        pytest.param(
            ["--identity", "a\nb"], "--identity: 'a\\nb' is not a name", id="an identity of two lines"
        ),
        pytest.param(
            ["--identity", "\x1b[31m"], "at most 253 printable", id="an identity of control characters"
        ),
        pytest.param(["--identity", "x" * 254], "xxx...' is not a name", id="an identity too long"),
        pytest.param(["--log-level", "loud"], "loud", id="an unknown log level"),
        pytest.param(["--lease-name", "Not A Name"], "not an object name", id="a lease name with spaces"),
        pytest.param(["surplus"], "surplus", id="an argument too many"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments: list[str], words: str) -> None:
    _is_one_line(run(*arguments), words)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("nowhere", "not HOST:PORT", id="no port"),
        pytest.param("192.0.2.1:1", "cannot listen", id="an address that is not ours"),
    ],
)
def test_a_metrics_address_that_cannot_be_used_is_one_line(
    kubeconfig: Path, address: str, words: str
) -> None:
    _is_one_line(run("--kubeconfig", str(kubeconfig), "--metrics-address", address), words)


def test_a_metrics_port_in_use_is_one_line(kubeconfig: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        _is_one_line(run("--kubeconfig", str(kubeconfig), "--metrics-address", address), "cannot listen")


def test_flags_can_come_from_the_environment() -> None:
    _is_one_line(run(NODEIPAM_KUBECONFIG="/nowhere/at/all"), "/nowhere/at/all")


def test_a_broken_kubeconfig_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("{clusters: [")
    _is_one_line(run("--kubeconfig", str(file)), str(file))


def test_help_does_not_load_kopf() -> None:
    code = (
        "import sys; from nodeipam_ctl.cli.main import run; "
        "run(['controller', '--help']); sys.exit('kopf' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def _is_one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    said = [line for line in done.stderr.splitlines() if line.startswith("nodeipam-ctl: ")]
    assert done.returncode == 2, done.stderr
    assert len(said) == 1, done.stderr
    assert words in said[0]
    assert "Traceback" not in done.stderr

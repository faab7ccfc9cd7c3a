"""The command line answers mistakes with one line and exit code 2, and loads only what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nodeipam_ctl import __version__
from nodeipam_ctl.cli.main import run


def test_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"nodeipam-ctl {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["conquer"], "No such command 'conquer'", id="unknown command"),
        pytest.param(["--nope"], "No such option", id="unknown option"),
        pytest.param(["agent"], "--node-name", id="missing required flag"),
        pytest.param(
            ["agent", "--node-name", "n", "--backend", "carrier-pigeon"], "--backend", id="unknown backend"
        ),
        pytest.param(
            ["controller", "--kubeconfig", "/nonexistent/kubeconfig"],
            "/nonexistent/kubeconfig",
            id="no kubeconfig",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert says in output.err
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err


def test_the_agents_command_loads_neither_kopf_nor_kubernetes_asyncio_nor_netaddr() -> None:
    script = (
        "import sys; from nodeipam_ctl.cli.main import run; run(['agent', '--help']);"
        "print([m for m in ('kopf', 'kubernetes_asyncio', 'netaddr', 'nodeipam_ctl.demo') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("[]\n")

"""Wrong use of `agent` is one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeipam_ctl.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "--node-name", id="no node name"),
        pytest.param(["--node-name", "n", "--backend", "ipip"], "ipip", id="an unknown backend"),
        pytest.param(["--node-name", "n", "--service-cidr", "10.0.0.1/8"], "10.0.0.0/8", id="host bits"),
        pytest.param(["--node-name", "n", "--kubeconfig", "/nowhere"], "/nowhere", id="no kubeconfig"),
        pytest.param(["--node-name", "n", "--flannel-compat"], "--backend vxlan", id="flannel without vxlan"),
        pytest.param(["--node-name", "n", "--audit-period", "inf"], "--audit-period", id="an audit never"),
        pytest.param(["--node-name", "n", "--audit-period", "nan"], "--audit-period", id="an audit at nan"),
        pytest.param(
            ["--node-name", "n", "--mass-removal-delay", "nan"], "not a number", id="a delay of nan"
        ),
        pytest.param(
            ["--node-name", "n", "--kubeconfig", ""], "the name is empty", id="no kubeconfig's name"
        ),
        pytest.param(["--node-name", ""], "not an object name", id="an empty name"),
        pytest.param(["--node-name", "a/b?c"], "not an object name", id="a name that changes a path"),
        pytest.param(["--node-name", "n", "--proc-sys-dir", "/nowhere"], "/nowhere", id="no /proc/sys"),
        pytest.param(["--node-name", "n", "--route-table", "255"], "local", id="the kernel's own table"),
        pytest.param(["--node-name", "n", "--metrics-address", "x"], "HOST:PORT", id="a bad metrics address"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    given = arguments if "--kubeconfig" in arguments else [*arguments, "--kubeconfig", str(config)]
    assert run(["agent", *given]) == 2
    error = capsys.readouterr().err.splitlines()
    assert said in error[-1]
    assert not any("Traceback" in line for line in error)

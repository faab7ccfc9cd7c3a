"""A wrong flag of `nodeipam-ctl demo` is one clear line and exit code 2."""

from __future__ import annotations

import pytest

from nodeipam_ctl.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--nodes", "1"], "1 is not in the range 2<=x<=64", id="nobody to ping"),
        pytest.param(["--nodes", "many"], "'many' is not a valid integer", id="not a number"),
        pytest.param(["--pods", "0"], "0 is not in the range 1<=x<=50", id="no pods"),
        pytest.param(["--port", "65536"], "65536 is not in the range", id="no such port"),
        pytest.param(["--kubeconfig-out", "/"], "File '/' is a directory", id="a directory"),
        pytest.param(["--kubeconfig-out", ""], "the name is empty", id="a file without a name"),
        pytest.param(["--nodes", "4", "--api-only"], "leave out --nodes", id="nodes of an API server alone"),
        pytest.param(["--pods", "2", "--keep", "--api-only"], "leave out --pods and --keep", id="pods of it"),
        pytest.param(["--rbac"], "--rbac goes with --api-only", id="roles for nobody"),
        pytest.param(["--nope"], "No such option", id="unknown flag"),
        pytest.param(["now"], "unexpected extra argument (now)", id="an argument"),
    ],
)
def test_refuses(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert says in said.err
    assert arguments[0] in said.err, "the flag is named"


def test_a_bad_environment_variable_is_refused_as_the_flag_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NODEIPAM_NODES", "0")
    assert run(["demo"]) == 2
    assert "NODEIPAM_NODES" in capsys.readouterr().err


def test_help_shows_every_flag_and_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for flag in ("--nodes", "--pods", "--keep", "--api-only", "--rbac", "--port", "--kubeconfig-out"):
        assert flag in said
        assert f"NODEIPAM_{flag[2:].replace('-', '_').upper()}" in said

"""Commands at a shell find the API server as kubectl does, and open one line when they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeipam_ctl.cli.main import run
from nodeipam_ctl.cli.shell import find_kubeconfig
from nodeipam_ctl.errors import UsageError
from tests.cli.conftest import Operator

COMMANDS = (["explain", "node"], ["audit"], ["plan"], ["import", "--cluster-cidr=10.0.0.0/8"])


def test_a_flag_goes_before_everything(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    assert find_kubeconfig(flag, {"KUBECONFIG": "/other"}, home=tmp_path) == flag


def test_the_environment_goes_before_the_home_directory(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    usual = tmp_path / ".kube" / "config"
    usual.touch()
    assert find_kubeconfig(None, {"KUBECONFIG": "/named"}, home=tmp_path) == Path("/named")
    assert find_kubeconfig(None, {"KUBECONFIG": ""}, home=tmp_path) == usual


def test_without_any_file_the_pods_service_account_is_left(tmp_path: Path) -> None:
    assert find_kubeconfig(None, {}, home=tmp_path) is None


def test_of_several_files_the_only_one_that_exists_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    names = f"{tmp_path}/a:{tmp_path}/b:"
    assert find_kubeconfig(None, {"KUBECONFIG": names}, home=tmp_path) == tmp_path / "b"


def test_several_files_are_not_merged_but_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="kubectl config view --flatten"):
        find_kubeconfig(None, {"KUBECONFIG": f"{tmp_path}/a:{tmp_path}/b"}, home=tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
async def test_every_command_says_in_one_line_that_the_server_is_away(
    operator: Operator, command: list[str]
) -> None:
    text = operator.cluster.kubeconfig.read_text()
    port = operator.cluster.access.server.rpartition(":")[2]
    operator.cluster.kubeconfig.write_text(text.replace(port, "9"))
    said = await operator(*command)
    assert (said.code, said.out) == (1, "")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
async def test_every_command_says_in_one_line_that_a_kubeconfig_is_missing(
    operator: Operator, command: list[str]
) -> None:
    said = await operator(*command, "--kubeconfig", "/nowhere")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert "/nowhere" in said.err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command[0], "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--kubeconfig" in said
    assert "NODEIPAM_KUBECONFIG" in said
    assert "table|json|yaml" in said
    assert "~/.kube/config" in said

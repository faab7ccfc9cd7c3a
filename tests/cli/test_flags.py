"""Does a flag mean the same wherever it stands?"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import click
import pytest

from nodeipam_ctl.cli import agent, audit, cleanup, controller, explain, install_cni, plan
from nodeipam_ctl.cli.main import run

_HOST = {"agent": agent.command, "cleanup": cleanup.command, "install-cni": install_cni.command}
_SERVICES = {
    c.name: c for c in (agent.command, audit.command, controller.command, explain.command, plan.command)
}


def _option(command: click.Command, name: str) -> click.Parameter:
    (found,) = (parameter for parameter in command.params if parameter.name == name)
    return found


def test_cleanup_looks_where_the_agent_leaves_things() -> None:
    agents = {parameter.name: parameter for parameter in agent.command.params}
    own = [parameter for parameter in cleanup.command.params if parameter.name != "yes"]

    assert {parameter.name for parameter in own} <= agents.keys()
    for parameter in own:
        theirs = agents[parameter.name]
        assert parameter.to_info_dict() == theirs.to_info_dict(), parameter.name


@pytest.mark.parametrize("command", _SERVICES.values(), ids=_SERVICES)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--service-cidr", "10.96.0.0/12,fd00::/108"], id="one flag with a comma"),
        pytest.param(["--service-cidr=10.96.0.0/12", "--service-cidr=fd00::/108"], id="two flags"),
    ],
)
def test_service_ranges_may_be_repeated_or_joined(command: click.Command, words: list[str]) -> None:
    option = _option(command, "service_cidr")
    lonely = click.Command(command.name, params=[option])

    parsed = lonely.make_context("x", list(words)).params

    assert parsed == {"service_cidr": (IPv4Network("10.96.0.0/12"), IPv6Network("fd00::/108"))}


@pytest.mark.parametrize("command", _SERVICES)
@pytest.mark.parametrize("text", ["", "10.96.0.0/12,", "services"])
def test_a_service_range_that_is_none_is_refused(
    command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"agent": ["--node-name", "n"], "explain": ["n"]}.get(command, [])

    assert run([command, *node, "--service-cidr", text]) == 2
    assert "--service-cidr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        pytest.param(name, parameter.opts[0], id=f"{name} {parameter.opts[0]}")
        for name, command in _HOST.items()
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    ],
)
def test_an_empty_name_is_not_the_working_directory(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node = ["--node-name", "n"] if command == "agent" else []

    assert run([command, *node, option, ""]) == 2
    assert "the name is empty" in capsys.readouterr().err

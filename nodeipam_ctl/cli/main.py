"""Which command was asked for? Loads only that command's module: the agent must not pay for kopf, nor `status` for the demo."""

from __future__ import annotations

import importlib
import os
import sys
from keyword import iskeyword

import click

from nodeipam_ctl import __version__
from nodeipam_ctl.errors import NodeIPAMError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2

_COMMANDS = {
    "controller": "Assign podCIDRs to nodes (one leader per cluster).",
    "agent": "Program this node's routes, CNI configuration and masquerade.",
    "cleanup": "Remove from this host what the agent made.",
    "explain": "Say why a node has the podCIDRs it has, and what would happen now.",
    "audit": "List everything that is wrong with ClusterCIDRs, nodes and ledger.",
    "plan": "Say how many more nodes fit, and what changed ClusterCIDRs would do.",
    "import": "Take over from kube-controller-manager or from upstream ClusterCIDRs.",
    "install-cni": "Copy CNI plug-ins to the host, for an init container.",
    "demo": "Show the whole road on this machine, or run only the API server.",
}


class _Commands(click.Group):
    """Finds a command's module by its name: `controller` is `command` in nodeipam_ctl/cli/controller.py, `import` in import_.py."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"nodeipam_ctl.cli.{f'{name}_' if iskeyword(name) else name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nodeipam-ctl", message="%(prog)s %(version)s")
def root() -> None:
    """Pod-network control plane for Kubernetes: podCIDRs for nodes, and routes to them."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; ends the process with the command's exit code, and never with a traceback for a user's mistake."""
    _open_standard_files()
    if sys.argv[1:2] == ["agent"]:
        # structlog loads rich where it happens to be installed: 5 MB for colours that a DaemonSet never shows.
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how Python marks "not importable"
    sys.exit(run(arguments))


def _open_standard_files() -> None:
    """Started without standard input (`<&-`), the first file or socket that we open would take its number, and a program of ours its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(number, True)  # noqa: FBT003 - takes no keyword


def run(arguments: list[str] | None = None) -> int:
    """The exit code of one command line: 0 done, 1 failed, 2 wrong usage."""
    try:
        result = root.main(args=arguments, prog_name="nodeipam-ctl", standalone_mode=False)
    except click.ClickException as exc:
        return _say(f"{exc.format_message()}{_hint(exc)}", EXIT_USAGE)
    except click.Abort:
        return 130
    except UsageError as exc:
        return _say(str(exc), EXIT_USAGE)
    except NodeIPAMError as exc:
        return _say(str(exc), EXIT_FAILED)
    return result if isinstance(result, int) else 0


def _hint(exc: click.ClickException) -> str:
    context = getattr(exc, "ctx", None)
    return f" (see {context.command_path} --help)" if isinstance(context, click.Context) else ""


def _say(message: str, code: int) -> int:
    line = " ".join(message.split())
    # What a server or a file said must not command the terminal.
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
    print(f"nodeipam-ctl: {shown}", file=sys.stderr)
    return code

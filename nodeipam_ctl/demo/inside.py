"""How does the demo begin and end inside its namespaces? As PID 1 there: it makes /run its own, plays, and ends everything by ending."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from nodeipam_ctl.demo.processes import run
from nodeipam_ctl.errors import NodeIPAMError

Play = Callable[[dict[str, Any]], Awaitable[int]]
"""What happens inside: from the request to an exit code."""

STOPPED = 130
"""The exit code after the lifeline was cut; the process outside says which signal it was."""


def main(play: Play) -> None:
    """Runs a play and ends this process, and so every process in its PID namespace."""
    asyncio.run(_run(play))


async def _run(play: Play) -> None:
    code = 1
    try:
        request = json.loads(_read_line(sys.stdin.fileno()))
        # The other end is never written to again: readable means that the process outside is gone or wants us to go.
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, STOPPED)
        await run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"])
        code = await play(request)
    except NodeIPAMError as exc:
        print(f"nodeipam-ctl: {exc}", file=sys.stderr)
    except BrokenPipeError:
        pass  # whoever read our output went away
    except Exception:  # noqa: BLE001 - a mistake of ours: it is shown in full, and the process ends below all the same
        traceback.print_exc()
    finally:
        # Not return, not sys.exit: no task, thread or child needs to be put in order, the kernel takes it all away.
        os._exit(code)


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)  # unbuffered: what follows the line is the lifeline
        if not byte:
            os._exit(STOPPED)
        line += byte
    return line

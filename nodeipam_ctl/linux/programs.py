"""How does a program that we need (nft, iptables, wg) run to its end, and how is its failure told? In one line that names it.

The arguments are left out of it: there may be thousands, and nobody has to ask whether one of them is a secret.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nodeipam_ctl.errors import Permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended; what of its output was not text is shown as `�`.

    Attributes:
        code: its exit code; the negative number of the signal that ended it.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The first line of its standard error, or what else is known of the failure."""
        lines = (line.strip() for line in self.stderr.splitlines())
        return next(filter(None, lines), "") or (
            f"failed without a word (exit code {self.code})"
            if self.code >= 0
            else f"was ended by signal {-self.code} ({signal.strsignal(-self.code)})"
        )


def run(
    command: Sequence[str],
    *,
    missing: str,
    text: str = "",
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    directory: Path = Path("/"),
    timeout_s: float = 10.0,
) -> Ended:
    """Runs a program to its end, whatever its exit code.

    Args:
        command: the program and its arguments, with no secret among them: everybody on the host can read them.
        missing: what to say when it is not installed, with the remedy.
        text: its standard input; without any, that is `stdin`.
        stdin: a file to read from; None for nothing to read.
        stdout: where its output goes instead of into the answer, such as a key that is nobody else's business.
        directory: where it runs. What outlives us (wireguard-go) must not hold a directory of ours.
        timeout_s: how long it may take, in seconds.

    Raises:
        Permanent: it is not installed, cannot be run, or did not end in time and was killed.
    """
    name = command[0]
    try:
        done = subprocess.run(
            command,
            input=text or None,
            stdin=None if text else stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            cwd=directory,
            start_new_session=True,  # a Ctrl-C is meant for us, who wait for it
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as exc:
        raise Permanent(missing) from exc
    except subprocess.TimeoutExpired as exc:
        raise Permanent(f"{name} did not end within {timeout_s:g} s and was killed") from exc
    except OSError as exc:
        raise Permanent(f"{name} cannot be run: {exc.strerror}") from exc
    return Ended(code=done.returncode, stdout=done.stdout or "", stderr=done.stderr)

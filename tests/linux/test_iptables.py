"""Does what is missing for iptables have a name?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

_READ = """
from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import iptables
try:
    print(iptables.saved("iptables-legacy"))
except Permanent as exc:
    print(exc)
"""


@pytest.mark.parametrize(
    ("without", "said"),
    [
        pytest.param(("setpriv", "--bounding-set", "-net_raw"), "CAP_NET_RAW", id="the capability"),
        pytest.param(("env", "PATH=/nonexistent"), "is not installed", id="the program"),
    ],
)
def test_what_is_missing_is_named_in_one_line(without: tuple[str, ...], said: str) -> None:
    with Namespace() as host:
        done = subprocess.run(
            host.inside(*without, sys.executable, "-c", _READ),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    (line,) = done.stdout.splitlines()
    assert line.startswith("iptables-legacy")
    assert said in line

"""What is said when a WireGuard device or its key is not as it should be?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.linux.machine import Machine

pytestmark = pytest.mark.kernel

_CONFIGURE = """
import sys
from pathlib import Path
from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import wireguard
try:
    wireguard.start_userspace("wg0")
    wireguard.configure("wg0", Path(sys.argv[1]), 51820)
except Permanent as exc:
    print(exc)
"""


def test_a_key_that_is_none_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("A" * 42 + "B=\n")  # 32 bytes in base64, but for one character
    with Machine() as host:
        said = host.run(sys.executable, "-c", _CONFIGURE, str(file))
    assert said == "link wg0: wg: Key is not the correct length or format\n"


def test_wireguard_gos_own_words_are_told_and_not_its_advice(tmp_path: Path) -> None:
    with Machine() as host:
        host.sh("mount -t tmpfs -o ro tmpfs /run")  # no place for its socket
        said = host.run(sys.executable, "-c", _CONFIGURE, str(tmp_path / "key"))
    (line,) = said.splitlines()
    assert line.startswith("link wg0: wireguard-go: ERROR: ")
    assert "read-only file system" in line

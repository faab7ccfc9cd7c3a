"""What does README.md show? Its code blocks, and their text without what differs from run to run."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"

_SAME = (
    (r"fd00:10:244:[0-9a-f:]*/64", "CIDR6"),
    (r"10\.244\.\d+\.0/24", "CIDR4"),
    (r"10\.244\.\d+\.\d+", "POD"),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"\d+\.\d+ s\b|\d+ ms\b", "DURATION"),
    (r"^ *\d+\.\d\ds ", "AT "),
    (r"all the while: (\d+)/\1 ", "all the while: ALL "),
    (r" +", " "),
)


def block_after(command: str) -> list[str]:
    """The lines of the code block that begins with `$ command`, without that line."""
    found = re.search(
        rf"^```\w*\n\$ {re.escape(command)}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"README.md shows no output of {command!r}"
    return found[1].splitlines()


def without_chance(lines: list[str]) -> list[str]:
    """The same for every run: sorted, since nodes come up side by side, and without times and who got which block."""
    same = []
    for line in lines:
        for pattern, name in _SAME:
            line = re.sub(pattern, name, line)
        same.append(line.strip())
    return sorted(line for line in same if line)

"""How long is `5m`? The duration text of the Kubernetes API (Go's time.ParseDuration), in seconds."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_LONGEST_S = float((1 << 63) - 1) / 1e9  # Go counts nanoseconds in 64 bits


def duration_s(text: str) -> float:
    """Seconds of a duration like `1h30m`, `300ms` or `0`.

    Raises:
        ValueError: not such a text, negative, or too long; the message names it.
    """
    if text == "0":
        return 0.0
    position, total = 0, 0.0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if not text or position != len(text):
        raise ValueError(f"{text!r} is not a duration; write it like 5m, 90s or 1h30m")
    if total > _LONGEST_S:
        raise ValueError(
            f"{text!r} is longer than a duration can be, 292 years; write it like 5m, 90s or 1h30m"
        )
    return total

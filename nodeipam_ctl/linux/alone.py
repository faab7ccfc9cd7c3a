"""Who may program this host? One process at a time: two with different settings would undo each other's work for ever."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from nodeipam_ctl.errors import UsageError

# An abstract name belongs to the network namespace, as what it guards does, and the kernel frees it even after kill -9.
_NAME = "\0nodeipam-ctl/host"


@contextmanager
def alone() -> Iterator[None]:
    """Nobody else of us is in here meanwhile.

    Raises:
        UsageError: somebody is.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as held:
        try:
            held.bind(_NAME)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            raise UsageError(
                "another nodeipam-ctl agent or cleanup is at work in this network namespace: stop it first"
            ) from exc
        yield

"""Who changed something in a directory? Names, as the kernel tells them (inotify(7)); through libc, since Python has no call for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

_IN_ATTRIB, _IN_CLOSE_WRITE, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_DELETE = 0x4, 0x8, 0x40, 0x80, 0x200
_IN_Q_OVERFLOW, _IN_IGNORED = 0x4000, 0x8000
_ALL = _IN_ATTRIB | _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_DELETE
_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """Hears of a directory's files; never blocks. A directory that is removed is made again, and heard of again.

    Raises:
        OSError: this user has too many of them already (EMFILE).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(
                ctypes.get_errno(), "too many inotify instances: raise fs.inotify.max_user_instances"
            )
        self._watch()

    def fileno(self) -> int:
        """For the event loop."""
        return self._descriptor

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._descriptor)

    def read(self) -> tuple[list[str], bool]:
        """Names of what changed, and whether something was lost since: then only looking tells."""
        names: list[str] = []
        lost = False
        with contextlib.suppress(BlockingIOError):
            while True:
                data = os.read(self._descriptor, _READ_BYTES)
                place = 0
                while place < len(data):
                    _, mask, _, length = _EVENT.unpack_from(data, place)
                    place += _EVENT.size
                    if mask & (_IN_Q_OVERFLOW | _IN_IGNORED):
                        lost = True
                    elif length:
                        names.append(os.fsdecode(data[place : place + length].rstrip(b"\0")))
                    if mask & _IN_IGNORED:
                        self._watch()
                    place += length
        return names, lost

    def _watch(self) -> None:
        # Without it the next audit finds what changed: not worth failing for.
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            _libc.inotify_add_watch(self._descriptor, os.fsencode(self._directory), _ALL)

"""How are files and sysctls of ours read and written? Atomically, and only when they differ."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.routing.state import HostFile, Sysctl


def read_file(path: Path) -> HostFile | None:
    """A file's text and mode; None when there is none.

    Raises:
        Permanent: it exists and cannot be read, or is something else than a file.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # to open a pipe would wait for its writer, perhaps for ever
            raise Permanent(f"file {path}: is no regular file; remove it")
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise Permanent(
            f"file {path}: cannot be read: {exc.strerror}; check its owner and the mount"
        ) from exc
    return HostFile(path=str(path), text=text, mode=mode & 0o777)


def write_file(file: HostFile) -> None:
    """Puts a file in place in one step: a reader sees the old text or the new one, never half of it.

    Raises:
        Permanent: the directory does not allow it.
    """
    path = Path(file.path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A leading dot and no known suffix: runtimes that watch the directory must not take it for a configuration.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(file.text)
            os.fchmod(stream.fileno(), file.mode)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as exc:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise Permanent(
            f"file {path}: cannot be written: {exc.strerror}; check the directory and the mount"
        ) from exc


def remove_file(path: Path) -> None:
    """Removes a file if it is there.

    Raises:
        Permanent: the directory does not allow it.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise Permanent(
            f"file {path}: cannot be removed: {exc.strerror}; check the directory and the mount"
        ) from exc


def names_in(directory: Path) -> tuple[str, ...]:
    """The names in a directory, sorted; none when it does not exist."""
    try:
        return tuple(sorted(os.listdir(directory)))  # noqa: PTH208 - names, not paths
    except OSError:
        return ()


def read_sysctl(root: Path, name: str) -> Sysctl | None:
    """A setting below `root`, which is /proc/sys or a mount of it; None when this kernel or namespace has none of that name."""
    try:
        return Sysctl(name=name, value=(root / name).read_text(encoding="ascii").strip())
    except OSError:
        return None


def write_sysctl(root: Path, setting: Sysctl) -> None:
    """Changes a setting.

    Raises:
        Permanent: the kernel has no such setting, or it is read-only for us.
    """
    try:
        (root / setting.name).write_text(setting.value, encoding="ascii")
    except OSError as exc:
        raise Permanent(
            f"sysctl {setting.name.replace('/', '.')}: cannot be set to {setting.value}: {exc.strerror}; set it on the host, "
            "or mount the host's /proc/sys/net and name its place with --proc-sys-dir"
        ) from exc

"""How do CNI plug-in binaries get to where the runtime looks for them? Copied, atomically, and only those that differ."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from pathlib import Path

from nodeipam_ctl.errors import Permanent, UsageError


def install(source: Path, target: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Copies plug-ins; the names of those that were not there or differed.

    A running plug-in is never written over: the new file takes the name, the old one lives until its process ends.

    Raises:
        UsageError: a plug-in is missing in the source.
        Permanent: the target cannot be written.
    """
    missing = [name for name in names if not (source / name).is_file()]
    if missing:
        raise UsageError(
            f"{source} has no plug-in {', '.join(missing)}; install containernetworking-plugins there"
        )
    written = []
    for name in names:
        origin, place = source / name, target / name
        if place.is_file() and filecmp.cmp(origin, place, shallow=False) and os.access(place, os.X_OK):
            continue
        try:
            target.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=target, prefix=f".{name}.")
            os.close(descriptor)
            shutil.copyfile(origin, temporary)
            Path(temporary).chmod(0o755)
            Path(temporary).replace(place)
        except OSError as exc:
            raise Permanent(
                f"{place}: cannot be written: {exc.strerror}; check the mount of the host's directory"
            ) from exc
        written.append(name)
    return tuple(written)

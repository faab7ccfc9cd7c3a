"""Where does a script find the demo's kubeconfig? In the file it named, complete as soon as it exists, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nodeipam_ctl.errors import UsageError

MARK = "# kubeconfig of nodeipam-ctl demo: it works while the demo runs"
"""The first line of our files: we overwrite and remove nothing without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeconfigFile:
    """A file to be written, held by its directory so that a process in another mount namespace can write it as well.

    Attributes:
        directory: an open descriptor.
    """

    directory: int
    name: str

    @classmethod
    def at(cls, path: Path) -> Self:
        """The file of a path, not yet written.

        Raises:
            UsageError: somebody else's file is there, or the directory is not one we may write to.
        """
        try:
            if path.exists() and not _is_ours(path):
                raise UsageError(
                    f"--kubeconfig-out {path}: a file of somebody else is there; name another one"
                )
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise UsageError(
                f"--kubeconfig-out {path}: {exc.strerror}; name a file in a directory that is there"
            ) from exc
        if not os.access(path.parent, os.W_OK):
            raise UsageError(
                f"--kubeconfig-out {path}: {path.parent} may not be written to; name another directory"
            )
        return cls(directory=directory, name=path.name)

    def to_hand_over(self) -> dict[str, Any]:
        """What another process needs, which inherits the descriptor as well."""
        return {"directory": self.directory, "name": self.name}

    @classmethod
    def handed_over(cls, values: Mapping[str, Any]) -> Self:
        """The file in the process that inherited it."""
        return cls(directory=values["directory"], name=values["name"])

    def write(self, kubeconfig: str) -> None:
        """Writes it in one step: whoever sees the file sees all of it. Only its owner may read it.

        Raises:
            UsageError: no file can be made there.
        """
        part = f".{self.name}.part"
        try:
            # A new file, not one that somebody left for us in /tmp, open to all or linked to elsewhere.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=self.directory)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.directory)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{MARK}\n{kubeconfig}")
            os.replace(part, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as exc:
            raise UsageError(
                f"--kubeconfig-out {self.name}: cannot be written there: {exc.strerror}; name a file in another directory"
            ) from exc

    def remove(self) -> None:
        """Takes it away again."""
        for name in (self.name, f".{self.name}.part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.directory)
        os.close(self.directory)


def _is_ours(path: Path) -> bool:
    """A file we wrote, or an empty one; a FIFO is neither, and reading one would wait for ever."""
    if not path.is_file():
        return False
    return not path.stat().st_size or path.read_bytes().startswith(MARK.encode())

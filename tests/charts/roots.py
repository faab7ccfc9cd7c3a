"""How does the image come to be where there is no container engine? Its Dockerfile, done in Debian roots.

`python -m tests.charts.roots DOCKERFILE CONTEXT ROOT` makes one from a Dockerfile of a single stage (scripts/debian-kernel).

Everything runs in mount and PID namespaces of its own (`unshare`), so a killed test leaves no mount and no process.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.charts.dockerfile import Copy, Env, Run, Stage, Step, Workdir, context, stages

_SUITE = "bookworm"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_root() -> Path:
    """A minimal Debian root, made once for this machine and never changed.

    Raises:
        CalledProcessError: debootstrap failed; its last words are in the output.
    """
    mirror = _mirror()
    cached = (
        Path(tempfile.gettempdir())
        / f"nodeipam-ctl-{_SUITE}-{hashlib.sha256(mirror.encode()).hexdigest()[:12]}"
    )
    with _alone(cached.with_suffix(".lock")):
        if not (cached / "etc/debian_version").exists():
            fresh = cached.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            _call(["debootstrap", "--variant=minbase", _SUITE, str(fresh), mirror])
            _copy_debian_sources(fresh)
            fresh.rename(cached)
    return cached


def build(stage: Stage, into: Path, *, source: Path, built: Mapping[str, Path]) -> None:
    """Does the steps of one stage in a copy of the base root.

    Args:
        into: the directory to make.
        source: the build context.
        built: the roots of the stages before.
    """
    _call(["cp", "--archive", "--reflink=auto", str(base_root()), str(into)])
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(Path("/etc", name), into / "etc" / name)
    directory, environment = "/", {"PATH": _PATH, "DEBIAN_FRONTEND": "noninteractive"}
    for step in stage.steps:
        directory = _do(step, into, directory, environment, source, built)


def run_in(root: Path, argv: Sequence[str], *, user: str = "root", environment: Mapping[str, str]) -> str:
    """The output of a command in a root, as the image's user would run it."""
    identity = [] if user == "root" else [f"--userspec={user}"]
    return _call([*_isolated(), "chroot", *identity, str(root), *argv], environment=environment)


def _do(
    step: Step,
    root: Path,
    directory: str,
    environment: dict[str, str],
    source: Path,
    built: Mapping[str, Path],
) -> str:
    """One step; the directory of the next."""
    match step:
        case Workdir(path=following):
            (root / following.lstrip("/")).mkdir(parents=True, exist_ok=True)
            return following
        case Env(variables=variables):
            environment |= variables
        case Copy(sources=names, target=target, stage=None):
            assert names == (".",), "only the whole context is copied"
            for path in context(source):
                _call(
                    [
                        "cp",
                        "--archive",
                        "--dereference",
                        str(path),
                        str(root / directory.lstrip("/") / target),
                    ]
                )
        case Copy(sources=names, target=target, stage=str(stage)):
            for source_name in names:
                _call(["cp", "--archive", f"{built[stage]}{source_name}", f"{root}{target}"])
        case Run(command=command):
            with _certificates(root) as trusted:
                script = f"cd {shlex.quote(directory)} && {command}"
                _call(
                    [*_isolated(), "chroot", str(root), "/bin/sh", "-c", script],
                    environment={**environment, **trusted},
                )
    return directory


@contextmanager
def _certificates(root: Path) -> Iterator[dict[str, str]]:
    """Lets pip and apt trust whom this machine trusts; nothing of it stays in the image."""
    bundle, lent = Path("/etc/ssl/certs/ca-certificates.crt"), root / "tmp" / "trusted.crt"
    if not bundle.exists():
        yield {}
        return
    shutil.copyfile(bundle, lent)
    try:
        yield {"PIP_CERT": "/tmp/trusted.crt", "SSL_CERT_FILE": "/tmp/trusted.crt"}
    finally:
        lent.unlink()


def _isolated() -> list[str]:
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]


def _mirror() -> str:
    """The Debian mirror of this machine, from its own sources."""
    listing = "\n".join(path.read_text() for path in _source_files())
    for pattern in (r"^URIs:\s*(\S+/debian/?)(?=\s|$)", r"^deb\s+(?:\[[^]]*\]\s+)?(\S+/debian/?)\s"):
        if found := re.search(pattern, listing, re.MULTILINE):
            return found[1]
    raise AssertionError("no Debian mirror in /etc/apt/sources.list or sources.list.d: name one there")


def _source_files() -> list[Path]:
    return [
        p
        for p in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*")))
        if p.is_file()
    ]


def _copy_debian_sources(root: Path) -> None:
    """Debian's own entries of this machine, security updates included, but no third party's."""
    for path in _source_files():
        if _SUITE in path.read_text() and "/usr/share/keyrings/debian-archive-keyring" in path.read_text():
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Test processes that run side by side make the root once."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _call(argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        env=None if environment is None else dict(environment),
    )
    assert done.returncode == 0, (
        f"{shlex.join(argv)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
    return done.stdout


if __name__ == "__main__":
    _dockerfile, _source, _into = map(Path, sys.argv[1:])
    (_stage,) = stages(_dockerfile.read_text())
    build(_stage, _into, source=_source, built={})

"""Who are we, and where is the API server? A kubeconfig or the Pod's service account, as one `Access`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nodeipam_ctl.errors import UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class TokenSource(Protocol):
    """Gives the bearer token to send now."""

    async def token(self) -> str:
        """The token; asked for before every request, so it must be cheap.

        Raises:
            Transient: there is none at this moment.
        """
        ...

    def rejected(self) -> None:
        """The server answered 401: whatever is cached is not good any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one API server; secrets are never part of its text.

    Attributes:
        server: scheme, host, port and path prefix, without a slash at the end.
        ssl: None for plain http.
        server_hostname: the name the certificate is checked against, when it is not the URL's host.
        token: None when a client certificate, or nothing, says who we are.
        namespace: the Pod's or the context's namespace.
        origin: where this came from, for messages.
    """

    server: str
    ssl: ssl.SSLContext | None = field(default=None, repr=False)
    server_hostname: str | None = None
    token: TokenSource | None = field(default=None, repr=False)
    namespace: str = "default"
    origin: str = ""


class StaticToken:
    """A token that never changes."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "StaticToken(***)"

    async def token(self) -> str:
        """The token."""
        return self._token

    def rejected(self) -> None:
        """Nothing better is known."""


class TokenFile:
    """A token in a file that somebody rotates: kubelet writes a new service account token about every hour.

    The file is looked at most once in `check_every_s` and read only when its inode, size or time changed, so that a
    request costs no system call in the usual case.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float], check_every_s: float = 10.0) -> None:
        self._path = path
        self._clock = clock
        self._check_every_s = check_every_s
        self._look_at_s = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._token = ""
        self._read()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    async def token(self) -> str:
        """The file's present content; the last good one while the file cannot be read."""
        if self._clock() >= self._look_at_s:
            try:
                self._read()
            except UsageError:
                # Between removal and replacement of the file: the last token is most likely still good.
                self._look_at_s = self._clock() + self._check_every_s
        return self._token

    def rejected(self) -> None:
        """Looks at the file again at the next request."""
        self._look_at_s = 0.0
        self._seen = None

    def _read(self) -> None:
        try:
            info = self._path.stat()
            stamp = (info.st_ino, info.st_size, info.st_mtime_ns)
            if stamp != self._seen:
                token = self._path.read_text(encoding="ascii").strip()
                if not token or any(c.isspace() for c in token):
                    raise UsageError(f"token file {self._path} holds no token; check the service account")
                self._token, self._seen = token, stamp
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot read token file {self._path}: {_reason(exc)}; check the mount") from exc
        self._look_at_s = self._clock() + self._check_every_s


async def load(kubeconfig: Path | None, *, environment: dict[str, str] | None = None) -> Access:
    """How to reach the API server: by a kubeconfig file, or in a Pod by its service account.

    The user entries that need a program run (exec plugins) or a login flow are left to kubernetes_asyncio, which is
    imported only then.

    Raises:
        UsageError: one line that names the file, what is wrong with it and what to do.
    """
    env = dict(os.environ) if environment is None else environment
    if kubeconfig is None:
        return in_cluster(env)
    from nodeipam_ctl.kube.kubeconfig import read  # PyYAML: an agent in a Pod does without

    return await read(kubeconfig)


def in_cluster(environment: dict[str, str], *, directory: Path = SERVICE_ACCOUNT) -> Access:
    """The Access of a Pod's service account.

    Raises:
        UsageError: we are not in a Pod, or it has no service account token.
    """
    import time

    host = environment.get("KUBERNETES_SERVICE_HOST", "").strip()
    port = environment.get("KUBERNETES_SERVICE_PORT", "").strip() or "443"
    if not host:
        raise UsageError(
            "no API server is known: KUBERNETES_SERVICE_HOST is not set, so this is not a Pod; give --kubeconfig FILE"
        )
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    ca_file = directory / "ca.crt"
    context = tls_context(origin=str(ca_file), ca_file=ca_file)
    try:
        namespace = (directory / "namespace").read_text(encoding="utf-8").strip() or "default"
    except (OSError, ValueError):
        namespace = "default"
    return Access(
        server=f"https://{host}:{port}",
        ssl=context,
        token=TokenFile(directory / "token", clock=time.monotonic),
        namespace=namespace,
        origin="the Pod's service account",
    )


def tls_context(
    *,
    origin: str,
    ca_file: Path | None = None,
    ca_data: bytes | None = None,
    insecure: bool = False,
) -> ssl.SSLContext:
    """A client context that verifies the server: against the given CA, or the system's when none is given.

    Raises:
        UsageError: the CA cannot be read or is not PEM.
    """
    try:
        context = ssl.create_default_context(
            cafile=str(ca_file) if ca_file is not None else None,
            cadata=ca_data.decode("ascii") if ca_data is not None else None,
        )
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"{origin}: cannot use the certificate authority: {_reason(exc)}; it must be readable PEM"
        ) from exc
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return exc.reason or "not PEM"
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return "not text"

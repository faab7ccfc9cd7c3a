"""What does a kubeconfig file say? The ordinary fields, read here; login plugins are handed to kubernetes_asyncio."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import ssl
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.kube.auth import Access, StaticToken, TokenFile, TokenSource, tls_context

_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One mapping of the file, which knows where it stands so that every message can say so."""

    file: Path
    where: str
    values: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(f"{key} must be text")
        return value.strip()

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.error(f"{key} must be true or false")
        return value

    def path(self, key: str) -> Path | None:
        """A file named by the kubeconfig; relative names are relative to the kubeconfig, as kubectl has it."""
        value = self.text(key)
        return self.file.parent / value if value else None

    def data(self, key: str) -> bytes | None:
        value = self.text(key)
        if not value:
            return None
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise self.error(f"{key} is not base64") from exc

    def error(self, problem: str) -> UsageError:
        return UsageError(f"kubeconfig {self.file}: {self.where}: {problem}")


async def read(file: Path) -> Access:
    """The Access of the file's current context.

    Raises:
        UsageError: one line that names the file, the entry, what is wrong and what to do.
    """
    document = _document(file)
    top = _Section(file=file, where="top level", values=document)
    current = top.text("current-context")
    if not current:
        raise top.error("current-context is not set; choose one with: kubectl config use-context NAME")
    context = _entry(top, "contexts", "context", current)
    cluster = _entry(top, "clusters", "cluster", context.text("cluster"))
    user_name = context.text("user")
    user = _entry(top, "users", "user", user_name) if user_name else None
    server = _server(cluster)
    tls = _tls(cluster) if server.startswith("https://") else None
    token: TokenSource | None = None
    if user is not None:
        token = _token(user)
        if token is None and (user.values.get("exec") or user.values.get("auth-provider")):
            from nodeipam_ctl.kube.loginplugin import (
                login,  # kubernetes_asyncio: 70 MB, only for who needs it
            )

            token = await login(file, user_name=user_name, tls=tls)
        if tls is not None:
            _load_client_certificate(user, tls)
    return Access(
        server=server,
        ssl=tls,
        server_hostname=cluster.text("tls-server-name") or None,
        token=token,
        namespace=context.text("namespace") or "default",
        origin=f"kubeconfig {file}",
    )


def _document(file: Path) -> Mapping[str, Any]:
    from nodeipam_ctl.kube.wire.yaml_text import NotYAML, documents  # PyYAML: not in a Pod

    try:
        raw = _content(file)
    except OSError as exc:
        raise UsageError(
            f"kubeconfig {file}: cannot be read: {exc.strerror or exc}; check the path and its permissions"
        ) from exc
    try:
        found = documents(raw)
    except NotYAML as exc:
        raise UsageError(f"kubeconfig {file}: {exc}; check that it is the right file") from exc
    document = found[0] if len(found) == 1 else None
    if not isinstance(document, dict):
        raise UsageError(
            f"kubeconfig {file}: not a kubeconfig (no mapping at its top); check that it is the right file"
        )
    return document


def _content(file: Path) -> bytes:
    """What the file holds; nothing here waits for what is no file, and the login plugin reads it a second time."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise UsageError(
                f"kubeconfig {file}: a pipe or device, not a regular file; write it into a file first"
            )
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UsageError(f"kubeconfig {file}: larger than 4 MiB, so it is no kubeconfig; check the path")
    return content


def _entry(top: _Section, plural: str, singular: str, name: str) -> _Section:
    """The entry called `name` in one of the file's three lists."""
    entries = top.values.get(plural)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            values = entry.get(singular)
            where = f"{singular} {name!r}"
            if not isinstance(values, dict):
                raise _Section(file=top.file, where=where, values={}).error("has no content")
            return _Section(file=top.file, where=where, values=values)
    raise top.error(f"there is no {singular} named {name!r} in {plural}; see: kubectl config view")


def _server(cluster: _Section) -> str:
    server = cluster.text("server").rstrip("/")
    try:
        parts = urlsplit(server)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise cluster.error(f"server {server!r} is not a URL; write https://HOST:PORT")
    if parts.username or parts.password:
        raise cluster.error("server holds a user name or password; put credentials into the user entry")
    if cluster.text("proxy-url"):
        raise cluster.error("proxy-url is not supported; use a server address that is reachable directly")
    return server


def _tls(cluster: _Section) -> ssl.SSLContext:
    insecure = cluster.flag("insecure-skip-tls-verify")
    ca_data, ca_file = cluster.data("certificate-authority-data"), cluster.path("certificate-authority")
    if insecure and (ca_data or ca_file):
        raise cluster.error(
            "insecure-skip-tls-verify and a certificate authority exclude each other; remove one"
        )
    return tls_context(
        origin=f"kubeconfig {cluster.file}: {cluster.where}",
        ca_file=None if ca_data else ca_file,  # the data wins over the file, as in client-go
        ca_data=ca_data,
        insecure=insecure,
    )


def _token(user: _Section) -> TokenSource | None:
    if user.text("username") or user.text("password"):
        raise user.error(
            "username and password are not supported (Kubernetes removed them in 1.19); use a token"
        )
    file = user.path("tokenFile")
    if file is not None:
        return TokenFile(file, clock=time.monotonic)
    token = user.text("token")
    if not token:
        return None
    if not token.isascii() or any(c.isspace() for c in token):
        raise user.error("token holds spaces or characters that HTTP does not allow; get a new one")
    return StaticToken(token)


def _load_client_certificate(user: _Section, tls: ssl.SSLContext) -> None:
    certificate, key = user.data("client-certificate-data"), user.data("client-key-data")
    certificate_file, key_file = user.path("client-certificate"), user.path("client-key")
    has_certificate, has_key = bool(certificate or certificate_file), bool(key or key_file)
    if not has_certificate and not has_key:
        return
    if has_certificate != has_key:
        raise user.error("a client certificate and its key go together, and one is missing")
    # OpenSSL's loader takes files only. The directory is ours alone (0700), the files 0600, and both are gone right after.
    with tempfile.TemporaryDirectory(prefix="nodeipam-", dir=_memory_directory()) as folder:
        cert = _as_file(Path(folder) / "client.crt", certificate) if certificate else certificate_file
        private = _as_file(Path(folder) / "client.key", key) if key else key_file
        assert cert is not None
        try:
            tls.load_cert_chain(cert, private, password=_no_password)
        except (OSError, ValueError) as exc:
            reason = exc.reason if isinstance(exc, ssl.SSLError) else getattr(exc, "strerror", None)
            raise user.error(
                f"cannot use the client certificate: {reason or 'not PEM, or the key has a password'}; "
                "certificate and key must be PEM and belong together"
            ) from exc


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal for an encrypted key's password."""
    raise ValueError("the key has a password")


def _as_file(path: Path, content: bytes) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    return path


def _memory_directory() -> str | None:
    """A key should not touch a disk when memory is at hand."""
    shm = Path("/dev/shm")  # noqa: S108 - TemporaryDirectory makes its own 0700 directory inside
    return str(shm) if shm.is_dir() and os.access(shm, os.W_OK | os.X_OK) else None

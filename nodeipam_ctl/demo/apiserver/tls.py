"""Who vouches for the server? A throw-away CA, a server certificate and client certificates, made by openssl."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority in a folder of its own; the folder goes with it.

    Attributes:
        ca_pem: Its certificate.
        context: What the server listens with; client certificates are asked for, not required.
    """

    ca_pem: bytes
    context: ssl.SSLContext
    folder: tempfile.TemporaryDirectory[str]

    async def client_certificate(self, user: str, groups: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
        """A client certificate and its key as PEM: CN is the user, every O a group."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        folder = Path(self.folder.name)
        await _issue(folder, "client", subject, "extendedKeyUsage=clientAuth")
        return (folder / "client.crt").read_bytes(), (folder / "client.key").read_bytes()


async def make_authority(addresses: tuple[str, ...]) -> Authority:
    """A new CA and a server certificate for `addresses` (IP addresses).

    Raises:
        Permanent: openssl is missing or refuses.
    """
    with ExitStack() as undo:
        folder = tempfile.TemporaryDirectory(prefix="nodeipam-tls-")
        undo.callback(folder.cleanup)
        context = await _certified(Path(folder.name), addresses)
        undo.pop_all()
    return Authority(ca_pem=(Path(folder.name) / "ca.crt").read_bytes(), context=context, folder=folder)


async def _certified(path: Path, addresses: tuple[str, ...]) -> ssl.SSLContext:
    """A context with a new server certificate of a new CA; both are in the folder."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    await _openssl(
        path,
        "req",
        "-x509",
        *key,
        "-days",
        "30",
        "-subj",
        "/CN=nodeipam-demo-ca",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    )
    names = ",".join(
        ["DNS:localhost", "DNS:kubernetes.default.svc", *(f"IP:{address}" for address in addresses)]
    )
    await _issue(path, "server", "/CN=kube-apiserver", f"subjectAltName={names}\nextendedKeyUsage=serverAuth")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(path / "ca.crt"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(path / "server.crt", path / "server.key")
    return context


async def _issue(folder: Path, name: str, subject: str, extensions: str) -> None:
    (folder / f"{name}.ext").write_text(extensions + "\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    await _openssl(folder, "req", *key, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signing = (
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        f"{name}.ext",
    )
    await _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")


async def _openssl(folder: Path, *arguments: str) -> None:
    ended = await asyncio.to_thread(
        programs.run,
        ["openssl", *arguments],
        directory=folder,
        missing="openssl is not installed, but TLS was asked for: install openssl or use plain HTTP",
    )
    if ended.code:
        # What is wrong comes last.
        raise Permanent(f"openssl {arguments[0]} failed: {' '.join(ended.stderr.split())[-300:]}")

"""Who vouches for the server? A throw-away CA, a server certificate and client certificates, made by openssl."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nodeipam_ctl.errors import Permanent


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
    folder = tempfile.TemporaryDirectory(prefix="nodeipam-tls-")
    path = Path(folder.name)
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
    return Authority(ca_pem=(path / "ca.crt").read_bytes(), context=context, folder=folder)


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
    try:
        process = await asyncio.create_subprocess_exec(
            "openssl",
            *arguments,
            cwd=folder,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as exc:
        raise Permanent(
            "openssl is not installed, but TLS was asked for: install openssl or use plain HTTP"
        ) from exc
    _, complaint = await process.communicate()
    if process.returncode:
        raise Permanent(f"openssl {arguments[0]} failed: {complaint.decode(errors='replace').strip()[-300:]}")

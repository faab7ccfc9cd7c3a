"""How does a client find this server? A kubeconfig for kubectl, Helm and every client library."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml

from nodeipam_ctl.demo.apiserver.errors import Json


def text(
    *,
    url: str,
    token: str,
    ca_pem: bytes | None = None,
    name: str = "nodeipam-demo",
    namespace: str = "default",
) -> str:
    """A kubeconfig with one cluster, one user (bearer token), one context."""
    cluster: Json = {"server": url}
    if ca_pem is not None:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    return yaml.safe_dump(config, sort_keys=False)


def write(path: Path, content: str) -> None:
    """Write a kubeconfig that only its owner can read (mode 0600): it holds a token."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)

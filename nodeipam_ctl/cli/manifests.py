"""Which ClusterCIDRs does a file hold? YAML or JSON, one document or several, or a List; `-` is standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from nodeipam_ctl.cli.flags import object_name
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.kube.wire.cluster_cidrs import X_K8S_GROUP
from nodeipam_ctl.kube.wire.manifests import read_manifest
from nodeipam_ctl.kube.wire.yaml_text import NotYAML, Repeated, documents
from nodeipam_ctl.model import ClusterCIDR, PoolName

_MOST_BYTES = 4 << 20


def read_files(files: tuple[str, ...]) -> tuple[ClusterCIDR, ...]:
    """The ClusterCIDRs of all files, in their order.

    Raises:
        UsageError: one line that names the file, the document, what is wrong and what to do.
    """
    found: dict[PoolName, ClusterCIDR] = {}
    for file in files:
        where = "standard input" if file == "-" else file
        count = 0
        for number, document in enumerate(_documents(where, _content(file, where)), start=1):
            try:
                pool = read_manifest(document)
            except ValueError as exc:
                raise UsageError(f"{where}: document {number}: {exc}") from exc
            object_name(
                f"{where}: document {number}: metadata.name", pool.name.removeprefix(f"{X_K8S_GROUP}/")
            )
            if pool.name in found:
                raise UsageError(
                    f"{where}: document {number}: ClusterCIDR {pool.name} is given twice; leave one out"
                )
            found[pool.name] = pool
            count += 1
        if not count:
            raise UsageError(f"{where}: no ClusterCIDR in it; give a manifest as for kubectl apply")
    return tuple(found.values())


def _content(file: str, where: str) -> bytes:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{where}: cannot be read: {exc.strerror or exc}; check the path") from exc
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{where}: larger than 4 MiB, so these are no ClusterCIDRs; check the path")
    return content


def _documents(where: str, content: bytes) -> Iterator[object]:
    """The objects, with Lists taken apart and empty documents left out."""
    try:
        loaded = documents(content, unique_keys=True)
    except Repeated as exc:
        raise UsageError(f"{where}: {exc}; leave one out") from exc
    except NotYAML as exc:
        raise UsageError(
            f"{where}: {str(exc).replace('not YAML', 'neither YAML nor JSON')}; check the file"
        ) from exc
    for document in loaded:
        items = document.get("items") if isinstance(document, Mapping) else None
        if isinstance(items, list) and str(document.get("kind", "")).endswith("List"):
            yield from items
        elif document is not None:
            yield document

"""What does a URL path name? Group, version, namespace, resource, object and subresource."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote


class Target(NamedTuple):
    """An API path, parsed; empty strings where a part is absent."""

    group: str
    version: str
    namespace: str
    resource: str
    name: str
    subresource: str


def parse(path: str) -> Target | None:
    """The resource an API path names, or None for every other path (discovery, probes).

    `/api/v1/namespaces/x` is the Namespace x; `/api/v1/namespaces/x/pods` the Pods in it
    (apiserver's RequestInfoFactory draws the same line).
    """
    parts = (unquote(path) if "%" in path else path).strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    size = len(rest)
    return Target(
        group,
        version,
        namespace,
        rest[0],
        rest[1] if size > 1 else "",
        "/".join(rest[2:]) if size > 2 else "",
    )

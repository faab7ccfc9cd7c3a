"""Which ranges belong to Services? networking.k8s.io/v1 ServiceCIDR objects (Kubernetes 1.33 and later)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from nodeipam_ctl.kube.wire.envelope import (
    BAD_JSON,
    Metadata,
    Unreadable,
    decode_metadata,
    reason_of,
    unreadable,
)
from nodeipam_ctl.model import ServiceCIDR
from nodeipam_ctl.prefixes import parse_network

SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


class _Spec(msgspec.Struct, gc=False):
    cidrs: list[str] | None = None


class _ServiceCIDR(msgspec.Struct, gc=False):
    metadata: Metadata
    spec: _Spec


_decoder = msgspec.json.Decoder(_ServiceCIDR)


def decode_service_cidr(raw: bytes | Raw | Mapping[str, Any]) -> ServiceCIDR | Unreadable | None:
    """The ranges of one ServiceCIDR."""
    document = msgspec.json.encode(raw) if isinstance(raw, Mapping) else raw
    try:
        given = _decoder.decode(document)
        metadata = given.metadata
        if not metadata.name:
            return None
        return ServiceCIDR(
            name=metadata.name,
            uid=metadata.uid,
            resource_version=metadata.resourceVersion,
            cidrs=tuple(parse_network(text) for text in given.spec.cidrs or ()),
        )
    except (*BAD_JSON, ValueError) as exc:
        found = decode_metadata(document)
        if found is None or not found.name:
            return None
        return unreadable("ServiceCIDR", found, reason_of(exc))

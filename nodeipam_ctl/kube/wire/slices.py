"""What does a PodCIDRSlice, one page of the ledger, say? And how is a page written back?"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec
from msgspec import Raw

from nodeipam_ctl.kube.wire.envelope import (
    BAD_JSON,
    Metadata,
    Unreadable,
    decode_metadata,
    reason_of,
    rfc3339,
    seconds,
    unreadable,
)
from nodeipam_ctl.model import (
    Finding,
    LedgerEntry,
    LedgerPage,
    LedgerState,
    NodeName,
    NodeUID,
    PoolName,
    Severity,
)
from nodeipam_ctl.prefixes import Address, contains, family_of, parse_address, parse_network
from nodeipam_ctl.routing.mixing import known_form
from nodeipam_ctl.settings import API_GROUP, API_VERSION

POD_CIDR_SLICES = f"/apis/{API_GROUP}/{API_VERSION}/podcidrslices"
FAMILY_LABEL = f"{API_GROUP}/family"
TURN_ANNOTATION = f"{API_GROUP}/turn"
"""Counts the writes of a page: a write that changes nothing else would leave its resourceVersion as it is."""


class _Page(msgspec.Struct, gc=False):
    metadata: Metadata
    page: str
    entries: list[Raw] | None = None


class _Entry(msgspec.Struct, gc=False, omit_defaults=True):
    cidr: str
    state: LedgerState
    node: str = ""
    nodeUID: str = ""  # noqa: N815 - here and below: the API's spelling
    clusterCIDR: str = ""  # noqa: N815
    addresses: list[str] | None = None
    backend: str = ""
    wireguardPublicKey: str = ""  # noqa: N815
    since: str | None = None
    reusableAt: str | None = None  # noqa: N815


_decoder = msgspec.json.Decoder(_Page)
_entry_decoder = msgspec.json.Decoder(_Entry)


def decode_slice(raw: bytes | Raw | Mapping[str, Any]) -> LedgerPage | Unreadable | None:
    """A page of the ledger; a line that makes no sense is a Finding of its page, and the other lines are used."""
    document = msgspec.json.encode(raw) if isinstance(raw, Mapping) else raw
    try:
        given = _decoder.decode(document)
        page = parse_network(given.page)
    except (*BAD_JSON, ValueError) as exc:
        metadata = decode_metadata(document)
        if metadata is None or not metadata.name:
            return None
        return unreadable("PodCIDRSlice", metadata, reason_of(exc))
    metadata = given.metadata
    if not metadata.name:
        return None
    entries: list[LedgerEntry] = []
    findings: list[Finding] = []
    for index, line in enumerate(given.entries or ()):
        try:
            entry = _entry(_entry_decoder.decode(line))
            if not contains(page, entry.cidr):
                raise ValueError(f"{entry.cidr} is outside the page {page}")
            if entry.state is LedgerState.BOUND and not (entry.node and entry.node_uid):
                raise ValueError(f"{entry.cidr} is Bound, and node and nodeUID do not both say whose it is")
            entries.append(entry)
        except (*BAD_JSON, ValueError) as exc:
            findings.append(
                Finding(
                    severity=Severity.ERROR,
                    code="UnreadableLedgerLine",
                    subject=f"podcidrslice/{metadata.name}",
                    message=f"entries[{index}]: {reason_of(exc)}",
                    remedy="only nodeipam-ctl writes these objects: correct or remove the line",
                )
            )
    return LedgerPage(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resourceVersion,
        page=page,
        turn=_turn(metadata),
        entries=tuple(entries),
        findings=tuple(findings),
    )


def encode_slice(page: LedgerPage) -> bytes:
    """The object of a page: POST it when `resource_version` is empty, else PUT it, which fails if it changed meanwhile."""
    metadata: dict[str, object] = {
        "name": page.name,
        "labels": {FAMILY_LABEL: family_of(page.page).value},
        "annotations": {TURN_ANNOTATION: str(page.turn)},
    }
    if page.resource_version:
        metadata["resourceVersion"] = page.resource_version
    if page.uid:
        metadata["uid"] = page.uid
    return msgspec.json.encode(
        {
            "apiVersion": f"{API_GROUP}/{API_VERSION}",
            "kind": "PodCIDRSlice",
            "metadata": metadata,
            "page": str(page.page),
            "entries": [_line(entry) for entry in page.entries],
        }
    )


def _turn(metadata: Metadata) -> int:
    text = (metadata.annotations or {}).get(TURN_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _entry(given: _Entry) -> LedgerEntry:
    addresses: list[Address] = [parse_address(text) for text in given.addresses or ()]
    return LedgerEntry(
        cidr=parse_network(given.cidr),
        state=given.state,
        node=NodeName(given.node),
        node_uid=NodeUID(given.nodeUID),
        cluster_cidr=PoolName(intern(given.clusterCIDR)),  # a few pools on thousands of lines
        addresses=tuple(addresses),
        backend=known_form(given.backend),
        wireguard_public_key=given.wireguardPublicKey,
        since_s=seconds(given.since),
        reusable_at_s=seconds(given.reusableAt),
    )


def _line(entry: LedgerEntry) -> _Entry:
    return _Entry(
        cidr=str(entry.cidr),
        state=entry.state,
        node=entry.node,
        nodeUID=entry.node_uid,
        clusterCIDR=entry.cluster_cidr,
        addresses=[str(address) for address in entry.addresses] or None,
        backend=entry.backend,
        wireguardPublicKey=entry.wireguard_public_key,
        since=rfc3339(entry.since_s) if entry.since_s else None,
        reusableAt=rfc3339(entry.reusable_at_s) if entry.reusable_at_s else None,
    )

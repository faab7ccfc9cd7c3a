"""What does a ClusterCIDR say? Ours (nodeipam.dev/v1alpha1) and the one of networking.x-k8s.io/v1, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.podcidrs import special
from nodeipam_ctl.kube.wire.duration import duration_s
from nodeipam_ctl.kube.wire.envelope import (
    BAD_JSON,
    Metadata,
    Unreadable,
    decode_metadata,
    reason_of,
    seconds,
    unreadable,
)
from nodeipam_ctl.model import (
    ClusterCIDR,
    FamilySpec,
    NodeName,
    NodeSelector,
    Operator,
    PoolName,
    Requirement,
    Retain,
    SelectorTerm,
    StaticBlock,
)
from nodeipam_ctl.prefixes import Family, Network, family_of, overlaps, parse_masked, parse_network
from nodeipam_ctl.settings import API_GROUP, API_VERSION

CLUSTER_CIDRS = f"/apis/{API_GROUP}/{API_VERSION}/clustercidrs"
X_K8S_GROUP = "networking.x-k8s.io"
X_K8S_CLUSTER_CIDRS = f"/apis/{X_K8S_GROUP}/v1/clustercidrs"

NOT_ALLOCATING = "NotAllocating"
"""Why no ClusterCIDR is Ready while the controller runs with --no-allocate."""

_DEFAULT_MASK = {Family.IPV4: 24, Family.IPV6: 64}
"""What the CRD fills in: a file that is not applied yet does not have it."""

_LONGEST_MASK = {Family.IPV4: 30, Family.IPV6: 126}
_SHORTEST_MASK = {Family.IPV4: 9, Family.IPV6: 33}


class _Requirement(msgspec.Struct, gc=False):
    key: str
    operator: Operator
    values: list[str] | None = None


class _Term(msgspec.Struct, gc=False):
    matchExpressions: list[_Requirement] | None = None  # noqa: N815 - here and below: the API's spelling
    matchFields: list[_Requirement] | None = None  # noqa: N815


class _Selector(msgspec.Struct, gc=False):
    nodeSelectorTerms: list[_Term] | None = None  # noqa: N815


class _Family(msgspec.Struct, gc=False):
    cidrs: list[str]
    nodeMaskSize: int | None = None  # noqa: N815
    exclude: list[str] | None = None


class _Static(msgspec.Struct, gc=False):
    node: str
    ipv4: str | None = None
    ipv6: str | None = None


class _Spec(msgspec.Struct, gc=False):
    nodeSelector: _Selector | None = None  # noqa: N815
    priority: int | None = None
    ipv4: _Family | None = None
    ipv6: _Family | None = None
    disabled: bool | None = None
    reuseDelay: str | None = None  # noqa: N815
    retain: Retain | None = None
    static: list[_Static] | None = None


class _ClusterCIDR(msgspec.Struct, gc=False):
    metadata: Metadata
    spec: _Spec


class _XSpec(msgspec.Struct, gc=False):
    perNodeHostBits: int  # noqa: N815
    nodeSelector: _Selector | None = None  # noqa: N815
    ipv4: str = ""
    ipv6: str = ""


class _XClusterCIDR(msgspec.Struct, gc=False):
    metadata: Metadata
    spec: _XSpec


class _Condition(msgspec.Struct, gc=False):
    type: str = ""
    reason: str = ""


class _Status(msgspec.Struct, gc=False):
    conditions: list[_Condition] | None = None


class _Judged(msgspec.Struct, gc=False):
    status: _Status = msgspec.field(default_factory=_Status)


_decoder = msgspec.json.Decoder(_ClusterCIDR)
_judged_decoder = msgspec.json.Decoder(_Judged)
_x_decoder = msgspec.json.Decoder(_XClusterCIDR)


def decode_cluster_cidr(raw: bytes | Raw | Mapping[str, Any]) -> ClusterCIDR | Unreadable | None:
    """A nodeipam.dev ClusterCIDR; Unreadable with the reason when it makes no sense; None when it has no name."""
    document = _bytes(raw)
    try:
        given = _decoder.decode(document)
        if not given.metadata.name:
            return None
        return _cluster_cidr(given)
    except (*BAD_JSON, ValueError) as exc:
        return _refused(document, exc)


def decode_x_cluster_cidr(raw: bytes | Raw | Mapping[str, Any]) -> ClusterCIDR | Unreadable | None:
    """A networking.x-k8s.io ClusterCIDR, named `networking.x-k8s.io/NAME`; its finalizer is its own controller's."""
    document = _bytes(raw)
    try:
        given = _x_decoder.decode(document)
        if not given.metadata.name:
            return None
        return _x_cluster_cidr(given)
    except (*BAD_JSON, ValueError) as exc:
        return _refused(document, exc, prefix=f"{X_K8S_GROUP}/")


def is_only_mirrored(raw: bytes | Raw) -> bool:
    """Whether the status of a ClusterCIDR says that its controller allocates nothing."""
    try:
        stored = _judged_decoder.decode(raw).status
    except BAD_JSON:
        return False
    return any(c.type == "Ready" and c.reason == NOT_ALLOCATING for c in stored.conditions or ())


def _bytes(raw: bytes | Raw | Mapping[str, Any]) -> bytes | Raw:
    """Kopf gives mappings; one road for both is worth the microseconds, for pools are few."""
    return msgspec.json.encode(raw) if isinstance(raw, Mapping) else raw


def _refused(document: bytes | Raw, exc: Exception, *, prefix: str = "") -> Unreadable | None:
    metadata = decode_metadata(document)
    if metadata is None or not metadata.name:
        return None
    return unreadable("ClusterCIDR", metadata, reason_of(exc), name=prefix + metadata.name)


def _cluster_cidr(given: _ClusterCIDR) -> ClusterCIDR:
    metadata, spec = given.metadata, given.spec
    families: dict[Family, FamilySpec] = {}
    for family, field, entry in ((Family.IPV4, "ipv4", spec.ipv4), (Family.IPV6, "ipv6", spec.ipv6)):
        if entry is not None:
            families[family] = _family(family, f"spec.{field}", entry)
            for index, cidr in enumerate(families[family].cidrs):
                if word := special(family, key_of(cidr)):
                    raise ValueError(
                        f"spec.{field}.cidrs[{index}]: {cidr} begins with {word} space, which no pod can have"
                    )
    if not families:
        raise ValueError("spec: neither ipv4 nor ipv6 is given")
    try:
        reuse_delay_s = duration_s(spec.reuseDelay) if spec.reuseDelay is not None else 300.0
    except ValueError as exc:
        raise ValueError(f"spec.reuseDelay: {exc}") from exc
    return ClusterCIDR(
        name=PoolName(metadata.name),
        uid=metadata.uid,
        generation=metadata.generation,
        resource_version=metadata.resourceVersion,
        families=families,
        selector=_selector(spec.nodeSelector),
        priority=spec.priority or 0,
        disabled=bool(spec.disabled),
        reuse_delay_s=reuse_delay_s,
        retain=spec.retain or Retain.NONE,
        static=tuple(_static(index, entry) for index, entry in enumerate(spec.static or ())),
        terminating=metadata.deletionTimestamp is not None,
        finalizers=tuple(metadata.finalizers or ()),
        created_s=seconds(metadata.creationTimestamp),
    )


def _x_cluster_cidr(given: _XClusterCIDR) -> ClusterCIDR:
    metadata, spec = given.metadata, given.spec
    families: dict[Family, FamilySpec] = {}
    for family, field, text in ((Family.IPV4, "ipv4", spec.ipv4), (Family.IPV6, "ipv6", spec.ipv6)):
        if text:
            mask = family.bits - spec.perNodeHostBits
            cidr = str(_in_field(f"spec.{field}", text))
            families[family] = _family(family, f"spec.{field}", _Family(cidrs=[cidr], nodeMaskSize=mask))
    if not families:
        raise ValueError("spec: neither ipv4 nor ipv6 is given")
    return ClusterCIDR(
        name=PoolName(f"{X_K8S_GROUP}/{metadata.name}"),
        uid=metadata.uid,
        generation=metadata.generation,
        resource_version=metadata.resourceVersion,
        families=families,
        selector=_selector(spec.nodeSelector),
        terminating=metadata.deletionTimestamp is not None,
        finalizers=tuple(metadata.finalizers or ()),
        created_s=seconds(metadata.creationTimestamp),
    )


def _in_field(where: str, text: str) -> Network:
    """Host bits are cut off, as upstream does: nodes have podCIDRs from such ranges already."""
    try:
        return parse_masked(text)
    except ValueError as exc:
        raise ValueError(f"{where}: {exc}") from exc


def _family(family: Family, where: str, given: _Family) -> FamilySpec:
    cidrs = _networks(f"{where}.cidrs", given.cidrs, family)
    if not cidrs:
        raise ValueError(f"{where}.cidrs: at least one range is needed")
    mask = given.nodeMaskSize if given.nodeMaskSize is not None else _DEFAULT_MASK[family]
    if not _SHORTEST_MASK[family] <= mask <= _LONGEST_MASK[family]:
        raise ValueError(
            f"{where}.nodeMaskSize: /{mask} is not between /{_SHORTEST_MASK[family]} and /{_LONGEST_MASK[family]}"
        )
    for cidr in cidrs:
        if mask < cidr.prefixlen:
            raise ValueError(f"{where}.nodeMaskSize: a /{mask} block does not fit into {cidr}")
    exclude = _networks(f"{where}.exclude", given.exclude or (), family)
    for excluded in exclude:
        if not any(overlaps(excluded, cidr) for cidr in cidrs):
            raise ValueError(f"{where}.exclude: {excluded} is outside every range")
    return FamilySpec(cidrs=cidrs, node_mask_size=mask, exclude=exclude)


def _networks(where: str, texts: Iterable[str], family: Family) -> tuple[Network, ...]:
    found: list[Network] = []
    for index, text in enumerate(texts):
        try:
            network = parse_network(text)
        except ValueError as exc:
            raise ValueError(f"{where}[{index}]: {exc}") from exc
        if family_of(network) is not family:
            raise ValueError(f"{where}[{index}]: {text} is not {family}")
        found.append(network)
    return tuple(found)


def _selector(given: _Selector | None) -> NodeSelector | None:
    if given is None:
        return None
    return NodeSelector(
        terms=tuple(
            SelectorTerm(
                expressions=_requirements(term.matchExpressions), fields=_requirements(term.matchFields)
            )
            for term in given.nodeSelectorTerms or ()
        )
    )


def _requirements(given: list[_Requirement] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(key=r.key, operator=r.operator, values=tuple(r.values or ())) for r in given or ()
    )


def _static(index: int, given: _Static) -> StaticBlock:
    where = f"spec.static[{index}]"
    cidrs: list[Network] = []
    if given.ipv4:
        cidrs.extend(_networks(f"{where}.ipv4", [given.ipv4], Family.IPV4))
    if given.ipv6:
        cidrs.extend(_networks(f"{where}.ipv6", [given.ipv6], Family.IPV6))
    if not given.node or not cidrs:
        raise ValueError(f"{where}: a node and at least one block are needed")
    return StaticBlock(node=NodeName(given.node), cidrs=tuple(cidrs))

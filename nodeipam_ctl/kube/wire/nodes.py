"""What does a core/v1 Node say that matters to us? And what do we write into it?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from sys import intern

import msgspec
from msgspec import Raw

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.kube.wire.envelope import BAD_JSON, Lenient, Metadata, lenient_metadata, rfc3339, seconds
from nodeipam_ctl.model import Node, NodeName, NodeUID
from nodeipam_ctl.prefixes import Address, Network, family_of, parse_address, parse_masked, parse_network

NODES = "/api/v1/nodes"

_KEPT_ANNOTATIONS = ("nodeipam.dev/", "flannel.alpha.coreos.com/")
_TAINT = {"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}
_MOST_PROBLEMS = 10
_NONE: Mapping[str, str] = {}


class _Spec(msgspec.Struct, gc=False):
    podCIDR: str | None = None  # noqa: N815 - here and below: the API's spelling
    podCIDRs: list[str] | None = None  # noqa: N815


class _NodeAddress(msgspec.Struct, gc=False):
    type: str = ""
    address: str = ""


class _Condition(msgspec.Struct, gc=False):
    type: str = ""
    status: str = ""


class _Status(msgspec.Struct, gc=False):
    addresses: list[_NodeAddress] | None = None
    conditions: list[_Condition] | None = None


class _Node(msgspec.Struct, gc=False):
    metadata: Metadata
    spec: _Spec | None = None
    status: _Status | None = None


class _TaintedSpec(msgspec.Struct, gc=False):
    taints: list[dict[str, object]] | None = None


class _TaintedNode(msgspec.Struct, gc=False):
    metadata: Metadata
    spec: _TaintedSpec = msgspec.field(default_factory=_TaintedSpec)


_decoder = msgspec.json.Decoder(_Node)
_tainted_decoder = msgspec.json.Decoder(_TaintedNode)
_encoder = msgspec.msgpack.Encoder()


def decode_node(raw: bytes | Raw) -> Node | None:
    """The slim record of a Node; None when it has no name, so that nothing can be said about it.

    Whatever else is wrong is named in `Node.problems`, and the rest of the Node is used.
    """
    problems: list[str] = []
    try:
        node = _decoder.decode(raw)
    except BAD_JSON:
        lenient = _lenient(raw, problems)
        if lenient is None:
            return None
        node = lenient
    metadata = node.metadata
    if not metadata.name:
        return None
    status = node.status
    return Node(
        name=NodeName(metadata.name),
        uid=NodeUID(metadata.uid or metadata.name),
        resource_version=metadata.resourceVersion,
        labels=_interned(metadata.labels) if metadata.labels else _NONE,
        annotations=_kept(metadata.annotations) if metadata.annotations else _NONE,
        pod_cidrs=_pod_cidrs(node.spec, problems) if node.spec is not None else (),
        internal_ips=_internal_ips(status.addresses, problems)
        if status is not None and status.addresses
        else (),
        created_s=seconds(metadata.creationTimestamp),
        deleting=metadata.deletionTimestamp is not None,
        network_unavailable=_network_unavailable(status),
        problems=tuple(problems[:_MOST_PROBLEMS]),
    )


def glance_node(raw: bytes | Raw) -> tuple[str, str, int] | None:
    """Key, resourceVersion, and a fingerprint of everything `decode_node` reads but the resourceVersion.

    None for a Node with garbage in it: that one is read in full. A fingerprint is Python's keyed 64-bit hash, so nobody can make
    two Nodes collide, and by chance it will not happen.
    """
    try:
        node = _decoder.decode(raw)
    except BAD_JSON:
        return None
    metadata = node.metadata
    version, metadata.resourceVersion = metadata.resourceVersion, ""
    return metadata.uid or metadata.name, version, hash(_encoder.encode(node))


def pod_cidr_patch(uid: str, pod_cidrs: Iterable[Network], *, resource_version: str | None = None) -> bytes:
    """A merge patch that gives a Node its podCIDRs, if it is still the Node with this uid.

    The server answers 422 when the uid is another one's ("field is immutable") and when podCIDRs were set by somebody
    else first ("node updates may not change podCIDR except from "" to valid"): both call for a fresh read. 409 comes only
    with `resource_version`.
    """
    cidrs = [str(cidr) for cidr in pod_cidrs]
    metadata = {"uid": uid}
    if resource_version is not None:
        metadata["resourceVersion"] = resource_version
    return msgspec.json.encode({"metadata": metadata, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}})


def network_unavailable_patch(
    *,
    unavailable: bool,
    reason: str,
    message: str,
    annotations: Mapping[str, str] | None = None,
    now_s: float | None = None,
) -> bytes:
    """A strategic merge patch of `nodes/NAME/status` that sets the NetworkUnavailable condition.

    Args:
        unavailable: True keeps pods away (the node lifecycle controller taints the node).
        reason: one CamelCase word.
        message: one line.
        annotations: what the Node shall say besides; a Node's status may carry it.
        now_s: the transition time, in seconds since the epoch; the wall clock when None.
    """
    now = rfc3339(time.time() if now_s is None else now_s)
    condition = {
        "type": "NetworkUnavailable",
        "status": "True" if unavailable else "False",
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    patch: dict[str, object] = {"status": {"conditions": [condition]}}
    if annotations:
        patch["metadata"] = {"annotations": dict(annotations)}
    return msgspec.json.encode(patch)


def network_unavailable_taint_patch(raw: bytes, *, unavailable: bool) -> bytes | None:
    """A merge patch of a Node that adds the taint `node.kubernetes.io/network-unavailable:NoSchedule` or removes it; None when it need not.

    Every other taint stays as it is. The server answers 409 when the Node has changed since `raw` was read.

    Raises:
        Permanent: the answer is no Node.
    """
    try:
        node = _tainted_decoder.decode(raw)
    except BAD_JSON as exc:
        raise Permanent(f"the answer is no Node whose taints can be read: {exc}") from exc
    present = node.spec.taints or []
    others = [taint for taint in present if any(taint.get(k) != v for k, v in _TAINT.items())]
    if (len(others) < len(present)) is unavailable:
        return None
    metadata = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resourceVersion}
    taints = [*others, _TAINT] if unavailable else others
    return msgspec.json.encode({"metadata": metadata, "spec": {"taints": taints or None}})


def _interned(labels: dict[str, str]) -> dict[str, str]:
    """Thousands of Nodes share most label texts: one copy of each."""
    return {intern(key): intern(value) for key, value in labels.items()}


def _kept(annotations: dict[str, str]) -> Mapping[str, str]:
    kept = {key: value for key, value in annotations.items() if key.startswith(_KEPT_ANNOTATIONS)}
    return kept or _NONE


def _pod_cidrs(spec: _Spec, problems: list[str]) -> tuple[Network, ...]:
    texts = spec.podCIDRs or ([spec.podCIDR] if spec.podCIDR else None)
    if not texts:
        return ()
    found: list[Network] = []
    for text in texts:
        try:
            found.append(parse_masked(text))
            parse_network(text)  # older API servers took host bits: the block is held, and named as odd
        except ValueError as exc:
            problems.append(f"spec.podCIDRs: {exc}")
    if len({family_of(cidr) for cidr in found}) != len(found):
        problems.append(f"spec.podCIDRs: more than one of a family: {', '.join(texts)}")
    return tuple(found)


def _internal_ips(addresses: list[_NodeAddress], problems: list[str]) -> tuple[Address, ...]:
    found: list[Address] = []
    for entry in addresses:
        if entry.type == "InternalIP":
            try:
                found.append(parse_address(entry.address))
            except ValueError as exc:
                problems.append(f"status.addresses: {exc}")
    return tuple(found)


def _network_unavailable(status: _Status | None) -> bool | None:
    if status is not None and status.conditions:
        for condition in status.conditions:
            if condition.type == "NetworkUnavailable":
                return condition.status == "True"
    return None


def _lenient(raw: bytes | Raw, problems: list[str]) -> _Node | None:
    whole = Lenient(raw, "node", problems)
    metadata = lenient_metadata(whole)
    if metadata is None:
        return None
    spec, status = whole.inside("spec"), whole.inside("status")
    return _Node(
        metadata=metadata,
        spec=_Spec(podCIDR=spec.get("podCIDR", str, ""), podCIDRs=spec.each("podCIDRs", str)),
        status=_Status(
            addresses=status.each("addresses", _NodeAddress), conditions=status.each("conditions", _Condition)
        ),
    )

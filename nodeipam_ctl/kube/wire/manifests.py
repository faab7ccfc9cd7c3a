"""How is a ClusterCIDR written as an object, and how is one read that a person wrote?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from nodeipam_ctl.kube.wire.cluster_cidrs import (
    X_K8S_GROUP,
    decode_cluster_cidr,
    decode_x_cluster_cidr,
)
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, NodeSelector, Requirement, Retain
from nodeipam_ctl.prefixes import Family, family_of
from nodeipam_ctl.settings import API_GROUP, API_VERSION

Object = dict[str, Any]

_DEFAULT_REUSE_DELAY_S: Final = 300.0
_LARGEST_PRIORITY: Final = 1_000_000
"""The CRD's rule, which the API server keeps: nothing beyond it can be stored."""

_FAMILY_FIELDS: Final = frozenset({"cidrs", "nodeMaskSize", "exclude"})
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    f"{API_GROUP}/{API_VERSION}": frozenset(
        {"nodeSelector", "priority", "ipv4", "ipv6", "disabled", "reuseDelay", "retain", "static"}
    ),
    f"{X_K8S_GROUP}/v1": frozenset({"nodeSelector", "perNodeHostBits", "ipv4", "ipv6"}),
}


def manifest(pool: ClusterCIDR) -> Object:
    """The object of a ClusterCIDR, ready for `kubectl apply`; fields that say what their default says are left out."""
    return {
        "apiVersion": f"{API_GROUP}/{API_VERSION}",
        "kind": "ClusterCIDR",
        "metadata": {"name": str(pool.name)},
        "spec": spec_of(pool),
    }


def spec_of(pool: ClusterCIDR) -> Object:
    """The spec alone."""
    spec: Object = {}
    if pool.selector is not None:
        spec["nodeSelector"] = _selector(pool.selector)
    if pool.priority:
        spec["priority"] = pool.priority
    for family in Family:
        given = pool.families.get(family)
        if given is not None:
            entry: Object = {"cidrs": [str(c) for c in given.cidrs], "nodeMaskSize": given.node_mask_size}
            if given.exclude:
                entry["exclude"] = [str(c) for c in given.exclude]
            spec[family.lower()] = entry
    if pool.disabled:
        spec["disabled"] = True
    if pool.reuse_delay_s != _DEFAULT_REUSE_DELAY_S:
        spec["reuseDelay"] = f"{pool.reuse_delay_s:.9f}".rstrip("0").rstrip(".") + "s"
    if pool.retain is not Retain.NONE:
        spec["retain"] = pool.retain.value
    if pool.static:
        spec["static"] = [
            {"node": str(s.node), **{family_of(c).lower(): str(c) for c in s.cidrs}} for s in pool.static
        ]
    return spec


def read_manifest(document: object) -> ClusterCIDR:
    """The ClusterCIDR that somebody wrote down, ours or that of networking.x-k8s.io.

    Raises:
        ValueError: it is none, or makes no sense; the message is one line.
    """
    if not isinstance(document, Mapping):
        raise ValueError("not an object")  # noqa: TRY004 - content, not type
    kind, version = document.get("kind"), document.get("apiVersion")
    known = _FIELDS.get(version) if isinstance(version, str) else None
    if kind != "ClusterCIDR" or known is None:
        raise ValueError(
            f"it is {kind or 'no kind'} of {version or 'no apiVersion'}; only ClusterCIDRs of {' or '.join(_FIELDS)} are read"
        )
    decode = decode_cluster_cidr if version == f"{API_GROUP}/{API_VERSION}" else decode_x_cluster_cidr
    try:
        pool = decode(document)
    except (TypeError, RecursionError) as exc:  # YAML knows keys and values that JSON does not
        raise ValueError("it holds what JSON cannot express; write it with plain text and numbers") from exc
    if pool is None:
        raise ValueError("it has no metadata.name")
    if isinstance(pool, Unreadable):
        raise ValueError(f"ClusterCIDR {pool.name}: {pool.finding.message}")  # noqa: TRY004 - content, not type
    if abs(pool.priority) > _LARGEST_PRIORITY:
        raise ValueError(
            f"ClusterCIDR {pool.name}: spec.priority: {pool.priority} is not between "
            f"-{_LARGEST_PRIORITY} and {_LARGEST_PRIORITY}"
        )
    spec = document["spec"]
    if (odd := _not_finite(spec, "spec")) is not None:  # which the reader above takes for null
        raise ValueError(
            f"ClusterCIDR {pool.name}: {odd} is no number that JSON can express; write an integer"
        )
    unknown = [f"spec.{name}" for name in spec if name not in known]
    for family in ("ipv4", "ipv6"):
        if isinstance(spec.get(family), Mapping):
            unknown += [f"spec.{family}.{name}" for name in spec[family] if name not in _FAMILY_FIELDS]
    if unknown:
        raise ValueError(
            f"ClusterCIDR {pool.name}: there is no field {unknown[0]}; kubectl explain clustercidr.spec"
        )
    return pool


def _not_finite(value: object, where: str) -> str | None:
    """The first place with YAML's .nan or .inf; None when there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return where
    entries: Iterable[tuple[str, object]] = ()
    if isinstance(value, Mapping):
        entries = ((f"{where}.{key}", entry) for key, entry in value.items())
    elif isinstance(value, list):
        entries = ((f"{where}[{index}]", entry) for index, entry in enumerate(value))
    return next((odd for place, entry in entries if (odd := _not_finite(entry, place))), None)


def _selector(selector: NodeSelector) -> Object:
    terms: list[Object] = []
    for term in selector.terms:
        entry: Object = {}
        if term.expressions:
            entry["matchExpressions"] = _requirements(term.expressions)
        if term.fields:
            entry["matchFields"] = _requirements(term.fields)
        terms.append(entry)
    return {"nodeSelectorTerms": terms}


def _requirements(given: Iterable[Requirement]) -> list[Object]:
    return [
        {"key": r.key, "operator": r.operator.value, **({"values": list(r.values)} if r.values else {})}
        for r in given
    ]

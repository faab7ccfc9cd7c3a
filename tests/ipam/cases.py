"""The acceptance cases as data, and how their words map to our types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from nodeipam_ctl.model import (
    ClusterCIDR,
    FamilySpec,
    Node,
    NodeName,
    NodeSelector,
    NodeUID,
    Operator,
    PoolName,
    Requirement,
    Retain,
    SelectorTerm,
)
from nodeipam_ctl.prefixes import Family, Network

Case = Mapping[str, Any]


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case of the file, in its order."""
    text = (Path(__file__).parent / "data" / "ipam.yaml").read_text(encoding="utf-8")
    return tuple(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["cases"])


def of_groups(*groups: str) -> list[Case]:
    """The cases of some groups."""
    return [case for case in all_cases() if case["group"] in groups]


def case_id(case: Case) -> str:
    """What pytest calls a case."""
    return f"{case['id']} {case['title']}"


def network(text: str) -> Network:
    """A CIDR; host bits are masked, as the file's conventions say."""
    return ip_network(text, strict=False)


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Several CIDRs."""
    return tuple(network(text) for text in texts)


def requirement(data: Case) -> Requirement:
    """One NodeSelectorRequirement."""
    return Requirement(
        key=data["key"], operator=Operator(data["operator"]), values=tuple(data.get("values") or ())
    )


def term(data: Case) -> SelectorTerm:
    """One NodeSelectorTerm."""
    return SelectorTerm(
        expressions=tuple(requirement(r) for r in data.get("matchExpressions") or ()),
        fields=tuple(requirement(r) for r in data.get("matchFields") or ()),
    )


def selector(match: Sequence[Case] | None) -> NodeSelector | None:
    """The file's `match`: one term, or no selector at all."""
    if match is None:
        return None
    return NodeSelector(terms=(SelectorTerm(expressions=tuple(requirement(r) for r in match)),))


def pool(data: Case, *, reuse_delay_s: float = 0.0, retain: Retain = Retain.NONE) -> ClusterCIDR:
    """A ClusterCIDR; `perNodeHostBits` is one mask for both families. Upstream knows no rest, hence none by default."""
    families = {}
    excludes = networks(data.get("excludes") or ())
    for family, field in ((Family.IPV4, "ipv4"), (Family.IPV6, "ipv6")):
        if data.get(field):
            families[family] = FamilySpec(
                cidrs=(network(data[field]),),
                node_mask_size=family.bits - data["perNodeHostBits"],
                exclude=tuple(n for n in excludes if n.version == (4 if family is Family.IPV4 else 6)),
            )
    return ClusterCIDR(
        name=PoolName(data["name"]),
        families=families,
        selector=selector(data.get("match")),
        priority=data.get("priority", 0),
        reuse_delay_s=reuse_delay_s,
        retain=retain,
    )


def node(data: Case, *, created_s: float = 0.0, uid: str = "") -> Node:
    """A Node; host bits in podCIDRs are masked as the wire format does."""
    annotations = {
        {"nodeipam.example/host-bits": "nodeipam.dev/ipv4-mask-size"}[key]: str(32 - int(value))
        for key, value in (data.get("annotations") or {}).items()
    }
    return Node(
        name=NodeName(data["name"]),
        uid=NodeUID(uid or f"uid-{data['name']}"),
        labels=data.get("labels") or {},
        annotations=annotations,
        pod_cidrs=networks(data.get("podCIDRs") or ()),
        created_s=created_s,
    )

"""The acceptance cases as data, where we disagree with them, and how their words map to our types.

Tests of several folders run them, each with `@pytest.mark.parametrize("case", ...)` over what `of_groups` or `by_id` gives;
`test_cases_complete.py` reads these marks and proves that no case is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

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

_TO_30 = "Our smallest IPv4 block is /30, two usable addresses, as kube-controller-manager's flags allow; upstream's is /28."
_ONE_MASK = (
    "Upstream's object has one perNodeHostBits for both families, at least 4, so it cannot say what these flags say, and an "
    "imported cluster would go on with blocks of another size than its nodes have. Ours has a mask per family and goes to /30, "
    "so each family keeps the size that its flag gave it."
)
_MAY_CHANGE = (
    "Every field of ours may be changed: it decides about nodes that have no block yet, the others keep theirs, and blocks "
    "that are in no range any more are reported and never handed out. To delete and re-create a pool instead would mean to "
    "drain its nodes first."
)
DISAGREEMENTS: Final[Mapping[str, str]] = {
    "CRD-04": _TO_30,
    "DFLT-04": _ONE_MASK,
    "DFLT-05": _ONE_MASK,
    "UPD-02": _MAY_CHANGE,
    "UPD-03": _MAY_CHANGE,
    "UPD-05": _MAY_CHANGE,
    "VAL-07": "A node block of /28 has 2^100 IPv6 addresses, which can only be a slip; our largest is /33, 2^95.",
    "VAL-14": _TO_30,
}
"""The cases whose answer is not ours, and why. They are run all the same: the tests say what we do instead."""


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case of the file, in its order."""
    text = (Path(__file__).parent / "data" / "ipam.yaml").read_text(encoding="utf-8")
    return tuple(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["cases"])


def of_groups(*groups: str, but: Collection[str] = ()) -> list[Case]:
    """The cases of some groups; `but` names those that need another test than the others of their group."""
    return [case for case in all_cases() if case["group"] in groups and case["id"] not in but]


def by_id(*ids: str) -> list[Case]:
    """Cases by their ids, each of which exists."""
    known = {case["id"]: case for case in all_cases()}
    return [known[wanted] for wanted in ids]


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

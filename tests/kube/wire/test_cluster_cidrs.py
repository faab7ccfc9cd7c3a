"""Are both kinds of ClusterCIDR read as one value, and is what makes no sense refused with its reason?"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest

from nodeipam_ctl.kube.wire.cluster_cidrs import decode_cluster_cidr, decode_x_cluster_cidr
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import (
    ClusterCIDR,
    FamilySpec,
    Operator,
    Requirement,
    Retain,
    SelectorTerm,
    StaticBlock,
)
from nodeipam_ctl.prefixes import Family

META = {
    "name": "pool",
    "uid": "u",
    "generation": 3,
    "resourceVersion": "9",
    "finalizers": ["nodeipam.dev/in-use"],
}


def read(spec: Any, **metadata: Any) -> ClusterCIDR | Unreadable:
    found = decode_cluster_cidr(json.dumps({"metadata": {**META, **metadata}, "spec": spec}).encode())
    assert found is not None
    return found


def read_good(spec: Any, **metadata: Any) -> ClusterCIDR:
    found = read(spec, **metadata)
    assert isinstance(found, ClusterCIDR), found
    return found


def test_reads_every_field() -> None:
    found = read_good(
        {
            "nodeSelector": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
                    {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["x"]}]},
                    {},
                ]
            },
            "priority": 5,
            "ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24, "exclude": ["10.244.255.0/24"]},
            "ipv6": {"cidrs": ["fd00:10:244::/48"], "nodeMaskSize": 64},
            "disabled": True,
            "reuseDelay": "1m30s",
            "retain": "ByName",
            "static": [{"node": "edge-1", "ipv4": "10.244.7.0/24"}],
        },
        deletionTimestamp="2026-11-20T17:00:00Z",
    )
    assert found.families == {
        Family.IPV4: FamilySpec(
            cidrs=(ip_network("10.244.0.0/16"),), node_mask_size=24, exclude=(ip_network("10.244.255.0/24"),)
        ),
        Family.IPV6: FamilySpec(cidrs=(ip_network("fd00:10:244::/48"),), node_mask_size=64),
    }
    assert found.selector is not None
    assert found.selector.terms == (
        SelectorTerm(expressions=(Requirement(key="zone", operator=Operator.IN, values=("a", "b")),)),
        SelectorTerm(fields=(Requirement(key="metadata.name", operator=Operator.NOT_IN, values=("x",)),)),
        SelectorTerm(),
    )
    assert (found.priority, found.disabled, found.reuse_delay_s, found.retain) == (
        5,
        True,
        90.0,
        Retain.BY_NAME,
    )
    assert found.static == (StaticBlock(node="edge-1", cidrs=(ip_network("10.244.7.0/24"),)),)  # type: ignore[arg-type]
    assert (found.terminating, found.finalizers, found.generation) == (True, ("nodeipam.dev/in-use",), 3)


def test_what_is_absent_has_the_documented_default() -> None:
    found = read_good({"ipv4": {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 24}})
    assert (
        found.selector,
        found.priority,
        found.disabled,
        found.reuse_delay_s,
        found.retain,
        found.static,
    ) == (
        None,
        0,
        False,
        300.0,
        Retain.NONE,
        (),
    )


def test_a_mapping_is_read_like_its_text() -> None:
    document = {"metadata": META, "spec": {"ipv4": {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 24}}}
    assert decode_cluster_cidr(document) == decode_cluster_cidr(json.dumps(document).encode())


def family(**changes: Any) -> dict[str, Any]:
    return {"ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24, **changes}}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({}, "neither ipv4 nor ipv6", id="no family"),
        pytest.param(family(cidrs=[]), "at least one range", id="no range"),
        pytest.param(
            family(cidrs=["10.244.0.1/16"]),
            "spec.ipv4.cidrs[0]: '10.244.0.1/16' has host bits set",
            id="host bits",
        ),
        pytest.param(family(cidrs=["fd00::/48"]), "is not IPv4", id="the other family"),
        pytest.param(
            family(cidrs=["10.0.0.0/8", "127.0.0.0/8"]),
            "spec.ipv4.cidrs[1]: 127.0.0.0/8 begins with loopback space, which no pod can have",
            id="loopback",
        ),
        pytest.param(family(cidrs=["224.0.0.0/8"]), "begins with multicast space", id="multicast"),
        pytest.param(family(cidrs=["0.0.0.0/0"]), "begins with unspecified space", id="everything"),
        pytest.param({"ipv6": {"cidrs": ["fe80::/16"]}}, "begins with link-local space", id="link-local"),
        pytest.param(family(cidrs=[5]), "spec.ipv4.cidrs[0]", id="a number for a range"),
        pytest.param(family(nodeMaskSize=8), "is not between", id="a mask shorter than /9"),
        pytest.param(family(nodeMaskSize=31), "is not between", id="a mask longer than /30"),
        pytest.param(family(nodeMaskSize="24"), "spec.ipv4.nodeMaskSize", id="text for the mask"),
        pytest.param(family(cidrs=["10.0.0.0/28"]), "does not fit", id="a block larger than the range"),
        pytest.param(family(exclude=["192.168.0.0/24"]), "outside every range", id="an exclusion elsewhere"),
        pytest.param({**family(), "reuseDelay": "soon"}, "'soon' is not a duration", id="no duration"),
        pytest.param({**family(), "reuseDelay": "-5m"}, "is not a duration", id="a negative duration"),
        pytest.param({**family(), "retain": "Always"}, "spec.retain", id="an unknown retain"),
        pytest.param(
            {**family(), "static": [{"node": "a"}]}, "spec.static[0]", id="a static entry without a block"
        ),
        pytest.param(
            {
                **family(),
                "nodeSelector": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]
                },
            },
            "operator",
            id="an unknown operator",
        ),
        pytest.param(None, "spec", id="no spec"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(spec: Any, reason: str) -> None:
    found = read(spec)
    assert isinstance(found, Unreadable)
    assert reason in found.finding.message
    assert found.finding.subject == "clustercidr/pool"
    assert found.finding.remedy
    assert (found.name, found.uid, found.finalizers) == ("pool", "u", ("nodeipam.dev/in-use",))


def test_reads_the_kind_of_networking_x_k8s_io() -> None:
    spec = {
        "perNodeHostBits": 8,
        "ipv4": "10.1.0.0/16",
        "ipv6": "fd00:1::/112",
        "nodeSelector": {"nodeSelectorTerms": []},
    }
    found = decode_x_cluster_cidr({"metadata": META, "spec": spec})
    assert isinstance(found, ClusterCIDR)
    assert found.name == "networking.x-k8s.io/pool"
    assert {f: (s.cidrs, s.node_mask_size) for f, s in found.families.items()} == {
        Family.IPV4: ((ip_network("10.1.0.0/16"),), 24),
        Family.IPV6: ((ip_network("fd00:1::/112"),), 120),
    }
    assert found.selector is not None
    assert found.selector.terms == ()


def test_an_unreadable_one_of_networking_x_k8s_io_is_named_with_its_group() -> None:
    found = decode_x_cluster_cidr({"metadata": META, "spec": {"perNodeHostBits": 8, "ipv4": "x"}})
    assert isinstance(found, Unreadable)
    assert found.name == "networking.x-k8s.io/pool"


def test_an_object_without_a_name_is_nobody() -> None:
    assert decode_cluster_cidr(b'{"metadata":{"name":5},"spec":{}}') is None
    assert decode_x_cluster_cidr(b"[]") is None

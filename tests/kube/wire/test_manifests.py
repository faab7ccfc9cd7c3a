"""What we write down as a ClusterCIDR is read as the same ClusterCIDR, and what is none is refused with its reason."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.kube.wire.manifests import manifest, read_manifest
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
from nodeipam_ctl.prefixes import Family

WORD = st.text("abcxyz-.", min_size=1, max_size=8)
REQUIREMENT = st.builds(
    Requirement,
    key=WORD,
    operator=st.sampled_from(Operator),
    values=st.lists(WORD, max_size=2).map(tuple),
)
REQUIREMENTS = st.lists(REQUIREMENT, max_size=2).map(tuple)
SELECTOR = st.builds(
    NodeSelector,
    terms=st.lists(st.builds(SelectorTerm, expressions=REQUIREMENTS, fields=REQUIREMENTS), max_size=2).map(
        tuple
    ),
)


def _family(network: IPv4Network | IPv6Network) -> st.SearchStrategy[FamilySpec]:
    excluded = next(network.subnets(prefixlen_diff=4))
    return st.builds(
        FamilySpec,
        cidrs=st.just((network,)),
        node_mask_size=st.integers(network.prefixlen, network.max_prefixlen - 2),
        exclude=st.sampled_from([(), (excluded,)]),
    )


POOL = st.builds(
    ClusterCIDR,
    name=WORD.map(PoolName),
    families=st.fixed_dictionaries(
        {Family.IPV4: _family(ip_network("10.244.0.0/16"))},
        optional={Family.IPV6: _family(ip_network("fd00::/48"))},
    ),
    selector=st.none() | SELECTOR,
    priority=st.integers(-100, 100),
    disabled=st.booleans(),
    reuse_delay_s=st.sampled_from([0.0, 0.25, 1.0, 300.0, 86_400.0]),
    retain=st.sampled_from(Retain),
    static=st.sampled_from([(), (StaticBlock(node=NodeName("a"), cidrs=(ip_network("10.244.7.0/24"),)),)]),
)


@given(POOL)
def test_a_manifest_says_everything(pool: ClusterCIDR) -> None:
    assert read_manifest(manifest(pool)) == pool


def test_what_is_the_default_is_not_written() -> None:
    spec = FamilySpec(cidrs=(ip_network("10.0.0.0/8"),), node_mask_size=24)
    pool = ClusterCIDR(name=PoolName("a"), families={Family.IPV4: spec})
    assert manifest(pool)["spec"] == {"ipv4": {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 24}}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param(None, "not an object", id="nothing"),
        pytest.param({}, "no kind of no apiVersion", id="an empty object"),
        pytest.param({"kind": ["ClusterCIDR"], "apiVersion": {}}, "only ClusterCIDRs", id="wrong types"),
        pytest.param(
            {"kind": "ClusterCIDR", "apiVersion": "nodeipam.dev/v1alpha1", "metadata": {"name": object()}},
            "what JSON cannot express",
            id="something that is no JSON",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_manifest(document)

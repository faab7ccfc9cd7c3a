"""Acceptance cases about kube-controller-manager's flags."""

from __future__ import annotations

import pytest

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.ipam.kcm_flags import DEFAULT_NAME, KcmFlags, cluster_cidr, mask_sizes, parse_flags
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import DISAGREEMENTS, Case, case_id, networks, of_groups

OUR_MASKS = {
    "DFLT-04": {Family.IPV4: 24, Family.IPV6: 64},  # upstream: /120 for IPv6
    "DFLT-05": {Family.IPV4: 30},  # upstream: /28
}
"""Where we disagree; `DISAGREEMENTS` says why."""


def flags_of(cidrs: list[str], masks: dict[str, int]) -> KcmFlags:
    names = {
        "any": "--node-cidr-mask-size",
        "ipv4": "--node-cidr-mask-size-ipv4",
        "ipv6": "--node-cidr-mask-size-ipv6",
    }
    return parse_flags(
        ["kube-controller-manager", f"--cluster-cidr={','.join(cidrs)}", "--v=2"]
        + [f"{names[name]}={size}" for name, size in masks.items()]
    )


@pytest.mark.parametrize("case", of_groups("mask_flags"), ids=case_id)
def test_mask_flags_mean_what_kube_controller_manager_makes_of_them(case: Case) -> None:
    flags = flags_of(case["given"]["cluster_cidrs"], case["given"]["mask_flags"])
    if case["expect"].get("error"):
        with pytest.raises(UsageError, match="--"):
            mask_sizes(flags)
    else:
        assert list(mask_sizes(flags)) == case["expect"]["masks"]


@pytest.mark.parametrize("case", of_groups("default_clustercidr"), ids=case_id)
def test_flags_become_one_cluster_cidr_for_every_node(case: Case) -> None:
    given, expect = case["given"], case["expect"]
    cidrs = networks(given["cluster_cidr_flags"])
    sizes = {f"ipv{cidr.version}": size for cidr, size in zip(cidrs, given["node_mask_sizes"], strict=True)}
    made = cluster_cidr(flags_of(given["cluster_cidr_flags"], sizes))
    assert made.name == expect["name"] == DEFAULT_NAME
    assert made.selector is None is expect["nodeSelector"]
    assert tuple(spec.cidrs[0] for spec in made.families.values()) == cidrs
    assert (case["id"] in OUR_MASKS) == (case["id"] in DISAGREEMENTS)
    upstream = {family: family.bits - expect["perNodeHostBits"] for family in made.families}
    assert {f: spec.node_mask_size for f, spec in made.families.items()} == OUR_MASKS.get(
        case["id"], upstream
    )


def test_a_flag_may_be_two_words_and_others_are_passed_over() -> None:
    words = [
        "--cluster-cidr",
        "10.0.0.0/16",
        "--kubeconfig",
        "/etc/x",
        "--service-cluster-ip-range=10.96.0.0/12",
    ]
    flags = parse_flags(words)
    assert flags == KcmFlags(
        cluster_cidrs=networks(["10.0.0.0/16"]), service_cidrs=networks(["10.96.0.0/12"])
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["--cluster-cidr"], "no value", id="a flag without a value"),
        pytest.param(["--cluster-cidr=10.0.0.1/16"], "write 10.0.0.0/16", id="host bits set"),
        pytest.param(
            ["--cluster-cidr=10.0.0.0/16", "--node-cidr-mask-size=x"], "prefix length", id="no number"
        ),
        pytest.param(
            ["--cluster-cidr=10.0.0.0/16", "--node-cidr-mask-size=12"], "does not fit", id="a block too large"
        ),
        pytest.param([], "--cluster-cidr is missing", id="no range at all"),
    ],
)
def test_flags_that_make_no_sense_are_one_clear_line(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        cluster_cidr(parse_flags(words))
    assert "\n" not in str(caught.value)

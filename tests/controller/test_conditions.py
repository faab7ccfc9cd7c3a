"""The status of a ClusterCIDR as a table: what is the pool like, and what do its conditions say?"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from nodeipam_ctl.controller.conditions import conditions, status
from nodeipam_ctl.ipam.fillers import Filler
from nodeipam_ctl.ipam.outcomes import PoolUsage
from nodeipam_ctl.ipam.window import Usage
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, Finding, PoolName
from nodeipam_ctl.prefixes import Family


def pool(**given: Any) -> ClusterCIDR:
    spec = FamilySpec(cidrs=(ip_network("10.0.0.0/16"),), node_mask_size=24)
    return ClusterCIDR(name=PoolName("p"), generation=3, families={Family.IPV4: spec}, **given)


def usage(**blocks: int) -> PoolUsage:
    counts = {"capacity": 10, "allocated": 0, "resting": 0, "excluded": 0, **blocks}
    free = counts["capacity"] - counts["allocated"] - counts["resting"] - counts["excluded"]
    return PoolUsage(families={Family.IPV4: Usage(**counts, free=free)}, nodes=counts["allocated"])


def test_a_controller_that_only_mirrors_says_that_nothing_is_handed_out() -> None:
    (ready, *_) = conditions(pool(), usage(), (), allocates=False)
    assert (ready.holds, ready.reason) == (False, "NotAllocating")
    assert "--no-allocate" in ready.message


INVALID = Finding(code="InvalidClusterCIDR", subject="clustercidr/p", message="no range", remedy="give one")
OVERLAP = Finding(code="OverlapsServiceCIDR", subject="clustercidr/p", message="overlaps", remedy="separate")


@pytest.mark.parametrize(
    ("given", "used", "findings", "true", "why_not_ready"),
    [
        pytest.param({}, usage(), (), {"Ready"}, "BlocksFree", id="an empty pool is ready"),
        pytest.param(
            {}, usage(allocated=7), (), {"Ready"}, "BlocksFree", id="seven of ten is not nearly exhausted"
        ),
        pytest.param(
            {}, usage(allocated=8), (), {"Ready", "NearlyExhausted"}, "BlocksFree", id="eight of ten is"
        ),
        pytest.param(
            {},
            usage(allocated=4, excluded=5),
            (),
            {"Ready", "NearlyExhausted"},
            "BlocksFree",
            id="four of five usable",
        ),
        pytest.param(
            {},
            usage(allocated=10),
            (),
            {"Exhausted", "NearlyExhausted"},
            "Exhausted",
            id="ten of ten is exhausted",
        ),
        pytest.param(
            {},
            usage(allocated=9, resting=1),
            (),
            {"Ready", "NearlyExhausted"},
            "BlocksFree",
            id="a rest can be ended",
        ),
        pytest.param({"disabled": True}, usage(), (), set(), "Disabled", id="a disabled pool is not ready"),
        pytest.param(
            {"terminating": True},
            usage(allocated=1),
            (),
            {"Terminating"},
            "Terminating",
            id="deleted, in use",
        ),
        pytest.param({}, usage(), (INVALID,), set(), "Invalid", id="a pool that makes no sense"),
        pytest.param(
            {}, usage(), (OVERLAP,), {"Ready", "Overlapping"}, "BlocksFree", id="an overlap does not stop it"
        ),
    ],
)
def test_conditions(
    given: dict[str, Any], used: PoolUsage, findings: tuple[Finding, ...], true: set[str], why_not_ready: str
) -> None:
    found = {c.type: c for c in conditions(pool(**given), used, findings)}
    assert {name for name, c in found.items() if c.holds} == true
    assert found["Ready"].reason == why_not_ready
    assert all(c.message and "\n" not in c.message for c in found.values())


def test_an_exhausted_pool_names_the_node_that_fills_it() -> None:
    filler = Filler(
        family=Family.IPV4,
        range=ip_network("10.0.0.0/16"),
        held="lies in 10.0.0.0/9 of node giant",
        remedy="re-create giant",
    )
    used = replace(usage(allocated=10), filled=(filler,))
    found = {c.type: c.message for c in conditions(pool(), used, ())}
    assert (
        found["Exhausted"]
        == found["Ready"]
        == (
            "no IPv4 block is left: all of 10.0.0.0/16 lies in 10.0.0.0/9 of node giant; re-create giant, "
            "or append a range to spec.ipv4.cidrs"
        )
    )


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = status(pool(), usage(allocated=7), (), before={}, now="T1")
    second = status(pool(), usage(allocated=8), (), before=first, now="T2")
    times = {c["type"]: c["lastTransitionTime"] for c in second["conditions"]}
    assert times == {
        "Ready": "T1",
        "Exhausted": "T1",
        "NearlyExhausted": "T2",
        "Overlapping": "T1",
        "Terminating": "T1",
    }


def test_the_same_state_gives_the_same_status() -> None:
    first = status(pool(), usage(allocated=7), (), before={}, now="T1")
    assert status(pool(), usage(allocated=7), (), before=first, now="T2") == first


def test_a_family_that_is_gone_is_taken_out() -> None:
    before = {"ipv6": {"capacity": 1}}
    assert status(pool(), usage(), (), before=before, now="T")["ipv6"] is None


def test_numbers_beyond_what_json_readers_keep_are_capped_and_shown_as_powers() -> None:
    written = status(pool(), usage(capacity=1 << 60, allocated=5), (), before={}, now="T")["ipv4"]
    assert written["capacity"] == (1 << 53) - 1
    assert written["usage"] == "5/2^60"

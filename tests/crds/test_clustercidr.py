"""What the ClusterCIDR definition accepts, and the sentence each mistake gets."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver.schema import Structural

CRDS = Path(__file__).parents[2] / "crds"
SCHEMA = Structural(
    yaml.safe_load((CRDS / "nodeipam.dev_clustercidrs.yaml").read_text())["spec"]["versions"][0]["schema"][
        "openAPIV3Schema"
    ]
)

V4 = {"cidrs": ["10.244.0.0/16"]}
V6 = {"cidrs": ["fd00:10:244::/48"]}
NODE_NAME = "is not a node name; use lower case letters, digits, '-' and '.', as kubectl get nodes prints it"
NO_POD_ADDRESSES = (
    "begins with a loopback, link-local, multicast or unspecified address, which no pod can have; "
    "choose another network, for instance"
)
NOT_CHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def said(spec: dict[str, Any], *, name: str = "default", old: dict[str, Any] | None = None) -> list[str]:
    """Every complaint about a ClusterCIDR, as `field: message`."""
    obj: dict[str, Any] = {"metadata": {"name": name}, "spec": copy.deepcopy(spec)}
    assert SCHEMA.prune(obj) == []
    SCHEMA.default(obj)
    before = None if old is None else {"metadata": {"name": name}, "spec": old}
    return [f"{cause.field}: {cause.message}" for cause in SCHEMA.validate(obj, before)]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"ipv4": V4}, id="IPv4 alone"),
        pytest.param({"ipv6": V6}, id="IPv6 alone"),
        pytest.param(
            {
                "nodeSelector": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
                },
                "priority": -3,
                "ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24, "exclude": ["10.244.255.0/24"]},
                "ipv6": {"cidrs": ["fd00:10:244::/48"], "nodeMaskSize": 64},
                "disabled": True,
                "reuseDelay": "5m",
                "retain": "ByName",
                "static": [{"node": "edge-1", "ipv4": "10.244.7.0/24"}],
            },
            id="everything the README shows",
        ),
        pytest.param({"ipv4": {"cidrs": ["10.0.0.0/24"], "nodeMaskSize": 24}}, id="a range of one block"),
        pytest.param({"ipv4": {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 9}}, id="the largest IPv4 block"),
        pytest.param({"ipv4": {"cidrs": ["10.0.0.0/24"], "nodeMaskSize": 30}}, id="the smallest IPv4 block"),
        pytest.param({"ipv6": {"cidrs": ["fd00::/16"], "nodeMaskSize": 33}}, id="the largest IPv6 block"),
        pytest.param({"ipv6": {"cidrs": ["fd00::/64"], "nodeMaskSize": 126}}, id="the smallest IPv6 block"),
        pytest.param({"ipv6": {"cidrs": ["FD00:0:0::/48"]}}, id="an IPv6 range in another spelling"),
        pytest.param(
            {"ipv4": {"cidrs": ["10.0.0.0/24"], "exclude": ["10.0.0.0/8"]}}, id="an exclusion around a range"
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.0.0.0/24"], "exclude": ["10.0.0.7/32"]}}, id="an exclusion of one address"
        ),
        pytest.param({"ipv4": V4, "reuseDelay": "0s"}, id="reuse at once"),
        pytest.param({"ipv4": V4, "reuseDelay": "1h30m0.5s"}, id="a composed duration"),
        pytest.param({"ipv4": V4, "priority": -1000000}, id="the lowest priority"),
        pytest.param(
            {
                "ipv4": {
                    "cidrs": [f"10.{i}.0.0/16" for i in range(64)],
                    "exclude": [f"10.0.{i}.0/24" for i in range(256)],
                },
                "static": [{"node": f"n{i}", "ipv4": f"10.{i // 256}.{i % 256}.0/24"} for i in range(1000)],
            },
            id="lists as long as they may be",
        ),
    ],
)
def test_accepts(spec: dict[str, Any]) -> None:
    assert said(spec) == []


@pytest.mark.parametrize(
    ("spec", "sentences"),
    [
        pytest.param(
            {},
            ["spec: Invalid value: the pool has no addresses; give spec.ipv4, spec.ipv6 or both"],
            id="no family",
        ),
        pytest.param(
            {"ipv4": {"cidrs": []}},
            [
                "spec.ipv4.cidrs: Invalid value: cidrs is empty; give at least one range, for instance 10.244.0.0/16"
            ],
            id="no range",
        ),
        pytest.param({"ipv4": {}}, ["spec.ipv4.cidrs: Required value", NOT_CHECKED], id="no list of ranges"),
        pytest.param(
            {"ipv4": {"cidrs": ["256.256.256.256/33"]}},
            [
                (
                    'spec.ipv4.cidrs[0]: Invalid value: "256.256.256.256/33": is not a valid IPv4 CIDR; '
                    "write a network like 10.244.0.0/16"
                )
            ],
            id="a bad IPv4 CIDR",
        ),
        pytest.param(
            {"ipv6": {"cidrs": ["::/129"]}},
            [
                'spec.ipv6.cidrs[0]: Invalid value: "::/129": is not a valid IPv6 CIDR; write a network like fd00:10:244::/48'
            ],
            id="a bad IPv6 CIDR",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.244.0.0/16", "10.0.0.1/16"]}},
            [
                'spec.ipv4.cidrs[1]: Invalid value: "10.0.0.1/16": has bits set after its prefix; write 10.0.0.0/16'
            ],
            id="host bits",
        ),
        pytest.param(
            {"ipv6": {"cidrs": ["fd00:10:244::1/48"]}},
            [
                (
                    'spec.ipv6.cidrs[0]: Invalid value: "fd00:10:244::1/48": has bits set after its prefix; '
                    "write fd00:10:244::/48"
                )
            ],
            id="IPv6 host bits",
        ),
        pytest.param(
            {
                "ipv4": {
                    "cidrs": ["127.0.0.0/16", "169.254.0.0/16", "224.0.0.0/8", "0.0.0.0/8", "100.64.0.0/10"]
                }
            },
            [
                f'spec.ipv4.cidrs[{index}]: Invalid value: "{cidr}": {NO_POD_ADDRESSES} 10.244.0.0/16'
                for index, cidr in enumerate(("127.0.0.0/16", "169.254.0.0/16", "224.0.0.0/8", "0.0.0.0/8"))
            ],
            id="IPv4 addresses that no pod can have",
        ),
        pytest.param(
            {"ipv6": {"cidrs": ["::/0", "fe80::/48", "ff00::/48", "2001:db8::/48"]}},
            [
                f'spec.ipv6.cidrs[{index}]: Invalid value: "{cidr}": {NO_POD_ADDRESSES} fd00:10:244::/48'
                for index, cidr in enumerate(("::/0", "fe80::/48", "ff00::/48"))
            ],
            id="IPv6 addresses that no pod can have",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["fd00::/16"]}},
            [
                'spec.ipv4.cidrs[0]: Invalid value: "fd00::/16": is an IPv6 network; move it to spec.ipv6.cidrs'
            ],
            id="IPv6 among IPv4",
        ),
        pytest.param(
            {"ipv6": {"cidrs": ["10.0.0.0/8"]}},
            [
                'spec.ipv6.cidrs[0]: Invalid value: "10.0.0.0/8": is an IPv4 network; move it to spec.ipv4.cidrs'
            ],
            id="IPv4 among IPv6",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.0.0.0/8", "10.0.0.0/8"]}},
            ['spec.ipv4.cidrs[1]: Duplicate value: "10.0.0.0/8"'],
            id="a range twice",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.244.0.0/16", "10.1.0.0/25"], "nodeMaskSize": 24}},
            [
                (
                    "spec.ipv4: Invalid value: nodeMaskSize is shorter than the prefix of a range in cidrs, "
                    "so no block fits into it; use a longer nodeMaskSize or a larger range"
                )
            ],
            id="a mask shorter than a range",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 8}},
            [
                (
                    "spec.ipv4.nodeMaskSize: Invalid value: 8: nodeMaskSize is shorter than 9, and no node needs "
                    "that many addresses; use 9 to 30, for instance 24"
                )
            ],
            id="an IPv4 mask below 9",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 31}},
            [
                (
                    "spec.ipv4.nodeMaskSize: Invalid value: 31: nodeMaskSize is longer than 30, which leaves a node "
                    "fewer than two usable addresses; use 9 to 30, for instance 24"
                )
            ],
            id="an IPv4 mask beyond 30",
        ),
        pytest.param(
            {"ipv6": {"cidrs": ["fd00::/16"], "nodeMaskSize": 32}},
            [
                (
                    "spec.ipv6.nodeMaskSize: Invalid value: 32: nodeMaskSize is shorter than 33, and no node needs "
                    "that many addresses; use 33 to 126, for instance 64"
                )
            ],
            id="an IPv6 mask below 33",
        ),
        pytest.param(
            {"ipv6": {"cidrs": ["fd00::/16"], "nodeMaskSize": 127}},
            [
                (
                    "spec.ipv6.nodeMaskSize: Invalid value: 127: nodeMaskSize is longer than 126, which leaves a node "
                    "fewer than two usable addresses; use 33 to 126, for instance 64"
                )
            ],
            id="an IPv6 mask beyond 126",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.244.0.0/16"], "exclude": ["10.245.0.0/24"]}},
            [
                (
                    "spec.ipv4: Invalid value: an entry of exclude lies outside every range in cidrs; "
                    "correct it or remove it"
                )
            ],
            id="an exclusion outside every range",
        ),
        pytest.param(
            {"ipv4": {"cidrs": ["10.244.0.0/16"], "exclude": ["x", "fd00::/64", "10.244.1.1/24"]}},
            [
                (
                    "spec.ipv4: Invalid value: an entry of exclude lies outside every range in cidrs; "
                    "correct it or remove it"
                ),
                'spec.ipv4.exclude[0]: Invalid value: "x": is not a valid IPv4 CIDR; write a network like 10.244.255.0/24',
                'spec.ipv4.exclude[1]: Invalid value: "fd00::/64": is an IPv6 network; move it to spec.ipv6.exclude',
                'spec.ipv4.exclude[2]: Invalid value: "10.244.1.1/24": has bits set after its prefix; write 10.244.1.0/24',
            ],
            id="bad exclusions",
        ),
        pytest.param(
            {"ipv4": V4, "static": [{"node": "a", "ipv4": "10.245.0.0/24"}]},
            [
                (
                    "spec: Invalid value: a block in static[].ipv4 lies outside every range of spec.ipv4.cidrs; "
                    "correct the block or add its range"
                )
            ],
            id="a static block outside the ranges",
        ),
        pytest.param(
            {"ipv4": V4, "static": [{"node": "a", "ipv6": "fd00:10:244:7::/64"}]},
            [
                (
                    "spec: Invalid value: a block in static[].ipv6 lies outside every range of spec.ipv6.cidrs; "
                    "correct the block or add its range"
                )
            ],
            id="a static block of a family the pool has not",
        ),
        pytest.param(
            {"ipv4": V4, "static": [{"node": "a", "ipv4": "10.244.7.0/25"}]},
            [
                (
                    "spec: Invalid value: a block in static[].ipv4 is not of the size spec.ipv4.nodeMaskSize; "
                    "write it with that prefix length"
                )
            ],
            id="a static block of another size",
        ),
        pytest.param(
            {
                "ipv4": V4,
                "static": [{"node": "a", "ipv4": "10.244.7.0/24"}, {"node": "a", "ipv4": "10.244.8.0/24"}],
            },
            ['spec.static[1]: Duplicate value: {"node":"a"}'],
            id="a node twice",
        ),
        pytest.param(
            {"ipv4": V4, "static": [{"node": "Edge_1"}]},
            [
                "spec.static[0]: Invalid value: the entry reserves nothing; give ipv4, ipv6 or both",
                f'spec.static[0].node: Invalid value: "Edge_1": {NODE_NAME}',
            ],
            id="an empty entry with a bad name",
        ),
        pytest.param(
            {"ipv4": V4, "priority": 1000001},
            ["spec.priority: Invalid value: 1000001: priority must be between -1000000 and 1000000"],
            id="a priority beyond its bounds",
        ),
        pytest.param(
            {"ipv4": V4, "retain": "Always"},
            ['spec.retain: Unsupported value: "Always": supported values: "None", "ByName"', NOT_CHECKED],
            id="an unknown way to retain",
        ),
    ],
)
def test_refuses(spec: dict[str, Any], sentences: list[str]) -> None:
    assert said(spec) == sentences


@pytest.mark.parametrize("text", ["-5m", "5", "5 m", "m", "", "5d", "0.m"])
def test_refuses_what_is_no_duration_of_zero_or_more(text: str) -> None:
    assert said({"ipv4": V4, "reuseDelay": text}) == [
        f'spec.reuseDelay: Invalid value: "{text}": is not a duration of zero or more; write one like 90s, 5m, 1h30m or 0s'
    ]


def test_refuses_a_name_that_is_no_label_value() -> None:
    assert said({"ipv4": V4}, name="n" * 63) == []
    assert said({"ipv4": V4}, name="n" * 64) == [
        (
            "<nil>: Invalid value: metadata.name is longer than 63 characters; ledger lines and annotations carry it as a "
            "label value, so choose a shorter name"
        )
    ]


def test_every_field_may_change_later() -> None:
    old = {"ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}, "priority": 1, "retain": "None"}
    new = {"ipv6": V6, "priority": 2, "retain": "ByName", "disabled": True, "reuseDelay": "1h"}
    assert said(new, old=old) == []


def test_defaults() -> None:
    obj: dict[str, Any] = {"spec": {"ipv4": {"cidrs": ["10.244.0.0/16"]}, "ipv6": {"cidrs": ["fd00::/48"]}}}
    SCHEMA.default(obj)
    assert obj["spec"] == {
        "ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24},
        "ipv6": {"cidrs": ["fd00::/48"], "nodeMaskSize": 64},
        "priority": 0,
        "disabled": False,
        "reuseDelay": "5m",
        "retain": "None",
    }


def test_conditions_belong_to_their_writers_one_by_one() -> None:
    conditions = SCHEMA.list_types().child("status").child("conditions")
    assert (conditions.list_type, conditions.keys) == ("map", ("type",))

"""What the PodCIDRSlice definition accepts, and the sentence each mistake gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver.schema import Structural

CRDS = Path(__file__).parents[2] / "crds"
SCHEMA = Structural(
    yaml.safe_load((CRDS / "nodeipam.dev_podcidrslices.yaml").read_text())["spec"]["versions"][0]["schema"][
        "openAPIV3Schema"
    ]
)


def said(page: str, *entries: dict[str, Any]) -> list[str]:
    obj = {"metadata": {"name": "page"}, "page": page, "entries": list(entries)}
    assert SCHEMA.prune(obj) == []
    return [f"{cause.field}: {cause.message}" for cause in SCHEMA.validate(obj, None)]


def bound(cidr: str, **more: Any) -> dict[str, Any]:
    return {"cidr": cidr, "state": "Bound", "node": "worker-1", **more}


@pytest.mark.parametrize(
    ("page", "entries"),
    [
        pytest.param("10.244.0.0/20", [bound(f"10.244.{i}.0/24") for i in range(16)], id="a full page"),
        pytest.param(
            "10.244.0.0/20",
            [
                bound(
                    "10.244.3.0/24",
                    nodeUID="7d1f",
                    clusterCIDR="default",
                    addresses=["192.0.2.11", "2001:db8::11"],
                    wireguardPublicKey="c29tZWJvZHkncyBwdWJsaWMga2V5LCAzMiBieXRlcy4=",
                    since="2026-01-01T00:00:00Z",
                ),
                {
                    "cidr": "10.244.9.0/24",
                    "state": "Resting",
                    "node": "worker-7",
                    "nodeUID": "9a",
                    "reusableAt": "2026-01-01T00:05:00Z",
                },
            ],
            id="the design's example",
        ),
        pytest.param("10.240.0.0/12", [{"cidr": "10.244.0.0/16", "state": "Split"}], id="a split unit"),
        pytest.param("10.0.0.0/8", [{"cidr": "10.240.0.0/12", "state": "Split"}], id="the top page"),
        pytest.param("fd00:10:244::/60", [bound("fd00:10:244:3::/64")], id="IPv6"),
        pytest.param("fd00::/32", [bound("fd00:0:8000::/33")], id="the top page of IPv6"),
        pytest.param("10.244.0.0/20", [], id="an empty page"),
    ],
)
def test_accepts(page: str, entries: list[dict[str, Any]]) -> None:
    assert said(page, *entries) == []


NOT_HERE = (
    "<nil>: Invalid value: a cidr in entries does not belong on this page, which holds blocks inside page that are one to "
    "four bits longer; move the line to its own page"
)


@pytest.mark.parametrize(
    ("page", "entries", "sentence"),
    [
        pytest.param("10.244.0.0/20", [bound("10.245.0.0/24")], NOT_HERE, id="a block outside the page"),
        pytest.param(
            "10.244.0.0/20", [bound("10.244.0.0/25")], NOT_HERE, id="a block too small for the page"
        ),
        pytest.param("10.244.0.0/20", [bound("10.244.0.0/20")], NOT_HERE, id="a block as large as the page"),
        pytest.param("10.244.0.0/20", [bound("fd00::/64")], NOT_HERE, id="a block of another family"),
        pytest.param(
            "10.244.0.0/21",
            [],
            'page: Invalid value: "10.244.0.0/21": is no page, whose prefix length is a multiple of four; '
            "use 10.244.0.0/20 for the block 10.244.3.0/24",
            id="a page across nibbles",
        ),
        pytest.param(
            "10.244.1.0/20",
            [],
            'page: Invalid value: "10.244.1.0/20": has bits set after its prefix; write 10.244.0.0/20',
            id="a page with host bits",
        ),
        pytest.param(
            "x",
            [],
            'page: Invalid value: "x": is not a network in CIDR notation; write one like 10.244.0.0/20',
            id="no page",
        ),
        pytest.param(
            "10.244.0.0/20",
            [bound("10.244.3.0/24", wireguardPublicKey="[Peer]")],
            'entries[0].wireguardPublicKey: Invalid value: "[Peer]": entries[0].wireguardPublicKey in body should match '
            "'^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$'",
            id="what is no WireGuard key",
        ),
        pytest.param(
            "10.244.0.0/20",
            [{"cidr": "10.244.3.0/24", "state": "Bound"}],
            "entries[0]: Invalid value: a Bound line names its node; add node",
            id="nobody's block",
        ),
        pytest.param(
            "10.244.0.0/20",
            [bound("10.244.3.0/24"), bound("10.244.3.0/24", node="worker-2")],
            'entries[1]: Duplicate value: {"cidr":"10.244.3.0/24"}',
            id="one block twice",
        ),
    ],
)
def test_refuses(page: str, entries: list[dict[str, Any]], sentence: str) -> None:
    assert said(page, *entries) == [sentence]


def test_lines_are_told_apart_by_their_block() -> None:
    entries = SCHEMA.list_types().child("entries")
    assert (entries.list_type, entries.keys) == ("map", ("cidr",))

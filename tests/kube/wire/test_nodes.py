"""Is a Node read slimly and exactly, and does garbage in it stay its own problem?"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.kube.wire.nodes import decode_node, glance_node, network_unavailable_patch, pod_cidr_patch
from nodeipam_ctl.model import Node

GOOD: dict[str, Any] = {
    "metadata": {
        "name": "worker-1",
        "uid": "u1",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-20T17:00:00Z",
        "labels": {"zone": "a"},
        "annotations": {
            "nodeipam.dev/cluster-cidr": "edge",
            "other": "x",
            "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
        },
    },
    "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]},
    "status": {
        "addresses": [
            {"type": "Hostname", "address": "worker-1"},
            {"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"},
            {"type": "ExternalIP", "address": "198.51.100.1"},
        ],
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "NetworkUnavailable", "status": "False"},
        ],
    },
}


def node(**changes: Any) -> Node:
    made = decode_node(json.dumps({**GOOD, **changes}).encode())
    assert made is not None
    return made


def test_reads_what_allocation_and_routing_need() -> None:
    assert node() == Node(
        name="worker-1",  # type: ignore[arg-type]  # NewTypes are text
        uid="u1",  # type: ignore[arg-type]
        labels={"zone": "a"},
        annotations={"nodeipam.dev/cluster-cidr": "edge", "flannel.alpha.coreos.com/public-ip": "192.0.2.1"},
        pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")),
        internal_ips=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
        created_s=1795194000.0,
        network_unavailable=False,
    )


def test_a_heartbeat_makes_an_equal_node() -> None:
    later = {**GOOD["metadata"], "resourceVersion": "8"}
    assert node(metadata=later) == node()
    assert node(metadata=later).resource_version == "8"


def test_a_glance_tells_a_heartbeat_from_a_change() -> None:
    def glance(**changes: Any) -> tuple[str, str, int]:
        found = glance_node(json.dumps({**GOOD, **changes}).encode())
        assert found is not None
        return found

    key, version, fingerprint = glance()
    assert (key, version) == ("u1", "7")
    heartbeat = {"lastHeartbeatTime": "x", "type": "Ready", "status": "True"}
    conditions = [heartbeat, {"type": "NetworkUnavailable", "status": "False"}]
    beat = glance(
        metadata={**GOOD["metadata"], "resourceVersion": "8", "managedFields": []},
        status={**GOOD["status"], "conditions": conditions, "images": []},
    )
    assert beat == ("u1", "8", fingerprint)
    changes: tuple[dict[str, Any], ...] = (
        {"metadata": {**GOOD["metadata"], "labels": {"zone": "b"}}},
        {"metadata": {**GOOD["metadata"], "deletionTimestamp": "2026-11-20T17:00:00Z"}},
        {"spec": {}},
        {"status": {**GOOD["status"], "addresses": []}},
        {"status": {**GOOD["status"], "conditions": []}},
    )
    for change in changes:
        assert glance(**change)[2] != fingerprint
    assert glance_node(b'{"metadata":{"name":"a","uid":5}}') is None


def test_a_node_without_the_list_has_the_single_pod_cidr() -> None:
    assert node(spec={"podCIDR": "10.0.0.0/24"}).pod_cidrs == (ip_network("10.0.0.0/24"),)


def test_a_pod_cidr_with_host_bits_holds_its_block() -> None:
    """Older API servers took it; reading it as no podCIDR would hand its block to another node."""
    assert node(spec={"podCIDRs": ["10.0.0.1/24"]}).pod_cidrs == (ip_network("10.0.0.0/24"),)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        pytest.param([{"type": "NetworkUnavailable", "status": "True"}], True, id="True"),
        pytest.param([{"type": "NetworkUnavailable", "status": "Unknown"}], False, id="Unknown is not True"),
        pytest.param([{"type": "Ready", "status": "True"}], None, id="absent"),
    ],
)
def test_network_unavailable(condition: list[dict[str, str]], *, expected: bool | None) -> None:
    assert node(status={"conditions": condition}).network_unavailable is expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"spec": {"podCIDRs": ["banana"]}}, "'banana' is not a CIDR", id="a podCIDR that is none"
        ),
        pytest.param({"spec": {"podCIDRs": ["10.0.0.1/24"]}}, "host bits set", id="host bits"),
        pytest.param({"spec": {"podCIDRs": [7]}}, "spec.podCIDRs[0]", id="a number for a podCIDR"),
        pytest.param({"spec": {"podCIDRs": {"a": 1}}}, "spec.podCIDRs", id="a map for the list"),
        pytest.param({"spec": {"podCIDR": 5}}, "spec.podCIDR", id="a number for the single podCIDR"),
        pytest.param({"spec": ["x"]}, "node.spec is not an object", id="a list for the spec"),
        pytest.param(
            {"status": {"addresses": [{"type": "InternalIP", "address": "x"}]}},
            "'x' is not an IP",
            id="a bad address",
        ),
        pytest.param(
            {"status": {"addresses": [{"type": "InternalIP", "address": 9}]}},
            "addresses[0]",
            id="a number for an address",
        ),
        pytest.param({"status": {"conditions": "none"}}, "status.conditions", id="text for conditions"),
        pytest.param(
            {"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}},
            "more than one of a family",
            id="two of a family",
        ),
    ],
)
def test_garbage_is_named_and_the_rest_is_used(changes: dict[str, Any], problem: str) -> None:
    found = node(**changes)
    assert any(problem in line for line in found.problems), found.problems
    assert found.labels == {"zone": "a"}
    if "spec" not in changes:
        assert len(found.pod_cidrs) == 2


def test_garbage_in_metadata_is_named_and_the_name_kept() -> None:
    found = node(
        metadata={
            "name": "a",
            "uid": 5,
            "labels": {"x": 1, "y": "2"},
            "deletionTimestamp": 3,
            "annotations": [],
        }
    )
    assert (found.name, found.uid, found.labels, found.deleting) == ("a", "a", {"y": "2"}, True)
    assert len(found.problems) >= 3


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no metadata"),
        pytest.param(b'{"metadata":{}}', id="no name"),
        pytest.param(b'{"metadata":{"name":4}}', id="a number for a name"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b'{"metadata":' * 20_000, id="nested beyond reason"),
    ],
)
def test_an_object_without_a_name_is_nobody(raw: bytes) -> None:
    assert decode_node(raw) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "uid", "labels", "podCIDRs", "podCIDR", "addresses", "conditions", "type", "address"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional={"metadata": JSON, "spec": JSON, "status": JSON}))
def test_no_object_whatsoever_is_an_exception(document: dict[str, Any]) -> None:
    found = decode_node(json.dumps(document).encode())
    assert found is None or isinstance(found, Node)


def test_the_pod_cidr_patch_names_the_uid_it_is_meant_for() -> None:
    patch = json.loads(pod_cidr_patch("u1", [ip_network("10.0.0.0/24"), ip_network("fd00::/64")]))
    assert patch == {
        "metadata": {"uid": "u1"},
        "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]},
    }
    with_version = json.loads(pod_cidr_patch("u1", [ip_network("10.0.0.0/24")], resource_version="9"))
    assert with_version["metadata"] == {"uid": "u1", "resourceVersion": "9"}


def test_the_network_unavailable_patch_is_one_condition() -> None:
    patch = json.loads(
        network_unavailable_patch(unavailable=False, reason="RoutesProgrammed", message="m", now_s=0)
    )
    (condition,) = patch["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["lastTransitionTime"]) == (
        "NetworkUnavailable",
        "False",
        "1970-01-01T00:00:00Z",
    )

"""Do pages of the ledger, Leases, Service ranges, durations and times survive the way to the API and back?"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.errors import Transient
from nodeipam_ctl.kube.wire.duration import duration_s
from nodeipam_ctl.kube.wire.envelope import (
    Unreadable,
    decode_event,
    decode_list,
    rfc3339,
    rfc3339_micro,
    seconds,
)
from nodeipam_ctl.kube.wire.leases import Lease, decode_lease, encode_lease, lease_path
from nodeipam_ctl.kube.wire.service_cidrs import decode_service_cidr
from nodeipam_ctl.kube.wire.slices import decode_slice, encode_slice
from nodeipam_ctl.model import LedgerEntry, LedgerPage, LedgerState, NodeName, NodeUID, PoolName, ServiceCIDR

TIMES = st.integers(1, 2**33).map(float)
ENTRIES = st.builds(
    LedgerEntry,
    cidr=st.integers(0, 15).map(lambda n: ip_network(f"10.244.{n}.0/24")),
    state=st.sampled_from(LedgerState),
    node=st.text(min_size=1, max_size=5).map(NodeName),
    node_uid=st.text(min_size=1, max_size=5).map(NodeUID),
    cluster_cidr=st.text(max_size=5).map(PoolName),
    addresses=st.lists(st.ip_addresses(), max_size=2).map(tuple),
    backend=st.sampled_from(["", "vxlan", "host-gw"]),
    wireguard_public_key=st.sampled_from(["", "A" * 42 + "E="]),
    since_s=TIMES | st.just(0.0),
    reusable_at_s=TIMES | st.just(0.0),
)


@given(st.lists(ENTRIES, max_size=5).map(tuple), st.sampled_from(["", "17"]))
def test_a_page_is_read_as_it_was_written(entries: tuple[LedgerEntry, ...], version: str) -> None:
    page = LedgerPage(
        name="10.244.0.0-20",
        page=ip_network("10.244.0.0/20"),
        uid="u",
        resource_version=version,
        entries=entries,
    )
    assert decode_slice(encode_slice(page)) == page


def test_a_page_names_its_family() -> None:
    page = LedgerPage(name="x", page=ip_network("fd00::/60"))
    assert json.loads(encode_slice(page))["metadata"] == {
        "name": "x",
        "labels": {"nodeipam.dev/family": "IPv6"},
        "annotations": {"nodeipam.dev/turn": "0"},
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(7, "Expected `object`", id="a number for a line"),
        pytest.param({"state": "Bound"}, "cidr", id="no block"),
        pytest.param({"cidr": "10.244.1.0/24", "state": "Lost"}, "state", id="an unknown state"),
        pytest.param(
            {"cidr": "10.245.1.0/24", "state": "Bound"}, "outside the page", id="a block of another page"
        ),
        pytest.param(
            {"cidr": "10.244.1.0/24", "state": "Bound", "addresses": ["x"]}, "'x' is not", id="a bad address"
        ),
        pytest.param({"cidr": "10.244.1.0/24", "state": "Bound", "node": "a"}, "whose it is", id="no uid"),
    ],
)
def test_a_bad_line_is_a_finding_and_the_others_are_used(line: Any, reason: str) -> None:
    good = {"cidr": "10.244.2.0/24", "state": "Bound", "node": "b", "nodeUID": "u"}
    found = decode_slice({"metadata": {"name": "p"}, "page": "10.244.0.0/20", "entries": [line, good]})
    assert isinstance(found, LedgerPage)
    assert [entry.node for entry in found.entries] == ["b"]
    (finding,) = found.findings
    assert finding.subject == "podcidrslice/p"
    assert reason in finding.message


def test_a_page_that_does_not_say_which_is_unreadable() -> None:
    found = decode_slice({"metadata": {"name": "p", "uid": "u"}, "page": "all", "entries": []})
    assert isinstance(found, Unreadable)
    assert found.name == "p"
    assert decode_slice(b"{}") is None


def test_service_ranges() -> None:
    found = decode_service_cidr(
        {"metadata": {"name": "k"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/112"]}}
    )
    assert found == ServiceCIDR(name="k", cidrs=(ip_network("10.96.0.0/16"), ip_network("fd00:96::/112")))
    bad = decode_service_cidr({"metadata": {"name": "k"}, "spec": {"cidrs": ["x"]}})
    assert isinstance(bad, Unreadable)
    assert decode_service_cidr(b"7") is None


def test_a_lease_is_read_as_it_was_written() -> None:
    lease = Lease(namespace="ns", name="l", uid="u", resource_version="3")
    taken = lease.held_by("me", duration_s=15, now_s=1.5)
    assert decode_lease(encode_lease(taken), namespace="ns", name="l") == taken
    assert (taken.acquire_time, taken.transitions) == ("1970-01-01T00:00:01.500000Z", 1)
    renewed = taken.held_by("me", duration_s=15, now_s=2.0)
    assert (renewed.acquire_time, renewed.renew_time, renewed.transitions) == (
        taken.acquire_time,
        "1970-01-01T00:00:02.000000Z",
        1,
    )
    assert lease_path("ns", "l") == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l"


def test_a_lease_that_cannot_be_understood_says_nothing() -> None:
    with pytest.raises(Transient):
        decode_lease(b'{"spec":{"leaseDurationSeconds":"x"}}', namespace="ns", name="l")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("300ms", 0.3),
        ("5m0s", 300.0),
        (".5h", 1800.0),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert duration_s(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "m", "5x", "-1s", "1s ", "1 s", "1s1", "NaNs", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_s(text)


@given(st.integers(0, 2**34))
def test_times_survive(time_s: int) -> None:
    assert seconds(rfc3339(time_s)) == time_s
    assert seconds(rfc3339_micro(time_s + 0.25)) == time_s + 0.25


@pytest.mark.parametrize("text", [None, "", "soon", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z"])
def test_a_time_that_is_none_is_zero(text: str | None) -> None:
    assert seconds(text) == 0.0


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items":[]}', b'{"metadata":{},"items":5}'])
def test_a_list_that_is_none_is_transient(body: bytes) -> None:
    with pytest.raises(Transient):
        decode_list(body)


def test_a_list_without_items_is_empty() -> None:
    page = decode_list(
        b'{"metadata":{"resourceVersion":"5","continue":null},"items":null}'.replace(b":null}", b':""}', 1)
    )
    assert (page.items, page.resource_version, page.more) == ((), "5", "")


@pytest.mark.parametrize("line", [b"", b"{}", b"nonsense", b'{"type":5,"object":{}}'])
def test_an_event_that_is_none_is_transient(line: bytes) -> None:
    with pytest.raises(Transient):
        decode_event(line)


def test_a_duration_that_go_could_not_hold_is_refused() -> None:
    assert duration_s("2562047h") == pytest.approx(9223369200)
    with pytest.raises(ValueError, match="292 years"):
        duration_s("2562048h")


@pytest.mark.parametrize("time_s", [-1e30, seconds("0001-01-01T00:00:00+12:00"), -1.0])
def test_a_time_before_all_others_is_their_first(time_s: float) -> None:
    assert rfc3339(time_s) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("time_s", [float("inf"), seconds("9999-12-31T23:59:59-12:00"), 3e11])
def test_a_time_after_all_others_is_their_last(time_s: float) -> None:
    assert rfc3339(time_s) == "9999-12-31T23:59:59Z"

"""Is every scenario either run or named with the reason why not? The lists below are the whole truth."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Final

from tests.dataplane.cases import ids

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]

ELSEWHERE: Final = {
    "A3-direct-routing-two-subnets": "tests/agent/test_vxlan.py::test_direct_routing_follows_the_peer_across_subnets",
    "A5-direct-becomes-routed": "tests/agent/test_vxlan.py::test_direct_routing_follows_the_peer_across_subnets",
    "C2-own-podcidr-late": "tests/agent/test_host_gw.py::test_waits_for_its_pod_cidr_and_routes_to_peers_meanwhile",
    "C5-interface-selection": "tests/agent/test_own_node.py::test_the_internal_ip_decides_the_underlay_not_the_default_route",
    "D7-event-socket-overrun": "tests/agent/test_storms.py::test_a_storm_of_foreign_routes_hides_no_change_of_ours",
    "D9-transient-netlink-errors": "tests/agent/test_reconcile.py::test_what_the_kernel_had_no_room_for_is_done_in_a_later_turn",
    "E2-foreign-route-conflict": "tests/agent/test_host_gw.py::test_never_touches_a_foreign_route_and_takes_its_place_once_it_is_gone",
    "E3-foreign-conflict-clears": "tests/agent/test_host_gw.py::test_never_touches_a_foreign_route_and_takes_its_place_once_it_is_gone",
    "G2-underlay-mtu-shrinks-live": "tests/agent/test_own_node.py::test_writes_what_flannels_plug_in_and_dockerd_read",
    "G8-sink-never-beats-bridge": "tests/agent/test_cni_plugins.py::test_a_bridge_flap_does_not_leave_pods_behind_the_sink",
    "H3-peer-mac-rotation": "tests/agent/test_flannel.py::test_pods_of_both_kinds_of_nodes_reach_each_other",
    "I5-conflist-valid-for-stock-plugins": "tests/agent/test_cni_plugins.py::test_the_real_plug_ins_attach_a_pod",
    "J3-rule-drift": "tests/agent/test_masquerade.py::test_puts_a_disturbed_table_right_and_leaves_others_alone",
    "O6-v4-pods-on-v6-underlay": "tests/agent/test_own_node.py::test_ipv4_pods_reach_each_other_over_an_ipv6_underlay",
}
"""Proved by a test of the agent's own."""

_BGP: Final = "BGP is a later issue"
LATER: Final = {
    "L1-mesh": _BGP,
    "L2-kill9-keeps-forwarding": _BGP,
    "L3-node-add-is-soft": _BGP,
    "L4-password-not-leaked": _BGP,
    "L7-route-reflector-switch": _BGP,
    "L8-bad-config-rolls-back": _BGP,
    "L9-bird-crash-loop": _BGP,
}
"""Not run yet, and why."""


def run_here() -> dict[str, str]:
    """The tests of this folder by the scenarios they carry."""
    found: dict[str, str] = {}
    for path in sorted(_HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.dataplane.{path.stem}")
        for name, test in vars(module).items():
            for scenario in getattr(test, "scenarios", ()):
                found[scenario] = f"{path.stem}::{name}"
    return found


def test_every_scenario_is_run_or_named_with_the_reason() -> None:
    run = set(run_here())
    listed = [*run, *ELSEWHERE, *LATER]
    assert sorted(set(listed)) == sorted(ids()), "nothing is forgotten, nothing invented"
    assert len(listed) == len(set(listed)) == 68, "each stands in one place"
    assert all(LATER.values())


def test_what_is_proved_elsewhere_is_really_there() -> None:
    for place in set(ELSEWHERE.values()):
        file, _, name = place.partition("::")
        tree = ast.parse((_ROOT / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place

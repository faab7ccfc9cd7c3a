"""Which test plays which scenario of data/dataplane.yaml? Every scenario has one here, or a reason why it has none yet."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent

PLAYED = {
    "A2-vxlan-classic": "agent/test_vxlan.py::test_programs_what_flanneld_would",
    "A3-direct-routing-two-subnets": "agent/test_vxlan.py::test_direct_routing_follows_the_peer_across_subnets",
    "A4-host-gw-peer-not-on-link": "agent/test_host_gw.py::test_a_peer_off_the_segment_is_reported_and_stops_nobody",
    "A5-direct-becomes-routed": "agent/test_vxlan.py::test_direct_routing_follows_the_peer_across_subnets",
    "A6-several-cidrs-per-node": "agent/test_tools.py::test_peers_come_from_the_ledger_as_well",
    "B1-node-delete-live": "agent/test_host_gw.py::test_follows_nodes_that_come_move_and_go",
    "B3-recreated-same-name-new-cidr-coalesced": (
        "agent/test_vxlan.py::test_a_node_recreated_under_its_name_leaves_nothing_of_the_old_one"
    ),
    "B5-duplicate-cidr-conflict": "routing/test_desired.py::test_a_pod_cidr_that_moves_between_nodes_is_replaced_in_place",
    "B7-sigkill-at-random-points": "agent/test_storms.py::test_killed_at_any_moment_it_ends_as_wanted",
    "C2-own-podcidr-late": "agent/test_host_gw.py::test_waits_for_its_pod_cidr_and_routes_to_peers_meanwhile",
    "C5-interface-selection": "agent/test_own_node.py::test_the_internal_ip_decides_the_underlay_not_the_default_route",
    "D2-overlay-deleted": "agent/test_vxlan.py::test_heals_device_entries_and_values",
    "D3-nic-flap": "agent/test_vxlan.py::test_heals_device_entries_and_values",
    "D5-single-object-deleted": "agent/test_vxlan.py::test_heals_device_entries_and_values",
    "D6-wrong-values": "agent/test_vxlan.py::test_heals_device_entries_and_values",
    "D7-event-socket-overrun": "agent/test_storms.py::test_a_storm_of_foreign_routes_hides_no_change_of_ours",
    "D8-dump-interrupted": "agent/test_storms.py::test_foreign_churn_during_audits_changes_nothing_of_ours",
    "D9-transient-netlink-errors": (
        "agent/test_reconcile.py::test_what_the_kernel_had_no_room_for_is_done_in_a_later_turn"
    ),
    "E2-foreign-route-conflict": (
        "agent/test_host_gw.py::test_never_touches_a_foreign_route_and_takes_its_place_once_it_is_gone"
    ),
    "E3-foreign-conflict-clears": (
        "agent/test_host_gw.py::test_never_touches_a_foreign_route_and_takes_its_place_once_it_is_gone"
    ),
    "E6-nft-neighbours-untouched": "agent/test_masquerade.py::test_puts_a_disturbed_table_right_and_leaves_others_alone",
    "F1-api-outage": "agent/test_host_gw.py::test_keeps_routes_and_says_so_once_while_the_api_is_away",
    "F2-start-during-outage": "agent/test_host_gw.py::test_a_start_without_the_api_changes_nothing",
    "F3-empty-list": "agent/test_host_gw.py::test_an_empty_list_removes_nothing",
    "F4-mass-delete-guard-threshold": (
        "agent/test_host_gw.py::test_a_mass_removal_waits_for_a_second_complete_list"
    ),
    "F5-watch-expired-410": "agent/test_host_gw.py::test_an_empty_list_removes_nothing",
    "F7-garbage-node-records": "routing/test_desired.py::test_refuses_a_pod_cidr_that_would_harm_the_host",
    "G2-underlay-mtu-shrinks-live": "agent/test_vxlan.py::test_a_shrinking_underlay_mtu_reaches_device_and_pods",
    "G3-big-packet-df": "agent/test_vxlan.py::test_programs_what_flanneld_would",
    "G5-gpe": "agent/test_vxlan.py::test_gpe_needs_one_route_a_peer_and_nothing_else",
    "G6-backend-switch-live": (
        "agent/test_vxlan.py::test_a_cluster_changes_its_backend_node_by_node_while_pods_talk"
    ),
    "G8-sink-never-beats-bridge": (
        "agent/test_cni_plugins.py::test_a_bridge_flap_does_not_leave_pods_behind_the_sink"
    ),
    "H3-peer-mac-rotation": "agent/test_flannel.py::test_pods_of_both_kinds_of_nodes_reach_each_other",
    "H5-other-backend-type-ignored": (
        "routing/test_flannel.py::test_a_peer_with_another_backend_is_reached_directly_or_reported"
    ),
    "H6-overwrite-annotation": "routing/test_flannel.py::test_ours_are_what_flanneld_reads",
    "H7-old-peer-without-vni": "routing/test_flannel.py::test_an_old_peer_without_a_vni_is_understood",
    "H8-malformed-peer-data": (
        "routing/test_flannel.py::test_a_malformed_peer_is_skipped_and_reported_and_stops_nobody"
    ),
    "I1-subnet-env-v4": "routing/test_handover.py::test_subnet_env_is_flannels",
    "I5-conflist-valid-for-stock-plugins": "agent/test_cni_plugins.py::test_the_real_plug_ins_attach_a_pod",
    "I8-ranges-of-two-cidrs-same-family": (
        "routing/test_desired.py::test_all_pod_cidrs_of_a_family_share_one_range_list"
    ),
    "I9-range-edges": "routing/test_desired.py::test_writes_no_conflist_before_the_node_can_serve_pods",
    "J1-matrix": "agent/test_masquerade.py::test_only_what_leaves_the_pod_network_is_masqueraded",
    "J2-atomic-update": "agent/test_masquerade.py::test_no_packet_escapes_unmasqueraded_while_the_ranges_change",
    "J3-rule-drift": "agent/test_masquerade.py::test_puts_a_disturbed_table_right_and_leaves_others_alone",
    "J4-no-periodic-rewrite": "agent/test_own_node.py::test_a_steady_node_writes_nothing_to_the_api_or_the_kernel",
    "J6-masq-off": (
        "agent/test_masquerade.py::test_a_restart_does_not_touch_the_table_and_switching_off_removes_it"
    ),
    "K2-condition-not-owned": "agent/test_host_gw.py::test_leaves_the_condition_to_others_when_told_so",
    "K3-health-endpoints": (
        "agent/test_host_gw.py::test_loosens_the_source_check_of_the_underlay_and_keeps_router_advertisements"
    ),
    "K4-status-patch-rate": "agent/test_own_node.py::test_a_steady_node_writes_nothing_to_the_api_or_the_kernel",
    "K5-shutdown": "agent/test_host_gw.py::test_stops_within_a_second_and_leaves_forwarding",
    "N3-cleanup-idempotent": "agent/test_tools.py::test_cleanup_removes_everything_of_ours_and_nothing_else",
    "O2-accept-ra-kept": (
        "agent/test_own_node.py::test_forwarding_does_not_cost_the_default_route_learned_from_a_router"
    ),
    "O3-v4-only-change-in-dual-stack": "agent/test_flannel.py::test_pods_of_both_kinds_of_nodes_reach_each_other",
    "O4-family-added-later": "agent/test_own_node.py::test_a_family_added_later_rewrites_nothing_of_the_first",
    "O6-v4-pods-on-v6-underlay": (
        "agent/test_own_node.py::test_ipv4_pods_reach_each_other_over_an_ipv6_underlay"
    ),
}

ELSEWHERE = {
    "E4-bird-shares-the-host": "comes with BGP; foreign protocols are left alone by E2's test",
    "F6-stale-replica": "the informer's matter: tests/kube",
    "M1-5000-peers-cold": "tests/bench/agent.py",
    "M2-5000-peers-steady": "tests/bench/agent.py",
    "M5-churn": "not measured yet: B7's test covers the end state, nothing covers memory over a minute",
    "M6-list-paging": "the informer's matter: tests/kube",
}


def scenarios() -> list[str]:
    document = yaml.safe_load((HERE / "data" / "dataplane.yaml").read_text())
    return [scenario["id"] for scenario in document["scenarios"]]


@pytest.mark.parametrize("scenario", [name for name in scenarios() if not name.startswith("L")])
def test_every_scenario_is_played_somewhere(scenario: str) -> None:
    if scenario in ELSEWHERE:
        return
    file, _, name = PLAYED[scenario].partition("::")
    assert f"def {name}(" in (HERE.parent / file).read_text(), f"{PLAYED[scenario]} does not exist"


def test_no_scenario_is_claimed_that_does_not_exist() -> None:
    assert not (PLAYED.keys() | ELSEWHERE.keys()) - set(scenarios())

"""Ownership of fields follows every write, and server-side apply respects it."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.demo.apiserver import fieldset
from nodeipam_ctl.demo.apiserver.builtin_shapes import shape_of
from nodeipam_ctl.demo.apiserver.managedfields import ApplyConflict, apply, update
from nodeipam_ctl.demo.apiserver.shapes import Shape

NODE = shape_of("Node")
POD = shape_of("Pod")


def written(
    before: dict[str, Any] | None,
    after: dict[str, Any],
    *,
    manager: str = "m",
    subresource: str = "",
    now: str = "2026-01-01T00:00:00Z",
    lists: Shape = NODE,
) -> dict[str, Any]:
    """`after` with the managedFields the write leaves."""
    entries = update(
        before, after, manager=manager, now=now, group_version="v1", subresource=subresource, lists=lists
    )
    return {**after, "metadata": {**after.get("metadata", {}), "managedFields": entries}}


def applied(
    current: dict[str, Any] | None,
    config: dict[str, Any],
    *,
    manager: str,
    force: bool = False,
    now: str = "2026-01-01T00:00:00Z",
    lists: Shape = NODE,
) -> dict[str, Any]:
    return apply(
        current,
        config,
        manager=manager,
        force=force,
        now=now,
        group_version="v1",
        subresource="",
        lists=lists,
    )


def owned(obj: dict[str, Any], manager: str) -> Any:
    entries = [e["fieldsV1"] for e in obj["metadata"].get("managedFields", []) if e["manager"] == manager]
    return entries[0] if entries else None


def node(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "uid": "u"},
        "spec": spec,
        "status": {},
    }


class TestUpdate:
    def test_creation_gives_all_but_the_servers_fields_and_the_zero_values(self) -> None:
        obj = node(podCIDR="10.0.0.0/24", podCIDRs=["10.0.0.0/24"])
        obj["metadata"]["labels"] = {"zone": "a"}
        obj["status"] = {"addresses": []}
        assert owned(written(None, obj), "m") == {
            "f:metadata": {"f:labels": {".": {}, "f:zone": {}}},
            "f:spec": {"f:podCIDR": {}, "f:podCIDRs": {".": {}, 'v:"10.0.0.0/24"': {}}},
        }

    def test_a_write_without_change_keeps_the_very_list(self) -> None:
        first = written(None, node(podCIDR="10.0.0.0/24"))
        again = update(
            first,
            copy.deepcopy(first),
            manager="o",
            now="later",
            group_version="v1",
            subresource="",
            lists=NODE,
        )
        assert again is first["metadata"]["managedFields"]

    def test_a_changed_field_moves_to_the_writer(self) -> None:
        first = written(None, node(unschedulable=True, providerID="x"), manager="a")
        second = written(first, {**first, "spec": {"unschedulable": False, "providerID": "x"}}, manager="b")
        assert owned(second, "a") == {"f:spec": {"f:providerID": {}}}
        assert owned(second, "b") == {"f:spec": {"f:unschedulable": {}}}

    def test_a_removed_field_belongs_to_nobody_and_an_owner_of_nothing_goes(self) -> None:
        first = written(None, node(unschedulable=True), manager="a")
        second = written(first, {**first, "spec": {}}, manager="b")
        assert second["metadata"]["managedFields"] == []

    def test_subresources_have_entries_of_their_own(self) -> None:
        first = written(None, node(providerID="x"))
        second = written(first, {**first, "status": {"phase": "Running"}}, subresource="status")
        assert [(e.get("subresource"), e["fieldsV1"]) for e in second["metadata"]["managedFields"]] == [
            (None, {"f:spec": {"f:providerID": {}}}),
            ("status", {"f:status": {"f:phase": {}}}),
        ]

    def test_list_items_are_owned_one_by_one(self) -> None:
        first = written(None, node(), manager="kubelet")
        first = written(
            first,
            {**first, "status": {"conditions": [{"type": "A", "status": "True"}]}},
            manager="kubelet",
            subresource="status",
        )
        conditions = [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]
        second = written(
            first, {**first, "status": {"conditions": conditions}}, manager="agent", subresource="status"
        )
        assert owned(second, "agent") == {
            "f:status": {"f:conditions": {'k:{"type":"B"}': {".": {}, "f:status": {}, "f:type": {}}}}
        }

    def test_two_addresses_of_one_type_are_owned_together(self) -> None:
        both = [
            {"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"},
        ]
        first = written(None, node())
        second = written(first, {**first, "status": {"addresses": both}}, subresource="status")
        assert owned(second, "m") == {"f:status": {"f:addresses": {".": {}, 'k:{"type":"InternalIP"}': {}}}}

    def test_times_change_only_with_what_is_owned(self) -> None:
        first = written(None, node(unschedulable=True), manager="a", now="t1")
        second = written(
            first, {**first, "spec": {"unschedulable": True, "providerID": "x"}}, manager="b", now="t2"
        )
        assert [(e["manager"], e["time"]) for e in second["metadata"]["managedFields"]] == [
            ("a", "t1"),
            ("b", "t2"),
        ]

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            pytest.param(None, ["a"], id="left out"),
            pytest.param([], ["a"], id="an empty list is taken for left out"),
            pytest.param([{}], [], id="one empty entry clears them"),
            pytest.param([{"manager": "x", "operation": "Nope"}], ["a"], id="unsound entries are ignored"),
        ],
    )
    def test_a_client_may_edit_them(self, sent: Any, kept: list[str]) -> None:
        first = written(None, node(unschedulable=True), manager="a")
        after = {**first, "metadata": {**first["metadata"], "managedFields": sent}}
        entries = update(first, after, manager="b", now="t", group_version="v1", subresource="", lists=NODE)
        assert [entry["manager"] for entry in entries] == kept

    def test_the_oldest_of_many_updaters_are_joined(self) -> None:
        obj = written(None, node(), manager="m0")
        for number in range(14):
            labels = {**obj["metadata"].get("labels", {}), f"l{number}": "x"}
            after = {**obj, "metadata": {**obj["metadata"], "labels": labels}}
            obj = written(obj, after, manager=f"m{number}", now=f"2026-01-01T00:00:{number:02}Z")
        entries = obj["metadata"]["managedFields"]
        assert len(entries) == 10
        assert entries[0]["manager"] == "ancient-changes"
        assert {f"f:l{number}" for number in range(5)} <= entries[0]["fieldsV1"]["f:metadata"][
            "f:labels"
        ].keys()

    def test_ports_without_a_protocol_are_tcp(self) -> None:
        pod = {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]},
        }
        container = owned(written(None, pod, lists=POD), "m")["f:spec"]["f:containers"]['k:{"name":"c"}']
        assert 'k:{"containerPort":80,"protocol":"TCP"}' in container["f:ports"]


class TestApply:
    CONFIG: ClassVar[dict[str, Any]] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "annotations": {"team": "net"}},
    }

    def test_creates_and_owns_what_it_states(self) -> None:
        made = applied(None, self.CONFIG, manager="one")
        assert owned(made, "one") == {"f:metadata": {"f:annotations": {"f:team": {}}}}

    def test_owns_nothing_when_it_states_nothing(self) -> None:
        made = applied(None, {"metadata": {"name": "n"}}, manager="one")
        assert "managedFields" not in made["metadata"]

    def test_again_changes_nothing(self) -> None:
        made = applied(None, self.CONFIG, manager="one")
        assert applied(made, self.CONFIG, manager="one", now="later") is made

    def test_the_same_value_is_owned_by_both(self) -> None:
        made = applied(applied(None, self.CONFIG, manager="one"), self.CONFIG, manager="two")
        assert owned(made, "one") == owned(made, "two")

    def test_another_value_conflicts_unless_forced(self) -> None:
        made = applied(None, self.CONFIG, manager="one")
        other = {"metadata": {"name": "n", "annotations": {"team": "sec"}}}
        with pytest.raises(ApplyConflict) as refusal:
            applied(made, other, manager="two")
        assert (
            refusal.value.message
            == 'Apply failed with 1 conflict: conflict with "one": .metadata.annotations.team'
        )
        assert refusal.value.causes == [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "one"',
                "field": ".metadata.annotations.team",
            }
        ]
        forced = applied(made, other, manager="two", force=True)
        assert forced["metadata"]["annotations"] == {"team": "sec"}
        assert owned(forced, "one") is None

    def test_many_conflicts_are_listed_by_manager(self) -> None:
        obj = written(None, node(unschedulable=True, providerID="x"), manager="kubelet")
        with pytest.raises(ApplyConflict) as refusal:
            applied(obj, node(unschedulable=False, providerID="y"), manager="two")
        assert refusal.value.message == (
            'Apply failed with 2 conflicts: conflicts with "kubelet" using v1:\n- .spec.providerID\n- .spec.unschedulable'
        )

    def test_a_field_left_out_goes(self) -> None:
        made = applied(
            None, {"metadata": {"name": "n", "annotations": {"team": "net", "b": "1"}}}, manager="one"
        )
        assert applied(made, self.CONFIG, manager="one")["metadata"]["annotations"] == {"team": "net"}

    def test_a_field_left_out_stays_while_another_owns_it(self) -> None:
        made = applied(applied(None, self.CONFIG, manager="one"), self.CONFIG, manager="two")
        left = applied(made, {"metadata": {"name": "n"}}, manager="one")
        assert left["metadata"]["annotations"] == {"team": "net"}
        assert owned(left, "one") is None

    def test_a_list_item_left_out_goes_with_all_it_holds(self) -> None:
        config = {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "image": "i"}]},
        }
        made = applied(None, config, manager="one", lists=POD)
        made["spec"]["containers"][1]["imagePullPolicy"] = "Always"
        less = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
        assert applied(made, less, manager="one", lists=POD)["spec"]["containers"] == [{"name": "a"}]

    def test_items_of_others_keep_their_place(self) -> None:
        config = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "b"}]}}
        pod = {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
        }
        made = applied(written(None, pod, lists=POD), config, manager="one", lists=POD)
        assert [container["name"] for container in made["spec"]["containers"]] == ["a", "b", "c"]
        more = {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c"}, {"name": "x"}, {"name": "a"}]},
        }
        made = applied(made, more, manager="one", force=True, lists=POD)
        assert [container["name"] for container in made["spec"]["containers"]] == ["b", "c", "x", "a"]

    def test_ignores_what_the_subresource_cannot_write(self) -> None:
        made = applied(None, {**self.CONFIG, "status": {"phase": "x"}}, manager="one")
        assert "status" not in made
        assert "f:status" not in owned(made, "one")


TREES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(st.sampled_from(["f:a", "f:b", "."]), inner, min_size=1, max_size=3).map(
        lambda tree: {key: ({} if key == "." else below) for key, below in tree.items()}
    ),
    max_leaves=8,
)


def members(tree: dict[str, Any] | None) -> set[str]:
    return set() if tree is None else set(fieldset.paths(tree))


@given(TREES, TREES)
def test_trees_are_sets_of_paths(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Below a root of its own, as an empty root means no members and an empty node one."""
    left, right = {"f:x": left}, {"f:x": right}
    assert members(fieldset.union_of_roots(left, right)) == members(left) | members(right)
    assert members(fieldset.minus(left, right)) == members(left) - members(right)
    assert members(fieldset.common(left, right)) == members(left) & members(right)

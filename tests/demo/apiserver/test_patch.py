"""Merge, JSON and strategic merge patch give what kube-apiserver gives."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.demo.apiserver.patch import PatchFailed, json_patch, merge_patch, strategic_merge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)


def reference_merge(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    target = dict(target)
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = reference_merge(target.get(name), value)
    return target


def typed(value: Any) -> Any:
    """A value in which True differs from 1."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return (type(value), value)


class TestMergePatch:
    @given(JSON, JSON)
    def test_is_rfc_7386_and_leaves_its_input_alone(self, target: Any, patch: Any) -> None:
        before = copy.deepcopy((target, patch))
        assert typed(merge_patch(target, patch)) == typed(reference_merge(target, patch))
        assert (target, patch) == before

    def test_returns_the_very_object_when_nothing_changes(self) -> None:
        target = {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}, "status": {}}
        assert merge_patch(target, {"spec": {"podCIDRs": ["10.0.0.0/24"]}, "metadata": None}) is target

    def test_shares_what_it_does_not_touch(self) -> None:
        target: dict[str, Any] = {"spec": {"a": 1}, "status": {"images": []}}
        patched = merge_patch(target, {"spec": {"a": 2}})
        assert patched["status"] is target["status"]
        assert target["spec"] == {"a": 1}

    def test_true_is_not_one(self) -> None:
        assert merge_patch({"a": [1]}, {"a": [True]})["a"][0] is True


class TestJsonPatch:
    def test_applies_in_order_and_leaves_its_input_alone(self) -> None:
        target = {"metadata": {"labels": {"a": "1"}}}
        patched = json_patch(
            target,
            [
                {"op": "test", "path": "/metadata/labels/a", "value": "1"},
                {"op": "add", "path": "/metadata/labels/x~1y", "value": "2"},
                {"op": "remove", "path": "/metadata/labels/a"},
            ],
        )
        assert patched == {"metadata": {"labels": {"x/y": "2"}}}
        assert target == {"metadata": {"labels": {"a": "1"}}}

    @pytest.mark.parametrize(
        "ops",
        [
            pytest.param([{"op": "test", "path": "/a", "value": 2}], id="a test that fails"),
            pytest.param([{"op": "remove", "path": "/b"}], id="a field that is not there"),
            pytest.param([{"op": "replace", "path": "/b", "value": 1}], id="replacing what is not there"),
            pytest.param([{"op": "add", "path": "/b/c", "value": 1}], id="a parent that is not there"),
            pytest.param([{"op": "add", "path": "/a/c", "value": 1}], id="a path into a number"),
            pytest.param([{"op": "add", "path": "/l/7", "value": 1}], id="an index beyond the list"),
            pytest.param([{"op": "frobnicate", "path": "/a"}], id="an unknown operation"),
            pytest.param([{"path": "/a"}], id="no operation"),
        ],
    )
    def test_refuses_what_cannot_be_applied_without_saying_why(self, ops: list[Any]) -> None:
        with pytest.raises(PatchFailed) as refusal:
            json_patch({"a": 1, "l": [1]}, ops)
        assert refusal.value.reason == "Invalid"
        assert refusal.value.message == "the server rejected our request due to an error in our request"

    @pytest.mark.parametrize(
        ("ops", "reason", "message"),
        [
            pytest.param(
                {"op": "add"},
                "BadRequest",
                "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
                id="no list",
            ),
            pytest.param(
                ["add"],
                "BadRequest",
                "json: cannot unmarshal string into Go value of type jsonpatch.Operation",
                id="an operation that is no object",
            ),
            pytest.param(
                [{"op": "test", "path": "/a", "value": 1}] * 10_001,
                "RequestEntityTooLarge",
                "The allowed maximum operations in a JSON patch is 10000, got 10001",
                id="too many operations",
            ),
        ],
    )
    def test_refuses_a_body_that_is_no_patch(self, ops: Any, reason: str, message: str) -> None:
        with pytest.raises(PatchFailed) as refusal:
            json_patch({"a": 1}, ops)
        assert (refusal.value.reason, refusal.value.message) == (reason, message)


def condition(name: str, status: str = "True") -> dict[str, str]:
    return {"type": name, "status": status}


@pytest.mark.parametrize(
    ("kind", "target", "patch", "expected"),
    [
        pytest.param(
            "Node",
            {"status": {"conditions": [condition("A")]}},
            {"status": {"conditions": [condition("B")]}},
            {"status": {"conditions": [condition("B"), condition("A")]}},
            id="a new condition goes before the others",
        ),
        pytest.param(
            "Node",
            {"status": {"conditions": [condition("A"), condition("B"), condition("C")]}},
            {"status": {"conditions": [{"type": "B", "status": "False"}]}},
            {"status": {"conditions": [condition("A"), condition("B", "False"), condition("C")]}},
            id="a known condition keeps its place",
        ),
        pytest.param(
            "Node",
            {"status": {"conditions": [{"type": "A", "status": "True", "reason": "r"}]}},
            {"status": {"conditions": [{"type": "A", "reason": None}]}},
            {"status": {"conditions": [condition("A")]}},
            id="null removes a field of an item",
        ),
        pytest.param(
            "Node",
            {"status": {"conditions": [condition("A"), condition("B")]}},
            {"status": {"conditions": [{"$patch": "delete", "type": "A"}]}},
            {"status": {"conditions": [condition("B")]}},
            id="an item is deleted by its key",
        ),
        pytest.param(
            "Node",
            {"status": {"conditions": [condition("A")]}},
            {"status": {"conditions": [condition("Z"), {"$patch": "replace"}]}},
            {"status": {"conditions": [condition("Z")]}},
            id="a list is replaced on request",
        ),
        pytest.param(
            "Node",
            {"status": {"conditions": [condition("A"), condition("B"), condition("C")]}},
            {"status": {"$setElementOrder/conditions": [{"type": "C"}, {"type": "A"}]}},
            {"status": {"conditions": [condition("B"), condition("C"), condition("A")]}},
            id="an order is set, and an item it does not name stays before what it preceded",
        ),
        pytest.param(
            "Node",
            {"spec": {"podCIDRs": ["10.1.0.0/24"]}},
            {"spec": {"podCIDRs": ["10.2.0.0/24", "10.1.0.0/24"]}},
            {"spec": {"podCIDRs": ["10.2.0.0/24", "10.1.0.0/24"]}},
            id="podCIDRs are a set",
        ),
        pytest.param(
            "Node",
            {"spec": {"podCIDRs": ["10.1.0.0/24", "fd00::/64"]}},
            {"spec": {"$deleteFromPrimitiveList/podCIDRs": ["fd00::/64"]}},
            {"spec": {"podCIDRs": ["10.1.0.0/24"]}},
            id="scalars are deleted from a set",
        ),
        pytest.param(
            "Node",
            {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
            {"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}},
            {"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}},
            id="taints are replaced: core/v1 gives them no merge key",
        ),
        pytest.param(
            "Node",
            {"metadata": {"finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            {"metadata": {"finalizers": ["b", "a"]}},
            id="finalizers are a set in every kind",
        ),
        pytest.param(
            "Pod",
            {"spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]}},
            {"spec": {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]}]}},
            {
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                        }
                    ]
                }
            },
            id="lists inside list items merge as well",
        ),
        pytest.param(
            "Deployment",
            {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
            {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
            {"spec": {"strategy": {"type": "Recreate"}}},
            id="retainKeys drops the other keys",
        ),
        pytest.param(
            "ConfigMap",
            {"data": {"a": "1", "b": "2"}},
            {"data": {"$patch": "replace", "c": "3"}},
            {"data": {"c": "3"}},
            id="a map is replaced on request",
        ),
        pytest.param(
            "ConfigMap",
            {},
            {"data": {"a": "1", "b": None}},
            {"data": {"a": "1"}},
            id="a new map holds no nulls",
        ),
    ],
)
def test_strategic_merge(
    kind: str, target: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = copy.deepcopy((target, patch))
    assert strategic_merge(target, patch, kind=kind) == expected
    assert (target, patch) == before


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        pytest.param(
            {"status": {"conditions": [{"status": "True"}]}},
            "map: map[status:True] does not contain declared merge key: type",
            id="an item without its key",
        ),
        pytest.param(
            {"spec": {"$patch": "frobnicate"}},
            "Unknown patch type found: frobnicate",
            id="an unknown directive",
        ),
        pytest.param(
            {"spec": {"podCIDRs": [{"a": 1}]}},
            "invalid patch format of primitive list",
            id="an object among scalars",
        ),
        pytest.param(
            {"spec": {"$setElementOrder/podCIDRs": "x"}},
            "setElementOrder must be a list",
            id="an order that is no list",
        ),
    ],
)
def test_strategic_merge_refuses_bad_patches(patch: dict[str, Any], message: str) -> None:
    target = {"spec": {"podCIDRs": ["10.1.0.0/24"]}, "status": {"conditions": [condition("A")]}}
    with pytest.raises(PatchFailed) as refusal:
        strategic_merge(target, patch, kind="Node")
    assert (refusal.value.reason, refusal.value.message) == ("BadRequest", message)

"""A custom resource is defaulted, pruned and refused as by kube-apiserver."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from nodeipam_ctl.demo.apiserver.schema import Structural
from nodeipam_ctl.demo.apiserver.schema_check import faults

RECORDED = {
    entry["id"]: entry
    for line in (Path(__file__).parent / "data" / "transcript.jsonl").read_text().splitlines()
    for entry in [json.loads(line)]
}
RANGE = Structural(
    RECORDED["crd-create"]["request"]["body"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
)
NOT_CHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def schema(**spec: Any) -> Structural:
    """A schema whose `spec` has the given fields."""
    return Structural({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}})


def said(structural: Structural, spec: Any, old: Any = None) -> list[str]:
    before = None if old is None else {"spec": old}
    return [f"{cause.field}: {cause.message}" for cause in structural.validate({"spec": spec}, before)]


@pytest.mark.parametrize("recorded", [name for name in RECORDED if name.startswith("cr-bad-")])
def test_refuses_as_a_real_server_did(recorded: str) -> None:
    obj = copy.deepcopy(RECORDED[recorded]["request"]["body"])
    RANGE.prune(obj)
    RANGE.default(obj)
    causes = RECORDED[recorded]["response"]["body"]["details"]["causes"]
    assert {(cause.reason, cause.message, cause.field) for cause in RANGE.validate(obj, None)} == {
        (cause["reason"], cause["message"], cause["field"]) for cause in causes
    }


@pytest.mark.parametrize("recorded", ["cr-create", "cr-create-pruned"])
def test_fills_and_prunes_as_a_real_server_did(recorded: str) -> None:
    obj = copy.deepcopy(RECORDED[recorded]["request"]["body"])
    assert RANGE.prune(obj) == (["spec.nope"] if recorded == "cr-create-pruned" else [])
    RANGE.default(obj)
    assert obj["spec"] == RECORDED[recorded]["response"]["body"]["spec"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param({"type": "integer"}, "x", 'of type integer: "string"', id="a text for an integer"),
        pytest.param({"type": "integer"}, 1.5, 'of type integer: "number"', id="a fraction for an integer"),
        pytest.param({"type": "string"}, None, 'of type string: "null"', id="null"),
        pytest.param({"type": "boolean"}, 1, 'of type boolean: "integer"', id="a number for a boolean"),
        pytest.param(
            {"type": "integer", "maximum": 5}, 6, "should be less than or equal to 5", id="a maximum"
        ),
        pytest.param(
            {"type": "integer", "minimum": 5, "exclusiveMinimum": True},
            5,
            "should be greater than 5",
            id="exclusive",
        ),
        pytest.param({"type": "integer", "multipleOf": 4}, 5, "should be a multiple of 4", id="multiples"),
        pytest.param(
            {"type": "string", "minLength": 2}, "x", "should be at least 2 chars long", id="a minimal length"
        ),
        pytest.param({"type": "string", "pattern": "^a+$"}, "b", "should match '^a+$'", id="a pattern"),
        pytest.param(
            {"type": "string", "format": "date-time"},
            "now",
            'must be of type date-time: "now"',
            id="a format",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            [],
            "should have at least 1 items",
            id="min items",
        ),
    ],
)
def test_words_of_limits(field: dict[str, Any], value: Any, message: str) -> None:
    first = said(schema(f=field), {"f": value})[0]
    assert first.startswith("spec.f: Invalid value: ")
    assert first.endswith(message)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        pytest.param(
            {"type": "string", "maxLength": 2},
            "abc",
            "spec.f: Too long: may not be more than 2 bytes",
            id="text",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string"}, "maxItems": 1},
            ["a", "b"],
            "spec.f: Too many: 2: must have at most 1 item",
            id="a list",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 0},
            {"a": "b"},
            "spec.f: Too many: 1: must have at most 0 items",
            id="a map",
        ),
    ],
)
def test_what_is_too_much_leaves_rules_unchecked(field: dict[str, Any], value: Any, sentence: str) -> None:
    ruled = {**field, "x-kubernetes-validations": [{"rule": "false"}]}
    assert said(schema(f=ruled), {"f": value}) == [sentence, NOT_CHECKED]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param({"type": "string", "nullable": True}, None, id="a nullable null"),
        pytest.param({"x-kubernetes-int-or-string": True}, "80%", id="a text for int-or-string"),
        pytest.param({"x-kubernetes-int-or-string": True}, 80, id="an int for int-or-string"),
        pytest.param({"type": "number"}, 3, id="an integer for a number"),
        pytest.param({"type": "integer"}, 3.0, id="a whole float for an integer"),
        pytest.param(
            {"type": "string", "format": "date-time"}, "2026-01-01T00:00:00.123456789Z", id="nanoseconds"
        ),
        pytest.param({"type": "string", "format": "no-such-format"}, "x", id="a format nobody knows"),
        pytest.param(
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            {"a": {"b": 1}},
            id="free fields",
        ),
    ],
)
def test_accepts(field: dict[str, Any], value: Any) -> None:
    structural = schema(f=field)
    obj = {"spec": {"f": copy.deepcopy(value)}}
    assert structural.prune(obj) == []
    assert said(structural, obj["spec"]) == []
    assert obj["spec"]["f"] == value


def test_prunes_inside_lists_and_maps_but_not_the_envelope() -> None:
    item = {"type": "object", "properties": {"known": {"type": "string"}}}
    structural = schema(
        list={"type": "array", "items": item},
        map={"type": "object", "additionalProperties": item},
        free={"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"p": item}},
    )
    obj: dict[str, Any] = {
        "metadata": {"anything": 1},
        "spec": {
            "list": [{"known": "a", "x": 1}],
            "map": {"k": {"y": 1}},
            "free": {"z": 1, "p": {"q": 1}},
        },
    }
    assert sorted(structural.prune(obj)) == ["spec.free.p.q", "spec.list[0].x", "spec.map.k.y"]
    assert obj == {
        "metadata": {"anything": 1},
        "spec": {"list": [{"known": "a"}], "map": {"k": {}}, "free": {"z": 1, "p": {}}},
    }


def test_defaults_go_all_the_way_down_and_replace_nulls() -> None:
    inner = {"type": "object", "default": {}, "properties": {"a": {"type": "integer", "default": 1}}}
    structural = schema(one=inner, many={"type": "array", "items": inner}, text={"type": "string"})
    obj: dict[str, Any] = {"spec": {"one": None, "many": [{}], "text": None}}
    structural.default(obj)
    assert obj == {"spec": {"one": {"a": 1}, "many": [{"a": 1}]}}


KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name", "side"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "side": {"type": "string", "default": "left"},
            "size": {
                "type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "shrinks"}],
            },
        },
    },
}


def test_items_of_one_name_are_duplicates_with_defaults_counted() -> None:
    structural = schema(f=KEYED)
    spec = {"f": [{"name": "a"}, {"name": "b"}, {"name": "a", "side": "left"}]}
    assert said(structural, spec) == ['spec.f[2]: Duplicate value: {"name":"a","side":"left"}']
    assert said(structural, {**spec, "g": 1}, spec) == []


def test_items_of_keyed_lists_are_compared_with_what_they_were() -> None:
    structural = schema(f=KEYED)
    old = {"f": [{"name": "a", "size": 5}, {"name": "b", "size": 7}]}
    moved = {"f": [{"name": "b", "size": 7}, {"name": "a", "size": 4}, {"name": "c", "size": 0}]}
    assert said(structural, moved, old) == ["spec.f[1].size: Invalid value: 4: shrinks"]


def rule(**entry: Any) -> Structural:
    return schema(f={"type": "string", "x-kubernetes-validations": [entry]})


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        pytest.param(
            {"rule": "self == 'a'"}, "spec.f: Invalid value: \"b\": failed rule: self == 'a'", id="no message"
        ),
        pytest.param(
            {"rule": "self == 'a'", "message": "m"}, 'spec.f: Invalid value: "b": m', id="a message"
        ),
        pytest.param(
            {"rule": "self == 'a'", "message": "m", "messageExpression": "'not ' + self"},
            'spec.f: Invalid value: "b": not b',
            id="a messageExpression",
        ),
        pytest.param(
            {"rule": "self == 'a'", "message": "m", "messageExpression": "self.split('')[9]"},
            'spec.f: Invalid value: "b": m',
            id="a messageExpression that fails",
        ),
        pytest.param(
            {"rule": "self == 'a'", "message": "m", "reason": "FieldValueForbidden"},
            "spec.f: Forbidden: m",
            id="forbidden",
        ),
        pytest.param(
            {"rule": "self == 'a'", "message": "m", "reason": "FieldValueRequired"},
            "spec.f: Required value: m",
            id="required",
        ),
        pytest.param(
            {"rule": "self == 'a'", "message": "m", "reason": "FieldValueDuplicate"},
            'spec.f: Duplicate value: "b"',
            id="duplicate",
        ),
    ],
)
def test_words_of_rules(entry: dict[str, Any], cause: str) -> None:
    assert said(rule(**entry), {"f": "b"}) == [cause]


def test_a_rule_may_name_the_field_it_is_about() -> None:
    structural = Structural(
        {
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"f": {"type": "string"}}}},
            "x-kubernetes-validations": [
                {"rule": "self.spec.f == 'a'", "message": "m", "fieldPath": ".spec.f"}
            ],
        }
    )
    assert said(structural, {"f": "b"}) == ["spec.f: Invalid value: m"]


def test_a_rule_without_value_is_broken() -> None:
    structural = schema(
        f={
            "type": "object",
            "properties": {"g": {"type": "string"}},
            "x-kubernetes-validations": [{"rule": "self.g == 'a'", "message": "m"}],
        }
    )
    assert said(structural, {"f": {}}) == ["spec.f: Invalid value: no such key: g evaluating rule: m"]


class TestRatcheting:
    def test_an_unchanged_fault_is_accepted(self) -> None:
        strict = rule(rule="self == 'a'", message="m")
        assert said(strict, {"f": "b", "g": 2}, {"f": "b", "g": 1}) == []
        assert said(strict, {"f": "c"}, {"f": "b"}) == ['spec.f: Invalid value: "c": m']

    def test_a_rule_about_change_waits_for_an_update(self) -> None:
        immutable = rule(rule="self == oldSelf", message="is immutable")
        assert said(immutable, {"f": "b"}) == []
        assert said(immutable, {"f": "b"}, {}) == []
        assert said(immutable, {"f": "b"}, {"f": "a"}) == ['spec.f: Invalid value: "b": is immutable']

    def test_an_optional_old_value_is_looked_at_on_creation(self) -> None:
        created_once = rule(
            rule="oldSelf.hasValue() || self == 'a'", optionalOldSelf=True, message="starts as a"
        )
        assert said(created_once, {"f": "b"}) == ['spec.f: Invalid value: "b": starts as a']
        assert said(created_once, {"f": "b"}, {"f": "a"}) == []


PREFIX = "spec.validation.openAPIV3Schema"


@pytest.mark.parametrize(
    ("field", "path", "message"),
    [
        pytest.param(
            {}, ".type", "Required value: must not be empty for specified object fields", id="no type"
        ),
        pytest.param(
            {"type": "text"}, ".type", 'Unsupported value: "text": supported values: ', id="an unknown type"
        ),
        pytest.param({"type": "array"}, ".items", "Required value: must be specified", id="a list of what?"),
        pytest.param(
            {"type": "array", "items": {}},
            ".items.type",
            "Required value: must not be empty for specified array items",
            id="items without type",
        ),
        pytest.param(
            {"type": "object", "$ref": "#/x"}, ".$ref", "Forbidden: '$ref' is not supported", id="a reference"
        ),
        pytest.param(
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
            ".x-kubernetes-list-map-keys",
            "Required value: must not be empty if x-kubernetes-list-type is map",
            id="a keyed list without keys",
        ),
        pytest.param(
            {
                "type": "array",
                "items": {"type": "object", "properties": {"k": {"type": "string"}}},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
            },
            ".items.properties[k].default",
            "Required value: this property is in x-kubernetes-list-map-keys",
            id="a key that may be absent",
        ),
        pytest.param(
            {"type": "integer", "default": "x"}, ".default", 'Invalid value: "string"', id="a wrong default"
        ),
        pytest.param(
            {"type": "object", "anyOf": [{"type": "string"}]},
            ".anyOf[0].type",
            "Forbidden: must be empty to be structural",
            id="a type inside anyOf",
        ),
        pytest.param(
            {"type": "string", "x-kubernetes-validations": [{"rule": "nope(self)"}]},
            ".x-kubernetes-validations[0].rule",
            "Invalid value: \"nope(self)\": compilation failed: ERROR: <input>:1:5: undeclared reference to 'nope'",
            id="a rule that does not compile",
        ),
        pytest.param(
            {"type": "string", "x-kubernetes-validations": [{"rule": "true", "messageExpression": "1"}]},
            ".x-kubernetes-validations[0].messageExpression",
            'Invalid value: "1": messageExpression must evaluate to a string',
            id="a message that is no text",
        ),
        pytest.param(
            {
                "type": "array",
                "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
            },
            ".items.x-kubernetes-validations[0].rule",
            'Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion',
            id="an old value nobody can find",
        ),
    ],
)
def test_refuses_schemas_that_are_not_structural(field: dict[str, Any], path: str, message: str) -> None:
    found = faults({"type": "object", "properties": {"f": field}})
    assert [cause.field for cause in found] == [f"{PREFIX}.properties[f]{path}"]
    assert found[0].message.startswith(message)


def test_the_recorded_schema_is_structural() -> None:
    assert (
        faults(RECORDED["crd-create"]["request"]["body"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        == []
    )

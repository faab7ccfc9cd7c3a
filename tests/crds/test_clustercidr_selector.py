"""Which nodeSelectors a ClusterCIDR may have, and the sentence each mistake gets."""

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
NODE_NAME = "is not a node name; use lower case letters, digits, '-' and '.', as kubectl get nodes prints it"
NOT_CHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def said(spec: dict[str, Any]) -> list[str]:
    """Every complaint about a ClusterCIDR, as `field: message`."""
    obj: dict[str, Any] = {"metadata": {"name": "default"}, "spec": copy.deepcopy(spec)}
    assert SCHEMA.prune(obj) == []
    SCHEMA.default(obj)
    return [f"{cause.field}: {cause.message}" for cause in SCHEMA.validate(obj, None)]


def term(**requirement: Any) -> dict[str, Any]:
    return {"ipv4": V4, "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}


def field_term(**requirement: Any) -> dict[str, Any]:
    return {"ipv4": V4, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [requirement]}]}}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(term(key="a", operator="In", values=["x", "y"]), id="In"),
        pytest.param(
            term(key="example.com/a_B.c", operator="NotIn", values=["x"]), id="NotIn with a qualified key"
        ),
        pytest.param(term(key="a", operator="Exists"), id="Exists"),
        pytest.param(term(key="a", operator="DoesNotExist", values=[]), id="DoesNotExist with an empty list"),
        pytest.param(term(key="a", operator="Gt", values=["-5"]), id="Gt"),
        pytest.param(term(key="a", operator="Lt", values=["5"]), id="Lt"),
        pytest.param(
            field_term(key="metadata.name", operator="In", values=["node-7.example"]), id="a node by name"
        ),
        pytest.param(
            {"ipv4": V4, "nodeSelector": {"nodeSelectorTerms": [{}]}}, id="a term that matches nothing"
        ),
    ],
)
def test_accepts(spec: dict[str, Any]) -> None:
    assert said(spec) == []


@pytest.mark.parametrize(
    ("spec", "sentences"),
    [
        pytest.param(
            {"ipv4": V4, "nodeSelector": {"nodeSelectorTerms": []}},
            [
                (
                    "spec.nodeSelector.nodeSelectorTerms: Invalid value: nodeSelectorTerms is empty, so no node would match; "
                    "add a term, or leave nodeSelector out to serve every node"
                )
            ],
            id="a selector without terms",
        ),
        pytest.param(
            {"ipv4": V4, "nodeSelector": {}},
            ["spec.nodeSelector.nodeSelectorTerms: Required value", NOT_CHECKED],
            id="a selector without the list of terms",
        ),
    ],
)
def test_refuses_a_selector_without_terms(spec: dict[str, Any], sentences: list[str]) -> None:
    assert said(spec) == sentences


REQUIREMENT = "spec.nodeSelector.nodeSelectorTerms[0].matchExpressions[0]"


@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        pytest.param(
            {"key": "a", "operator": "In"},
            "operators In and NotIn need at least one entry in values",
            id="In without values",
        ),
        pytest.param(
            {"key": "a", "operator": "NotIn", "values": []},
            "operators In and NotIn need at least one entry in values",
            id="NotIn with none",
        ),
        pytest.param(
            {"key": "a", "operator": "Exists", "values": ["x"]},
            "operators Exists and DoesNotExist look at the key alone; remove values",
            id="Exists with values",
        ),
        pytest.param(
            {"key": "a", "operator": "Gt", "values": ["1", "2"]},
            'operators Gt and Lt compare with one integer; give exactly one entry in values, for instance ["4"]',
            id="Gt with two values",
        ),
        pytest.param(
            {"key": "a", "operator": "Lt", "values": ["four"]},
            'operators Gt and Lt compare with one integer; give exactly one entry in values, for instance ["4"]',
            id="Lt with a word",
        ),
    ],
)
def test_refuses_values_that_do_not_go_with_the_operator(requirement: dict[str, Any], sentence: str) -> None:
    assert said(term(**requirement)) == [f"{REQUIREMENT}: Invalid value: {sentence}"]


def test_refuses_keys_that_are_no_label_names() -> None:
    found = said(term(key="NoUppercaseOrSpecialCharsLike=Equals", operator="Exists"))
    assert len(found) == 1
    assert found[0].startswith(f"{REQUIREMENT}.key: Invalid value: ")
    assert "is not a label name" in found[0]


def test_refuses_other_fields_than_the_name_and_names_no_node_has() -> None:
    assert said(field_term(key="spec.unschedulable", operator="In", values=["x"]))[0].endswith(
        'Unsupported value: "spec.unschedulable": supported values: "metadata.name"'
    )
    assert said(field_term(key="metadata.name", operator="Exists"))[0].endswith(
        'Unsupported value: "Exists": supported values: "In", "NotIn"'
    )
    assert said(field_term(key="metadata.name", operator="In", values=["Not_A_Name"]))[0].endswith(NODE_NAME)
    assert "give exactly one entry in values" in said(field_term(key="metadata.name", operator="In"))[0]

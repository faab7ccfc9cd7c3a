"""Acceptance cases about what a ClusterCIDR may say: by our definition, and by our reading of upstream's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver.schema import Structural
from nodeipam_ctl.kube.wire.cluster_cidrs import decode_cluster_cidr, decode_x_cluster_cidr
from nodeipam_ctl.model import ClusterCIDR
from tests.ipam.cases import DISAGREEMENTS, Case, by_id, case_id, network, of_groups

CRDS = Path(__file__).parents[2] / "crds"
SCHEMA = Structural(
    yaml.safe_load((CRDS / "nodeipam.dev_clustercidrs.yaml").read_text())["spec"]["versions"][0]["schema"][
        "openAPIV3Schema"
    ]
)
OUR_WORDS = {"A CIDR must be specified": "the pool has no addresses; give spec.ipv4, spec.ipv6 or both"}
"""Sentences that we say with the remedy."""

ABOUT_SELECTORS = [case["id"] for case in of_groups("validate_create") if case["id"].startswith("VAL-SEL-")]
NOT_A_CIDR = "UPD-04"
"""Upstream refuses it as a change; we, because its new range cannot be parsed."""

Spec = dict[str, Any]


def ours(spec: Case) -> Spec:
    """The spec in our words; host bits are masked, as the file's conventions say, and what is no CIDR stays as it is."""
    made: Spec = {}
    if "nodeSelector" in spec:
        made["nodeSelector"] = spec["nodeSelector"]
    for field, bits in (("ipv4", 32), ("ipv6", 128)):
        if field in spec:
            made[field] = {
                "cidrs": [masked(spec[field])],
                "nodeMaskSize": bits - spec["perNodeHostBits"],
            }
    return made


def masked(text: str) -> str:
    try:
        return str(network(text))
    except ValueError:
        return text


def as_object(spec: Case) -> Spec:
    return {"metadata": {"name": "default", "uid": "u"}, "spec": dict(spec)}


def said(spec: Spec, *, old: Spec | None = None) -> list[str]:
    """What the API server says to an object of ours, as `field: message`."""
    new = as_object(spec)
    assert SCHEMA.prune(new) == []
    SCHEMA.default(new)
    before = None if old is None else as_object(old)
    return [f"{cause.field}: {cause.message}" for cause in SCHEMA.validate(new, before)]


def agreed(case: Case, *, valid: bool) -> bool:
    """What the case wants, or the contrary where we disagree."""
    return valid != (case["id"] in DISAGREEMENTS)


@pytest.mark.parametrize("case", of_groups("crd_admission"), ids=case_id)
def test_the_api_server_refuses_what_needs_no_other_object(case: Case) -> None:
    sentences = said(ours(case["given"]["spec"]))
    assert (sentences == []) == agreed(case, valid=case["expect"]["admitted"])
    words = case["expect"].get("message_contains", "")
    assert OUR_WORDS.get(words, words) in " ".join(sentences)


@pytest.mark.parametrize("case", of_groups("validate_create"), ids=case_id)
def test_a_spec_is_valid_or_its_field_is_named(case: Case) -> None:
    sentences = said(ours(case["given"]["spec"]))
    assert (sentences == []) == agreed(case, valid=case["expect"]["valid"])
    # Upstream's perNodeHostBits is in our families' nodeMaskSize; a selector's key stands deep in its terms.
    field = (
        case["expect"].get("field", "spec").replace("spec.perNodeHostBits", "spec.ipv").partition("...")[0]
    )
    assert not sentences or sentences[0].startswith(field)


@pytest.mark.parametrize(
    "case", of_groups("crd_admission", "validate_create", but=[*ABOUT_SELECTORS, "VAL-11"]), ids=case_id
)
def test_an_upstream_object_is_read_as_its_own_controller_reads_it(case: Case) -> None:
    """Its API server checks the selector; addresses and sizes it lets pass, so our reader is the one to refuse them."""
    valid = case["expect"].get("valid", case["expect"].get("admitted"))
    found = decode_x_cluster_cidr(as_object(case["given"]["spec"]))
    assert isinstance(found, ClusterCIDR) == agreed(case, valid=valid)


@pytest.mark.parametrize(
    "case", of_groups("crd_admission", "validate_create", but=[*ABOUT_SELECTORS, "VAL-11"]), ids=case_id
)
def test_the_controller_refuses_what_an_api_server_without_rules_lets_pass(case: Case) -> None:
    valid = case["expect"].get("valid", case["expect"].get("admitted"))
    found = decode_cluster_cidr(as_object(ours(case["given"]["spec"])))
    assert isinstance(found, ClusterCIDR) == agreed(case, valid=valid)


@pytest.mark.parametrize("case", of_groups("validate_update", but=["UPD-07"]), ids=case_id)
def test_every_field_may_be_changed_to_what_is_valid_by_itself(case: Case) -> None:
    old = case["given"]["old"]
    sentences = said(ours({**old, **case["given"]["change"]}), old=ours(old))
    assert (sentences == []) == agreed(case, valid=case["expect"]["allowed"])


@pytest.mark.parametrize("case", by_id(NOT_A_CIDR), ids=case_id)
def test_a_range_may_be_changed_for_another_that_is_one(case: Case) -> None:
    old = case["given"]["old"]
    (sentence,) = said(ours({**old, **case["given"]["change"]}), old=ours(old))
    assert "is not a valid IPv6 CIDR" in sentence
    assert said(ours({**old, "ipv6": "fd00:2::/112"}), old=ours(old)) == []

from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.selectors import canonical, keys_read, matched_requirements, reads_name
from nodeipam_ctl.model import NodeSelector, Operator, Requirement, SelectorTerm

LABELS = {"zone": "a", "size": "12", "empty": "", "word": "x", "big": "9223372036854775808", "under": "1_0"}


def req(key: str, operator: Operator, *values: str) -> Requirement:
    return Requirement(key=key, operator=operator, values=values)


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        pytest.param(req("zone", Operator.IN, "a", "b"), True, id="In with the value"),
        pytest.param(req("zone", Operator.IN, "b"), False, id="In without the value"),
        pytest.param(req("none", Operator.IN, "a"), False, id="In on a label that is not there"),
        pytest.param(req("zone", Operator.NOT_IN, "b"), True, id="NotIn with another value"),
        pytest.param(req("zone", Operator.NOT_IN, "a"), False, id="NotIn with the value"),
        pytest.param(req("none", Operator.NOT_IN, "a"), True, id="NotIn on a label that is not there"),
        pytest.param(req("empty", Operator.EXISTS), True, id="Exists with an empty value"),
        pytest.param(req("none", Operator.EXISTS), False, id="Exists on a label that is not there"),
        pytest.param(
            req("none", Operator.DOES_NOT_EXIST), True, id="DoesNotExist on a label that is not there"
        ),
        pytest.param(req("zone", Operator.DOES_NOT_EXIST), False, id="DoesNotExist on a label that is there"),
        pytest.param(req("size", Operator.GT, "9"), True, id="Gt compares numbers, not text"),
        pytest.param(req("size", Operator.GT, "12"), False, id="Gt is strict"),
        pytest.param(req("size", Operator.LT, "13"), True, id="Lt"),
        pytest.param(req("size", Operator.LT, "+13"), True, id="a sign is allowed, as in Go"),
        pytest.param(req("word", Operator.GT, "1"), False, id="Gt on text matches nothing"),
        pytest.param(req("size", Operator.GT, "x"), False, id="Gt against text matches nothing"),
        pytest.param(req("none", Operator.GT, "1"), False, id="Gt on a label that is not there"),
        pytest.param(req("size", Operator.GT, "1", "2"), False, id="Gt with two values matches nothing"),
        pytest.param(
            req("big", Operator.GT, "1"), False, id="a number beyond 64 bits matches nothing, as in Go"
        ),
        pytest.param(req("under", Operator.LT, "99"), False, id="1_0 is no number in Go"),
    ],
)
def test_each_operator_means_what_core_v1_says(requirement: Requirement, holds: bool) -> None:
    selector = NodeSelector(terms=(SelectorTerm(expressions=(requirement,)),))
    assert bool(matched_requirements(selector, name="n", labels=LABELS)) == holds


def test_the_best_of_several_matching_terms_counts() -> None:
    one = SelectorTerm(expressions=(req("zone", Operator.EXISTS),))
    two = SelectorTerm(
        expressions=(req("zone", Operator.EXISTS),), fields=(req("metadata.name", Operator.IN, "n"),)
    )
    assert matched_requirements(NodeSelector(terms=(one, two)), name="n", labels=LABELS) == 2
    assert matched_requirements(NodeSelector(terms=(one, two)), name="other", labels=LABELS) == 1


def test_an_empty_term_and_an_unknown_field_match_nothing() -> None:
    unknown = SelectorTerm(fields=(req("spec.providerID", Operator.NOT_IN, "x"),))
    assert matched_requirements(NodeSelector(terms=(SelectorTerm(), unknown)), name="n", labels=LABELS) == 0


def test_the_canonical_text_does_not_depend_on_the_order_of_writing() -> None:
    a, b = req("b", Operator.IN, "y", "x"), req("a", Operator.DOES_NOT_EXIST)
    one = NodeSelector(
        terms=(SelectorTerm(expressions=(a, b)), SelectorTerm(expressions=(req("c", Operator.GT, "5"),)))
    )
    other = NodeSelector(
        terms=(SelectorTerm(expressions=(req("c", Operator.GT, "5"),)), SelectorTerm(expressions=(b, a)))
    )
    assert canonical(one) == canonical(other) == "!a,b in (x,y) | c>5"
    assert keys_read(one) == {"a", "b", "c"}
    assert not reads_name(one)
    assert reads_name(NodeSelector(terms=(SelectorTerm(fields=(req("metadata.name", Operator.IN, "n"),)),)))
    single = [SelectorTerm(expressions=(req("k", operator, "1"),)) for operator in Operator]
    texts = [canonical(NodeSelector(terms=(term,))) for term in single]
    assert len(set(texts)) == len(Operator)

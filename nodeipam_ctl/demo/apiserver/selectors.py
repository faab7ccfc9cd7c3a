"""Which objects does a labelSelector or fieldSelector choose? (apimachinery's labels and fields packages)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from nodeipam_ctl.demo.apiserver.errors import ApiError, bad_request

Labels = Mapping[str, str]
Matcher = Callable[[Labels], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")
_OPERATORS = {"=", "==", "!=", "in", "notin", "<", ">"}


def parse_labels(text: str) -> Matcher | None:
    """The test a labelSelector stands for, or None when it selects everything.

    Raises:
        ApiError: 400 with apimachinery's words.
    """
    if not text.strip():
        return None
    tokens = _TOKEN.findall(text)
    requirements: list[Matcher] = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        requirements.append(requirement)
        if at == len(tokens):
            break
        if tokens[at] != ",":
            raise bad_request(
                f"unable to parse requirement: found '{tokens[at]}', expected: ',' or 'end of string'"
            )
        at += 1
        if at == len(tokens):
            raise bad_request("unable to parse requirement: found '', expected: identifier after ','")
    if len(requirements) == 1:
        return requirements[0]
    return lambda labels: all(requirement(labels) for requirement in requirements)


def parse_fields(text: str, supported: frozenset[str]) -> dict[str, tuple[bool, str]] | None:
    """The terms of a fieldSelector: field to (equal?, value), or None when it selects everything.

    Raises:
        ApiError: 400 for a malformed term or a field this resource does not index.
    """
    terms: dict[str, tuple[bool, str]] = {}
    for term in text.split(","):
        if not term.strip():
            continue
        operator = next((sign for sign in ("!=", "==", "=") if sign in term), "")
        if not operator:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        name, _, value = term.partition(operator)
        if name not in supported:
            raise bad_request(f"field label not supported: {name}")
        terms[name] = (operator != "!=", value)
    return terms or None


def _requirement(tokens: list[str], at: int) -> tuple[Matcher, int]:
    if tokens[at] == "!":
        key, at = _identifier(tokens, at + 1)
        return (lambda labels: key not in labels), at
    key, at = _identifier(tokens, at)
    if at == len(tokens) or tokens[at] == ",":
        return (lambda labels: key in labels), at
    operator = tokens[at]
    if operator not in _OPERATORS:
        raise bad_request(
            f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
        )
    at += 1
    if operator in ("in", "notin"):
        values, at = _values(tokens, at)
        if operator == "in":
            return (lambda labels: labels.get(key) in values), at
        return (lambda labels: labels.get(key) not in values), at
    value = ""
    if at < len(tokens) and tokens[at] != ",":
        value, at = _identifier(tokens, at)
    if operator == "!=":
        return (lambda labels: labels.get(key) != value), at
    if operator in ("<", ">"):
        return _integer_comparison(key, operator, value), at
    return (lambda labels: labels.get(key) == value), at


def _integer_comparison(key: str, operator: str, value: str) -> Matcher:
    try:
        bound = int(value)
    except ValueError:
        raise bad_request("for 'Gt', 'Lt' operators, the value must be an integer") from None

    def matches(labels: Labels) -> bool:
        try:
            number = int(labels[key])
        except (KeyError, ValueError):
            return False
        return number > bound if operator == ">" else number < bound

    return matches


def _values(tokens: list[str], at: int) -> tuple[frozenset[str], int]:
    if at == len(tokens) or tokens[at] != "(":
        found = tokens[at] if at < len(tokens) else ""
        raise bad_request(f"unable to parse requirement: found '{found}' expected: '('")
    at += 1
    values: set[str] = set()
    expect_value = True
    while True:
        if at == len(tokens):
            raise _unfinished("")
        word = tokens[at]
        at += 1
        if word == ")":
            if expect_value:
                values.add("")
            return frozenset(values), at
        if word == ",":
            if expect_value:
                values.add("")
            expect_value = True
        elif expect_value and word not in _OPERATORS - {"in", "notin"} and word not in "!(":
            values.add(word)
            expect_value = False
        else:
            raise _unfinished(word)


def _unfinished(found: str) -> ApiError:
    return bad_request(f"unable to parse requirement: found '{found}', expected: ',', ')' or identifier")


def _identifier(tokens: list[str], at: int) -> tuple[str, int]:
    if at == len(tokens) or tokens[at] in {"=", "==", "!=", "!", "(", ")", ",", "<", ">"}:
        found = tokens[at] if at < len(tokens) else ""
        raise bad_request(f"unable to parse requirement: found '{found}', expected: identifier")
    return tokens[at], at + 1

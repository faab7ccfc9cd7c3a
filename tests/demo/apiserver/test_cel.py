"""CEL expressions mean here what they mean in kube-apiserver."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.demo.apiserver.cel import NO_OLD, CelCompileError, CelEvaluationError, Expression

TEXT = {"type": "string"}
INTS = {"type": "array", "items": {"type": "integer"}}


def holds(rule: str, value: Any, schema: dict[str, Any] | None = None, old: Any = NO_OLD, **how: Any) -> Any:
    return Expression(rule, schema=schema or TEXT, result="bool", **how).evaluate(value, old)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        pytest.param("10.0.0.0/8", True, id="IPv4"),
        pytest.param("10.0.0.1/8", True, id="IPv4 with host bits"),
        pytest.param("fd00::/48", True, id="IPv6"),
        pytest.param("::/0", True, id="everything"),
        pytest.param("10.0.0.0", False, id="no length"),
        pytest.param("10.0.0.0/33", False, id="a length beyond the address"),
        pytest.param("10.0.0.0/08", False, id="a length with a leading zero"),
        pytest.param("10.0.0.0/255.0.0.0", False, id="a netmask"),
        pytest.param("010.0.0.0/8", False, id="an octet with a leading zero"),
        pytest.param("10.0.0/8", False, id="three octets"),
        pytest.param("::ffff:10.0.0.0/104", False, id="IPv4 mapped into IPv6"),
        pytest.param("fe80::%eth0/64", False, id="a zone"),
        pytest.param(" 10.0.0.0/8", False, id="a space before"),
        pytest.param("10.0.0.0/+8", False, id="a signed length"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_is_cidr(text: str, valid: bool) -> None:
    assert holds("isCIDR(self)", text) is valid


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("cidr(self).ip().family() == 4", "10.0.0.0/8"),
        ("cidr(self).ip().family() == 6", "fd00::/8"),
        ("cidr(self).prefixLength() == 20", "10.0.0.0/20"),
        ("cidr(self).masked() == cidr('10.0.0.0/8')", "10.1.2.3/8"),
        ("cidr(self) in [cidr(self).masked()]", "10.0.0.0/8"),
        ("!(cidr(self) in [cidr(self).masked()])", "10.0.0.1/8"),
        ("cidr(self) == cidr('FD00:0::/48')", "fd00::/48"),
        ("string(cidr(self)) == 'fd00::/48'", "fd00:0:0::/48"),
        ("string(cidr(self).ip()) == '10.1.0.0'", "10.1.0.0/8"),
        ("cidr(self).containsIP('10.1.2.3') && !cidr(self).containsIP('11.0.0.0')", "10.9.9.9/8"),
        ("cidr(self).containsIP(ip('10.1.2.3'))", "10.0.0.0/8"),
        ("!cidr(self).containsIP('::1')", "0.0.0.0/0"),
        ("cidr(self).containsCIDR('10.1.0.0/16') && cidr(self).containsCIDR(cidr(self))", "10.0.0.0/8"),
        ("!cidr(self).containsCIDR('10.0.0.0/7') && !cidr(self).containsCIDR('::/8')", "10.0.0.0/8"),
        ("isIP(self) && ip(self).family() == 6 && ip.isCanonical(self)", "fd00::1"),
        ("!ip.isCanonical(self)", "FD00::1"),
        ("!isIP(self)", "10.0.0.0/8"),
        ("ip(self).isLoopback() && !ip(self).isGlobalUnicast()", "127.0.0.1"),
        ("ip(self).isLinkLocalUnicast()", "fe80::1"),
        ("ip(self).isLinkLocalMulticast()", "224.0.0.251"),
        ("ip(self).isUnspecified()", "::"),
        ("ip(self).isGlobalUnicast()", "10.0.0.1"),
        ("self.find('[0-9]+') == '12' && self.findAll('[0-9]+') == ['12', '3']", "a12b3"),
        ("self.findAll('[0-9]', 2) == ['1', '2']", "a12b3"),
        ("url(self).getHostname() == 'a' && url(self).getPort() == '80'", "http://u@a:80/x?q=1"),
        ("url(self).getQuery() == {'q': ['1']} && url(self).getEscapedPath() == '/x'", "http://a/x?q=1"),
        ("isURL(self) && !isURL('nope')", "https://a"),
        ("self.lowerAscii() == 'ab' && self.indexOf('B') == 1", "aB"),
        ("'%s: %d'.format([self, 3]) == 'x: 3'", "x"),
        ("duration(self) > duration('4m')", "5m"),
        ("sets.contains(['a', 'b'], [self]) && sets.equivalent([self], ['a', 'a'])", "a"),
        ("sets.intersects([self], ['b', 'a']) && !sets.intersects([self], ['b'])", "a"),
    ],
)
def test_functions_of_kubernetes(rule: str, value: str) -> None:
    assert holds(rule, value) is True


@pytest.mark.parametrize(
    "rule",
    [
        "self.isSorted() && !self.map(x, -x).isSorted()",
        "self.sum() == 6 && self.min() == 1 && self.max() == 3",
        "self.indexOf(2) == 1 && self.lastIndexOf(9) == -1",
        "self.all(x, x > 0) && self.exists(x, x == 3) && self.exists_one(x, x == 3)",
        "size(self) == 3 && self[0] == 1",
    ],
)
def test_functions_on_lists(rule: str) -> None:
    assert holds(rule, [1, 2, 3], INTS) is True


NETWORKS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ip_network(pair, strict=False)
)


@given(NETWORKS, NETWORKS)
def test_networks_overlap_when_one_contains_the_others_first_address(left: Any, right: Any) -> None:
    """The CRDs rely on it, as containsCIDR is wrong in early 1.31 and 1.32."""
    rule = "cidr(self[0]).containsIP(cidr(self[1]).ip()) || cidr(self[1]).containsIP(cidr(self[0]).ip())"
    pair = [str(left), str(right)]
    assert holds(rule, pair, {"type": "array", "items": TEXT}) is left.overlaps(right)


OBJECT = {
    "type": "object",
    "properties": {
        "a": TEXT,
        "x-y": {"type": "integer"},
        "namespace": TEXT,
        "ratio": {"type": "number"},
        "labels": {"type": "object", "additionalProperties": TEXT},
    },
}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("has(self.a) && !has(self.ratio)", {"a": ""}),
        ("self.x__dash__y == 1 && self.__namespace__ == 'n'", {"x-y": 1, "namespace": "n"}),
        ("self.ratio / 2.0 == 0.5", {"ratio": 1}),
        ("self.labels.all(k, self.labels[k] == 'v')", {"labels": {"k": "v"}}),
        ("self.?a.orValue('z') == 'z'", {}),
    ],
)
def test_fields_of_objects(rule: str, value: dict[str, Any]) -> None:
    assert holds(rule, value, OBJECT) is True


def test_times_have_their_type() -> None:
    assert holds(
        "self > timestamp('2026-01-01T00:00:00Z')", "2026-01-02T00:00:00Z", TEXT | {"format": "date-time"}
    )
    assert holds("self == duration('90s')", "1m30s", TEXT | {"format": "duration"})


def test_old_self_is_what_it_was() -> None:
    assert holds("self == oldSelf", "a", old="a") is True
    assert holds("self == oldSelf", "a", old="b") is False
    assert Expression("'oldSelf' == self", schema=TEXT, result="bool").uses_old is False


def test_an_optional_old_self_is_there_on_creation_as_well() -> None:
    rule = "!oldSelf.hasValue() || oldSelf.value() == self"
    assert holds(rule, "a", optional_old=True) is True
    assert holds(rule, "a", old="b", optional_old=True) is False


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param("self == ", "Syntax error", id="a syntax error"),
        pytest.param("nope(self)", "undeclared reference to 'nope'", id="an unknown function"),
        pytest.param("other == self", "undeclared reference to 'other'", id="an unknown name"),
        pytest.param(
            "self == 1", "found no matching overload for '_==_' applied to '(string, int)'", id="two types"
        ),
        pytest.param(
            "cidr(self).family() == 4",
            "found no matching overload for 'family'",
            id="a network is no address",
        ),
        pytest.param("size(self)", "must evaluate to a bool", id="a result that is no bool"),
    ],
)
def test_does_not_compile(rule: str, message: str) -> None:
    with pytest.raises(CelCompileError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Expression(rule, schema=TEXT, result="bool")


def test_an_unknown_field_does_not_compile() -> None:
    with pytest.raises(CelCompileError, match="<input>:1:5: undefined field 'nope'"):
        Expression("self.nope == 'x'", schema=OBJECT, result="bool")
    assert holds("'self.nope' == self.a", {"a": "self.nope"}, OBJECT) is True


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        pytest.param("self.a == 'x'", {}, "no such key: a", id="an absent field"),
        pytest.param(
            "cidr(self.a).prefixLength() == 8",
            {"a": "x"},
            "network address parse error during conversion from string: netip.ParsePrefix(\"x\"): no '/'",
            id="a CIDR that is none",
        ),
    ],
)
def test_has_no_value(rule: str, value: Any, message: str) -> None:
    with pytest.raises(CelEvaluationError) as error:
        holds(rule, value, OBJECT)
    assert str(error.value) == message


def test_loops_end() -> None:
    with pytest.raises(CelEvaluationError, match="cost limit exceeded"):
        holds("self.all(a, self.all(b, b >= 0))", list(range(200)), INTS)

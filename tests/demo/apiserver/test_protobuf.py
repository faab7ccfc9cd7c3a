"""Protobuf bodies are read, and what cannot be read is refused instead of misread."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.demo.apiserver.protobuf import UnknownMessage, decode


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def envelope(kind: str, message: bytes, version: str = "v1") -> bytes:
    return b"k8s\x00" + field(1, field(1, version.encode()) + field(2, kind.encode())) + field(2, message)


def test_a_secret_becomes_its_json_form() -> None:
    meta = field(1, b"s") + field(3, b"default") + field(11, field(1, b"owner") + field(2, b"helm"))
    data = field(2, field(1, b"release") + field(2, b"\x00\x01"))
    assert decode(envelope("Secret", field(1, meta) + data + field(3, b"Opaque"))) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "default", "labels": {"owner": "helm"}},
        "data": {"release": "AAE="},
        "type": "Opaque",
    }


def test_times_and_numbers_are_read() -> None:
    moment = bytes([1 << 3]) + varint(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()))
    spec = field(1, b"me") + bytes([2 << 3, 15]) + field(4, moment)
    lease = decode(envelope("Lease", field(2, spec), "coordination.k8s.io/v1"))
    assert lease["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"kind":"Secret"}', id="JSON"),
        pytest.param(envelope("Deployment", b""), id="a kind nobody described"),
        pytest.param(envelope("Secret", field(1, b"\x0a\x7fx")), id="a truncated message"),
        pytest.param(envelope("Secret", bytes([1 << 3, 1])), id="a number where metadata should be"),
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(UnknownMessage):
        decode(raw)


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(noise: bytes) -> None:
    try:
        decode(envelope("Secret", noise[:120]))
    except UnknownMessage:
        return

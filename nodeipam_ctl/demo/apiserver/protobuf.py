"""What does a body in application/vnd.kubernetes.protobuf say? A small reader for the messages clients do send.

Go clients (Helm 4 for its release Secrets, kubectl for reviews and tokens) write protobuf by default; answers may be
JSON. Envelope: runtime.Unknown in k8s.io/apimachinery/pkg/runtime/generated.proto.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.protobuf_messages import MESSAGES, Field

_MAGIC: Final = b"k8s\x00"


class UnknownMessage(ValueError):
    """No such message is known here; the client is told to send JSON."""


def decode(raw: bytes) -> Json:
    """The object in a runtime.Unknown envelope.

    Raises:
        UnknownMessage: no envelope, a truncated message, or a kind without a description here.
    """
    if not raw.startswith(_MAGIC):
        raise UnknownMessage("no k8s protobuf envelope")
    try:
        envelope = dict(_fields(raw[len(_MAGIC) :]))
        type_meta = dict(_fields(_bytes(envelope.get(1, b""))))
        version, kind = (_bytes(type_meta.get(number, b"")).decode() for number in (1, 2))
        message = MESSAGES.get(kind)
        if message is None:
            raise UnknownMessage(f"kind {kind!r}")
        return {"kind": kind, "apiVersion": version} | _read(_bytes(envelope.get(2, b"")), message)
    except UnknownMessage:
        raise
    except (IndexError, ValueError, OverflowError) as exc:  # cut short, not UTF-8, no JSON, no time
        raise UnknownMessage(f"unreadable message: {exc}") from exc


def _read(raw: bytes, message: Mapping[int, Field]) -> Json:
    obj: Json = {}
    for number, value in _fields(raw):
        field = message.get(number)
        if field is None:
            continue
        if field.map_of:
            entry = dict(_fields(_bytes(value)))
            key = _bytes(entry.get(1, b"")).decode()
            obj.setdefault(field.name, {})[key] = _value(entry.get(2, b""), field.map_of)
        elif field.repeated:
            obj.setdefault(field.name, []).append(_value(value, field.type))
        else:
            read = _value(value, field.type)
            # gogo-proto writes empty strings and zero times that Go's omitempty leaves out of JSON.
            if read not in ("", None):
                obj[field.name] = read
    return obj


def _value(value: bytes | int, type_: str | Mapping[int, Field]) -> Any:
    match type_:
        case "string":
            return _bytes(value).decode()
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "int":
            return value
        case "bool":
            return bool(value)
        case "json":
            return wire.decode(_bytes(value))
        case "time" | "microtime":
            return _time(_bytes(value), micro=type_ == "microtime")
        case _:
            assert not isinstance(type_, str)
            read = _read(_bytes(value), type_)
            return read["Raw"] if set(read) == {"Raw"} else read


def _time(raw: bytes, *, micro: bool) -> str | None:
    parts = dict(_fields(raw))
    if not parts:
        return None
    seconds, nanos = int(parts.get(1, 0)), int(parts.get(2, 0))
    if seconds >= 1 << 63:  # a negative int64: Go's zero time
        return None
    at = datetime.fromtimestamp(seconds, UTC)
    return at.strftime(f"%Y-%m-%dT%H:%M:%S.{nanos // 1000:06}Z") if micro else wire.timestamp(at)


def _fields(raw: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Field numbers and values of one message, in order (protobuf wire format)."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield number, value
        elif kind == 2:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise IndexError
            yield number, raw[at : at + size]
            at += size
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            yield number, int.from_bytes(raw[at : at + width], "little")
            at += width
        else:
            raise UnknownMessage(f"wire type {kind}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise UnknownMessage("a number where text should be")
    return value

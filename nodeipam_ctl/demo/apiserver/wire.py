"""How do bytes become objects and objects bytes? JSON (msgspec) and YAML, with the parse errors of Go's decoder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml

from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.kube.wire.yaml_text import TooAliased, TooDeep, check_shape

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_MAX_DEPTH = 500
_TOO_DEEP = "exceeded max depth"


class Unreadable(ValueError):
    """The text is not JSON (or YAML); the message is Go's."""


def encode(value: Any) -> bytes:
    """`value` as compact JSON."""
    return _encode(value)


def encode_object(obj: Json) -> bytes:
    """An API object as JSON with kind and apiVersion first, so that a list item is this text without its head."""
    head = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": obj["metadata"]}
    for key, value in obj.items():
        if key not in head:
            head[key] = value
    return _encode(head)


def decode(raw: bytes) -> Any:
    """The JSON value in `raw`.

    Raises:
        Unreadable: not JSON; the message is what encoding/json says for the usual mistakes.
    """
    try:
        return _decode(raw)
    except msgspec.DecodeError as exc:
        raise Unreadable(_go_complaint(raw)) from exc
    except UnicodeDecodeError as exc:
        raise Unreadable("invalid character in string literal") from exc
    except RecursionError as exc:
        raise Unreadable(_TOO_DEEP) from exc


def decode_yaml(raw: bytes) -> Any:
    """The YAML (or JSON, its subset) value in `raw`.

    Raises:
        Unreadable: not YAML.
    """
    try:
        check_shape(raw, _MAX_DEPTH)
        return yaml.load(raw, Loader=_JsonLikeLoader)  # noqa: S506  (a SafeLoader without timestamps)
    except TooDeep as exc:
        raise Unreadable(f"error converting YAML to JSON: {_TOO_DEEP}") from exc
    except TooAliased as exc:
        raise Unreadable("error converting YAML to JSON: yaml: document contains excessive aliasing") from exc
    except yaml.YAMLError as exc:
        raise Unreadable(f"error converting YAML to JSON: {' '.join(str(exc).split())}") from exc


def timestamp(at: datetime) -> str:
    """metav1.Time: whole seconds, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _JsonLikeLoader(yaml.CSafeLoader):
    """YAML as sigs.k8s.io/yaml reads it: dates stay strings."""


_JsonLikeLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _go_complaint(raw: bytes) -> str:
    """encoding/json's message for the first wrong character, for the mistakes that people make."""
    text = raw.decode("utf-8", "replace").strip()
    if not text:
        return "unexpected end of JSON input"
    first = text[0]
    if first == "{":
        rest = text[1:].lstrip()
        if not rest:
            return "unexpected end of JSON input"
        if rest[0] not in '"}':
            return f"invalid character '{rest[0]}' looking for beginning of object key string"
        return (
            "unexpected end of JSON input"
            if text.count("{") > text.count("}")
            else "invalid character after object key"
        )
    if first not in '["-0123456789tfn':
        return f"invalid character '{first}' looking for beginning of value"
    return "unexpected end of JSON input"

"""How does the server read a query string? As Go does: conversion.Convert_Slice_string_To_bool and friends."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

Query = Mapping[str, str]


def parse(text: str) -> Query:
    """The first value of every key."""
    return dict(reversed(parse_qsl(text, keep_blank_values=True))) if text else {}


def flag(query: Query, key: str) -> bool:
    """A boolean: present and neither `false` nor `0` (kubernetes_asyncio says `True`)."""
    value = query.get(key)
    return value is not None and value.lower() not in ("false", "0")

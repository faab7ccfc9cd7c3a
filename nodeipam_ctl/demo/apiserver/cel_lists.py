"""What do Kubernetes' own CEL functions on lists, patterns and URLs answer?

Source: k8s.io/apiserver/pkg/cel/library, `lists.go`, `regex.go` and `urls.go`, and cel-go's `sets` extension.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from nodeipam_ctl.demo.apiserver.cel_function import URL, CelFunction

_LIST = "list(dyn)"
_STRINGS = "list(string)"


def _same(left: Any, right: Any) -> bool:
    """CEL's equality: numbers compare across types, a bool is no number."""
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _index(items: list[Any], wanted: Any) -> int:
    return next((place for place, item in enumerate(items) if _same(item, wanted)), -1)


def _last_index(items: list[Any], wanted: Any) -> int:
    place = _index(items[::-1], wanted)
    return -1 if place < 0 else len(items) - 1 - place


def _smallest(items: list[Any]) -> Any:
    if not items:
        raise ValueError("min called on empty list")
    return min(items)


def _largest(items: list[Any]) -> Any:
    if not items:
        raise ValueError("max called on empty list")
    return max(items)


def _is_sorted(items: list[Any]) -> bool:
    return all(left <= right for left, right in pairwise(items))


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _find(text: str, pattern: str) -> str:
    found = _pattern(pattern).search(text)
    return found.group() if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match.group() for match in _pattern(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


@lru_cache(maxsize=1024)
def _split(text: str) -> SplitResult:
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(
            f'URL parse error during conversion from string: parse "{text}": invalid URI for request'
        )
    return parts


def _is_url(text: str) -> bool:
    try:
        _split(text)
    except ValueError:
        return False
    return True


def _url(text: str) -> dict[str, bool]:
    _split(text)
    return {text: True}


def _part(read: Callable[[SplitResult], Any]) -> Callable[[dict[str, bool]], Any]:
    return lambda url: read(_split(next(iter(url))))


def _equivalent(left: list[Any], right: list[Any]) -> bool:
    return _contains(left, right) and _contains(right, left)


def _intersects(left: list[Any], right: list[Any]) -> bool:
    return any(_index(left, item) >= 0 for item in right)


def _contains(items: list[Any], others: list[Any]) -> bool:
    return all(_index(items, other) >= 0 for other in others)


def _function(
    name: str, overload: str, parameters: tuple[str, ...], result: str, body: Callable[..., Any]
) -> CelFunction:
    return CelFunction(name=name, overload=overload, parameters=parameters, result=result, body=body)


def _member(
    name: str, overload: str, parameters: tuple[str, ...], result: str, body: Callable[..., Any]
) -> CelFunction:
    return CelFunction(
        name=name, overload=overload, parameters=parameters, result=result, body=body, member=True
    )


FUNCTIONS: tuple[CelFunction, ...] = (
    _member("isSorted", "list_is_sorted", (_LIST,), "bool", _is_sorted),
    _member("sum", "list_sum", (_LIST,), "dyn", lambda items: sum(items[1:], items[0]) if items else 0),
    _member("min", "list_min", (_LIST,), "dyn", _smallest),
    _member("max", "list_max", (_LIST,), "dyn", _largest),
    # Both join the overloads for strings.
    _member("indexOf", "list_index_of", (_LIST, "dyn"), "int", _index),
    _member("lastIndexOf", "list_last_index_of", (_LIST, "dyn"), "int", _last_index),
    _member("find", "string_find_string", ("string", "string"), "string", _find),
    _member("findAll", "string_find_all_string", ("string", "string"), _STRINGS, _find_all),
    _member("findAll", "string_find_all_string_int", ("string", "string", "int"), _STRINGS, _find_all),
    _function("sets.contains", "list_sets_contains_list", (_LIST, _LIST), "bool", _contains),
    _function("sets.equivalent", "list_sets_equivalent_list", (_LIST, _LIST), "bool", _equivalent),
    _function("sets.intersects", "list_sets_intersects_list", (_LIST, _LIST), "bool", _intersects),
    _function("isURL", "is_url_string", ("string",), "bool", _is_url),
    _function("url", "string_to_url", ("string",), URL, _url),
    _member("getScheme", "url_get_scheme", (URL,), "string", _part(lambda url: url.scheme)),
    _member("getHost", "url_get_host", (URL,), "string", _part(lambda url: url.netloc.rpartition("@")[2])),
    _member("getHostname", "url_get_hostname", (URL,), "string", _part(lambda url: url.hostname or "")),
    _member("getPort", "url_get_port", (URL,), "string", _part(lambda url: str(url.port or ""))),
    _member("getEscapedPath", "url_get_escaped_path", (URL,), "string", _part(lambda url: url.path)),
    _member(
        "getQuery",
        "url_get_query",
        (URL,),
        f"map(string, {_STRINGS})",
        _part(lambda url: parse_qs(url.query, keep_blank_values=True)),
    ),
)

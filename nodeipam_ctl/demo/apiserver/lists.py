"""Which objects does a list return, at which version, and where does the next page start?"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from nodeipam_ctl.demo.apiserver import causes, selectors, wire
from nodeipam_ctl.demo.apiserver.errors import (
    bad_request,
    expired,
    invalid,
    too_large_version,
)
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.store import Bucket, Store, Stored

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_FUTURE_WAIT_S = 3.0  # the watch cache waits this long for a version it has not seen


@dataclass(frozen=True, slots=True)
class Selection:
    """A label and a field selector, parsed."""

    labels: selectors.Matcher | None
    fields: Mapping[str, tuple[bool, str]] | None

    @property
    def everything(self) -> bool:
        """Nothing is selected away."""
        return self.labels is None and self.fields is None

    def matches(self, stored: Stored) -> bool:
        """Does this version of the object belong to the selection?"""
        if self.labels is not None and not self.labels(stored.labels or {}):
            return False
        if self.fields is not None:
            for name, (equal, wanted) in self.fields.items():
                if name == "metadata.name":
                    value = stored.name
                elif name == "metadata.namespace":
                    value = stored.namespace
                else:
                    value = (stored.fields or {}).get(name, "")
                    if not value and name == "spec.unschedulable":
                        value = "false"
                if (value == wanted) is not equal:
                    return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer to a list request.

    Attributes:
        rv: The version the whole list is consistent at.
        next_token: Where the next page starts, empty on the last one.
        remaining: Objects after this page; None when selectors make it unknown.
    """

    items: list[Stored]
    rv: int
    next_token: str = ""
    remaining: int | None = None


def selection(resource: Resource, query: Mapping[str, str]) -> Selection:
    """The selectors of a query string.

    Raises:
        ApiError: 400.
    """
    return Selection(
        selectors.parse_labels(query.get("labelSelector", "")),
        selectors.parse_fields(query.get("fieldSelector", ""), resource.supported_fields),
    )


def version_of(text: str) -> int:
    """A resourceVersion from a query string.

    Raises:
        ApiError: 422 when it is no number.
    """
    if not text:
        return 0
    if not text.isdecimal():
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        cause = causes.invalid("resourceVersion", text, why)
        raise invalid("ListOptions", "meta.k8s.io", "", [cause])
    return int(text)


async def page(
    store: Store, resource: Resource, namespace: str, query: Mapping[str, str], *, lag_s: float = 0.0
) -> Page:
    """Answer a list request.

    Args:
        store: Where the objects are.
        resource: What is listed.
        namespace: Only this namespace, or empty for all.
        query: limit, continue, resourceVersion, resourceVersionMatch, labelSelector, fieldSelector.
        lag_s: Seconds the watch cache lags; felt by resourceVersion=0 only.

    Raises:
        ApiError: 400, 410, 422, 504.
    """
    chosen = selection(resource, query)
    bucket = store.bucket(resource.bucket)
    limit = _limit(query.get("limit", ""))
    token = query.get("continue", "")
    rv_text, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    _check_match(rv_text, match, token)
    start = ""
    rv = store.rv
    if token:
        if rv_text not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        asked, start = _read_token(token)
        if asked > 0:
            if asked < bucket.compacted_rv:
                raise expired(_CONTINUE_EXPIRED, _write_token(-1, start))
            rv = asked
    elif rv_text == "0":
        rv = store.visible_rv(bucket, lag_s)
        if match != "Exact":
            limit = 0  # the watch cache ignores a limit
    elif rv_text:
        asked = version_of(rv_text)
        if asked > store.rv and not await store.reached(asked, _FUTURE_WAIT_S):
            raise too_large_version(asked, store.rv)
        if match == "Exact" or (limit and not match):
            if asked < bucket.compacted_rv:
                raise expired("The resourceVersion for the provided list is too old.")
            rv = asked
        else:
            rv = store.rv
    return _slice(bucket, rv, namespace, chosen, limit, start)


def _slice(bucket: Bucket, rv: int, namespace: str, chosen: Selection, limit: int, start: str) -> Page:
    objects = bucket.at_version(rv)
    keys = bucket.keys if objects is bucket.objects else sorted(objects)
    prefix = f"{namespace}/" if namespace else ""
    at = bisect_left(keys, max(start, prefix))
    items: list[Stored] = []
    for position in range(at, len(keys)):
        key = keys[position]
        if prefix and not key.startswith(prefix):
            break
        stored = objects[key]
        if not chosen.matches(stored):
            continue
        if limit and len(items) == limit:
            last = f"{items[-1].key}\0"
            remaining = None
            if chosen.everything:
                end = bisect_left(keys, prefix[:-1] + "0") if prefix else len(keys)  # "0" follows "/"
                remaining = end - position
            return Page(items=items, rv=rv, next_token=_write_token(rv, last), remaining=remaining)
        items.append(stored)
    return Page(items=items, rv=rv)


def _limit(text: str) -> int:
    try:
        return max(0, int(text or 0))
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _check_match(rv_text: str, match: str, token: str) -> None:
    field, text = "resourceVersionMatch", ""
    if match and not rv_text:
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match and token:
        text = "resourceVersionMatch is forbidden when continue is provided"
    elif match == "Exact" and rv_text == "0":
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    if text:
        raise invalid("ListOptions", "meta.k8s.io", "", [causes.forbidden(field, text)])
    if match not in ("", "Exact", "NotOlderThan"):
        cause = causes.not_supported(field, match, ("Exact", "NotOlderThan", ""))
        raise invalid("ListOptions", "meta.k8s.io", "", [cause])


def _write_token(rv: int, start: str) -> str:
    raw = wire.encode({"v": "meta.k8s.io/v1", "rv": rv, "start": start})
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        value = wire.decode(raw)
    except (binascii.Error, ValueError) as exc:
        raise bad_request(f"invalid continue token: continue key is not valid: {exc}") from exc
    if not isinstance(value, dict) or value.get("v") != "meta.k8s.io/v1" or not value.get("start"):
        raise bad_request(
            "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion"
        )
    return int(value.get("rv") or 0), str(value["start"])

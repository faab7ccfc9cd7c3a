"""How do core/v1 and events.k8s.io/v1 Events relate, and what must each carry? One stored object, two faces."""

from __future__ import annotations

from typing import Final

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.errors import Cause, Json
from nodeipam_ctl.demo.apiserver.resources import Rules

# What core/v1 calls a field, and what events.k8s.io/v1 calls it.
_RENAMED: Final = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
_FIELD_NAMES: Final = frozenset(
    {
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    }
)


def to_core(event: Json) -> None:
    """events.k8s.io/v1 to core/v1, in place."""
    _rename(event, {new: old for old, new in _RENAMED}, "v1")
    _fill_core(event)


def to_events(event: Json) -> None:
    """core/v1 to events.k8s.io/v1, in place."""
    _rename(event, dict(_RENAMED), "events.k8s.io/v1")
    _fill_events(event)


def _rename(event: Json, names: dict[str, str], api_version: str) -> None:
    items = [(names.get(key, key), value) for key, value in event.items()]
    event.clear()
    event.update(items)
    event["apiVersion"] = api_version
    if event.get("deprecatedCount") == 0:
        del event["deprecatedCount"]


def _fill_core(event: Json) -> None:
    for key in ("involvedObject", "source"):
        event.setdefault(key, {})
    for key in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(key, None)
    for key in ("reportingComponent", "reportingInstance"):
        event.setdefault(key, "")


def _fill_events(event: Json) -> None:
    for key in ("regarding", "deprecatedSource"):
        event.setdefault(key, {})
    for key in ("eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"):
        event.setdefault(key, None)


def _validate_core(new: Json, old: Json | None) -> list[Cause]:
    if old is not None:
        return []
    involved = (new.get("involvedObject") or {}).get("namespace", "")
    return _namespace_causes("involvedObject.namespace", involved, new)


def _validate_events(new: Json, old: Json | None) -> list[Cause]:
    if old is not None:
        return []
    found = _namespace_causes("regarding.namespace", (new.get("regarding") or {}).get("namespace", ""), new)
    for key in ("eventTime", "reportingController", "reportingInstance", "action", "reason", "type"):
        if not new.get(key):
            found.append(causes.required(key))
            break
    note = new.get("note") or ""
    if len(note) > 1024:
        found.append(causes.invalid("note", note, "can have at most 1024 characters"))
    return found


def _namespace_causes(field: str, about: str, event: Json) -> list[Cause]:
    namespace = event["metadata"].get("namespace", "")
    # An event about a cluster-scoped object lives in `default`; every other one beside its object.
    if about == namespace or (not about and namespace == "default"):
        return []
    return [causes.invalid(field, about, "does not match event.namespace")]


def _fields(event: Json) -> dict[str, str]:
    core = "involvedObject" in event
    about = event.get("involvedObject" if core else "regarding") or {}
    source = event.get("source" if core else "deprecatedSource") or {}
    reporter = event.get("reportingComponent" if core else "reportingController") or ""
    found = {
        f"involvedObject.{key}": about.get(key, "")
        for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
    found["reason"] = event.get("reason", "")
    found["type"] = event.get("type", "")
    found["reportingComponent"] = reporter
    found["source"] = source.get("component", "") or reporter
    return found


CORE_RULES: Final = Rules(
    fill=_fill_core, validate=_validate_core, fields=_fields, field_names=_FIELD_NAMES, create_on_update=True
)
EVENTS_RULES: Final = Rules(
    fill=_fill_events,
    validate=_validate_events,
    fields=_fields,
    field_names=_FIELD_NAMES,
    create_on_update=True,
)

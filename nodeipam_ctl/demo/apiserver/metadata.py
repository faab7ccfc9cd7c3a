"""What must an object's metadata look like, and which of it may change? (apimachinery's ObjectMeta validation)."""

from __future__ import annotations

import json
import random
import re
import uuid
from typing import Final

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.errors import Cause, Json, bad_request
from nodeipam_ctl.demo.apiserver.resources import Resource

_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_QUALIFIED: Final = re.compile(r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
_LABEL_VALUE: Final = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
# The generator leaves out vowels and look-alikes (apimachinery's util/rand).
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"
_MAX_ANNOTATIONS_BYTES: Final = 256 * 1024
_COLLECTIONS: Final = ("labels", "annotations", "finalizers", "ownerReferences")
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_QUALIFIED_RULE: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def for_create(resource: Resource, sent: Json, namespace: str, now: str) -> Json:
    """The metadata of a new object: what was sent, with name, namespace, uid and time filled in.

    Args:
        resource: What is created.
        sent: metadata from the request body.
        namespace: The namespace of the URL, empty for cluster-scoped resources.
        now: The time as metav1.Time.

    Raises:
        ApiError: 400 when body and URL disagree about the namespace.
    """
    meta = tidy(sent)
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if resource.namespaced:
        if meta.get("namespace", namespace) not in ("", namespace):
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = meta["generateName"][:58] + "".join(random.choices(_SUFFIX, k=5))
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now
    for key in (
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
        "resourceVersion",
    ):
        meta.pop(key, None)
    return meta


def for_update(old: Json, sent: Json) -> Json:
    """The metadata of a changed object: what was sent, with what only the server decides taken from `old`.

    A uid in `sent` is kept as it is, so that `causes_of_update` can refuse a wrong one.
    """
    meta = tidy(sent)
    for key in (
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ):
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)
    for key in ("uid", "namespace", "name"):
        if not meta.get(key) and key in old:
            meta[key] = old[key]
    meta.pop("selfLink", None)
    return meta


def tidy(sent: Json) -> Json:
    """A copy without the empty fields that Go's omitempty would not write."""
    meta = dict(sent)
    for key, value in sent.items():
        if value is None or (not value and key in _COLLECTIONS):
            del meta[key]
    return meta


def causes_of_create(resource: Resource, meta: Json) -> list[Cause]:
    """Why this metadata cannot be created."""
    name = meta.get("name") or ""
    if not name:
        return [causes.required("metadata.name", "name or generateName is required")]
    found = [
        causes.invalid("metadata.name", name, rule)
        for rule in _name_complaints(resource.rules.name_rule, name)
    ]
    return found + _label_causes(meta)


def causes_of_update(old: Json, meta: Json) -> list[Cause]:
    """Why this metadata cannot replace `old`; like kube-apiserver it finds immutable fields and finalizers twice."""
    found = [
        causes.invalid(f"metadata.{key}", str(meta.get(key, "")), "field is immutable")
        for key in ("name", "namespace", "uid")
        if meta.get(key) != old.get(key)
    ]
    if old.get("deletionTimestamp"):
        before = old.get("finalizers") or ()
        added = [name for name in meta.get("finalizers") or () if name not in before]
        if added:
            names = ", ".join(json.dumps(name) for name in added)
            text = (
                "no new finalizers can be added if the object is being deleted, found new finalizers []string"
            )
            found.append(causes.forbidden("metadata.finalizers", f"{text}{{{names}}}"))
    found += found
    if any(meta.get(key) is not old.get(key) for key in ("labels", "annotations", "finalizers")):
        found += _label_causes(meta)
    return found


def _name_complaints(rule: str, name: str) -> list[str]:
    if rule == "path":
        if name in (".", ".."):
            return [f"may not be '{name}'"]
        return [f"may not contain '{mark}'" for mark in "/%" if mark in name]
    limit, pattern, text = (
        (63, _LABEL, _LABEL_RULE) if rule == "label" else (253, _SUBDOMAIN, _SUBDOMAIN_RULE)
    )
    complaints = [] if pattern.fullmatch(name) else [text]
    if len(name) > limit:
        complaints.append(f"must be no more than {limit} bytes")
    return complaints


def _label_causes(meta: Json) -> list[Cause]:
    found: list[Cause] = []
    for key, value in (meta.get("labels") or {}).items():
        if not _QUALIFIED.fullmatch(key) or len(key.rpartition("/")[2]) > 63:
            found.append(causes.invalid("metadata.labels", key, _QUALIFIED_RULE))
        if len(value) > 63:
            found.append(causes.invalid("metadata.labels", value, "must be no more than 63 bytes"))
        if not _LABEL_VALUE.fullmatch(value):
            found.append(causes.invalid("metadata.labels", value, _LABEL_VALUE_RULE))
    for field in ("annotations", "finalizers"):
        wrong = [name for name in meta.get(field) or () if not _QUALIFIED.fullmatch(name)]
        found += [causes.invalid(f"metadata.{field}", name, _QUALIFIED_RULE) for name in wrong]
    annotations = meta.get("annotations") or {}
    if (
        sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
        > _MAX_ANNOTATIONS_BYTES
    ):
        found.append(causes.too_long("metadata.annotations", _MAX_ANNOTATIONS_BYTES))
    return found

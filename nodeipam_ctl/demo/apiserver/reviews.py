"""Who am I, and may I? The review resources, and tokens for ServiceAccounts."""

from __future__ import annotations

from datetime import datetime, timedelta

from nodeipam_ctl.demo.apiserver import managedfields, wire
from nodeipam_ctl.demo.apiserver.auth import Authenticator, User
from nodeipam_ctl.demo.apiserver.builtin_shapes import shape_of
from nodeipam_ctl.demo.apiserver.errors import ApiError, Json
from nodeipam_ctl.demo.apiserver.rbac import Attributes, Authorizer
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.store import Stored

_DEFAULT_LIFETIME_S = 3600


def review(
    resource: Resource,
    sent: Json,
    *,
    user: User,
    manager: str,
    now: datetime,
    authenticator: Authenticator,
    authorizer: Authorizer,
) -> Json:
    """Answer a POST to one of the virtual resources."""
    stamp = wire.timestamp(now)
    spec: Json = sent.get("spec") or {}
    answer: Json = {"kind": resource.kind, "apiVersion": resource.group_version}
    if resource.kind == "SelfSubjectReview":
        return answer | {"metadata": {"creationTimestamp": stamp}, "status": {"userInfo": user.info()}}
    entries = managedfields.update(
        None,
        sent | {"metadata": {}},
        manager=manager,
        now=stamp,
        group_version=resource.group_version,
        subresource="",
        lists=shape_of(resource.kind),
    )
    answer |= {"metadata": {"managedFields": entries} if entries else {}, "spec": spec}
    match resource.kind:
        case "SelfSubjectAccessReview":
            allowed = authorizer.allows(user, _asked(spec))
            return answer | {"status": {"allowed": allowed}}
        case "SubjectAccessReview":
            asker = User(
                name=spec.get("user", ""), uid=spec.get("uid", ""), groups=tuple(spec.get("groups") or ())
            )
            return answer | {"status": {"allowed": authorizer.allows(asker, _asked(spec))}}
        case "SelfSubjectRulesReview":
            return answer | {"status": _rules(authorizer.rules_of(user, spec.get("namespace", "")))}
        case _:
            return answer | {"status": _token_status(authenticator, str(spec.get("token", "")))}


def token_request(stored: Stored, sent: Json, *, now: datetime, authenticator: Authenticator) -> Json:
    """Answer POST serviceaccounts/<name>/token."""
    spec: Json = sent.get("spec") or {}
    lifetime_s = int(spec.get("expirationSeconds") or _DEFAULT_LIFETIME_S)
    audiences = list(spec.get("audiences") or ())
    token = authenticator.issue(
        stored.namespace,
        stored.name,
        stored.uid,
        now_s=int(now.timestamp()),
        lifetime_s=lifetime_s,
        audiences=audiences,
    )
    expires = wire.timestamp(now + timedelta(seconds=lifetime_s))
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": stored.name,
            "namespace": stored.namespace,
            "creationTimestamp": wire.timestamp(now),
        },
        "spec": {"audiences": audiences, "expirationSeconds": lifetime_s, "boundObjectRef": None},
        "status": {"token": token, "expirationTimestamp": expires},
    }


def _asked(spec: Json) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path:
        return Attributes(verb=path.get("verb", ""), path=path.get("path", ""))
    wanted = spec.get("resourceAttributes") or {}
    return Attributes(
        verb=wanted.get("verb", ""),
        group=wanted.get("group", ""),
        resource=wanted.get("resource", ""),
        subresource=wanted.get("subresource", ""),
        namespace=wanted.get("namespace", ""),
        name=wanted.get("name", ""),
    )


def _rules(rules: list[Json]) -> Json:
    return {
        "resourceRules": [rule for rule in rules if rule.get("resources")],
        "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
        "incomplete": False,
    }


def _token_status(authenticator: Authenticator, token: str) -> Json:
    try:
        user = authenticator.identify(f"Bearer {token}")
    except ApiError:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": user.info()}

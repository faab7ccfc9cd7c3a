"""May this user do that? ClusterRoles and Roles, bound to users, groups and ServiceAccounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.auth import MASTERS, User
from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.store import Store

GROUP: Final = "rbac.authorization.k8s.io"
_PUBLIC: Final = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
_KINDS: Final = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is asked: a verb on a resource (or on a path that is no resource)."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def refusal(self, user: User) -> str:
        """The sentence of a 403."""
        if self.path:
            return f'forbidden: User "{user.name}" cannot {self.verb} path "{self.path}"'
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        said = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f' "{self.name}"' if self.name else ""
        return (
            f'{said}{named} is forbidden: User "{user.name}" cannot {self.verb} resource "{resource}" '
            f'in API group "{self.group}" {where}'
        )


@dataclass(frozen=True, slots=True)
class _Grant:
    """The rules of one binding: in one namespace, or everywhere when it is empty."""

    namespace: str
    rules: tuple[Json, ...]


@dataclass(slots=True)
class Authorizer:
    """Decides from the objects in the store when `enforced`; else everybody who is known may do everything."""

    store: Store
    enforced: bool
    _seen_rv: int = -1
    _grants: dict[tuple[str, str], list[_Grant]] = field(default_factory=dict)

    def allows(self, user: User, asked: Attributes) -> bool:
        """The decision for one request."""
        if MASTERS in user.groups:
            return True
        if asked.path in _PUBLIC and asked.verb == "get":
            return True
        known = "system:authenticated" in user.groups
        if not self.enforced:
            return known
        if known and _everybody_may(asked):
            return True
        for rules in self._rules_for(user, asked.namespace):
            if any(_rule_allows(rule, asked) for rule in rules):
                return True
        return False

    def forget(self) -> None:
        """The store started anew: read everything again."""
        self._seen_rv = -1

    def rules_of(self, user: User, namespace: str) -> list[Json]:
        """Every rule that holds for a user in a namespace (SelfSubjectRulesReview)."""
        if MASTERS in user.groups or not self.enforced:
            return [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]
        return [rule for rules in self._rules_for(user, namespace) for rule in rules]

    def _rules_for(self, user: User, namespace: str) -> Iterator[tuple[Json, ...]]:
        self._refresh()
        for subject in _subjects(user):
            for grant in self._grants.get(subject, ()):
                if not grant.namespace or grant.namespace == namespace:
                    yield grant.rules

    def _refresh(self) -> None:
        """Read roles and bindings again when one of them changed."""
        buckets = {kind: self.store.bucket(f"{kind}.{GROUP}") for kind in _KINDS}
        newest = max((bucket.newest_rv for bucket in buckets.values()), default=0)
        if newest == self._seen_rv:
            return
        roles: dict[tuple[str, str], tuple[Json, ...]] = {}
        for kind in ("clusterroles", "roles"):
            for stored in buckets[kind].objects.values():
                roles[stored.namespace, stored.name] = tuple(wire.decode(stored.raw).get("rules") or ())
        self._grants = {}
        for kind in ("clusterrolebindings", "rolebindings"):
            for stored in buckets[kind].objects.values():
                self._bind(stored.namespace, wire.decode(stored.raw), roles)
        self._seen_rv = newest

    def _bind(self, namespace: str, binding: Json, roles: dict[tuple[str, str], tuple[Json, ...]]) -> None:
        reference = binding.get("roleRef") or {}
        home = "" if reference.get("kind") == "ClusterRole" else namespace
        grant = _Grant(namespace, roles.get((home, reference.get("name", "")), ()))
        for subject in binding.get("subjects") or ():
            name = subject.get("name", "")
            if subject.get("kind") == "ServiceAccount":
                name = f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
            kind = "Group" if subject.get("kind") == "Group" else "User"
            self._grants.setdefault((kind, name), []).append(grant)


def _subjects(user: User) -> Iterable[tuple[str, str]]:
    yield "User", user.name
    for group in user.groups:
        yield "Group", group


def _everybody_may(asked: Attributes) -> bool:
    """The default roles system:discovery and system:basic-user, bound to system:authenticated."""
    if asked.path:
        return asked.verb == "get" and asked.path.startswith(
            ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz")
        )
    return asked.verb == "create" and asked.resource in (
        "selfsubjectreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
    )


def _rule_allows(rule: Json, asked: Attributes) -> bool:
    verbs = rule.get("verbs") or ()
    if asked.verb not in verbs and "*" not in verbs:
        return False
    if asked.path:
        return any(
            url == asked.path or url == "*" or (url.endswith("*") and asked.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs") or ()
        )
    groups = rule.get("apiGroups") or ()
    if asked.group not in groups and "*" not in groups:
        return False
    if not _covers(rule.get("resources") or (), asked):
        return False
    names = rule.get("resourceNames") or ()
    return not names or asked.name in names


def _covers(resources: Iterable[str], asked: Attributes) -> bool:
    wanted = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    return any(
        entry in ("*", wanted) or (asked.subresource and entry == f"*/{asked.subresource}")
        for entry in resources
    )

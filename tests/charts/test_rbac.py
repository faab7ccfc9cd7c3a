"""May the programs do exactly what they need? The story under the chart's roles, whole and with one rule less."""

from __future__ import annotations

import copy
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nodeipam_ctl.demo import sandbox
from tests.charts.chart import NAMESPACE, RELEASE, Manifest, manifests, one, values_of

pytestmark = pytest.mark.kernel

_ACCOUNTS = {"controller": f"{RELEASE}-controller", "agent": f"{RELEASE}-agent"}
_KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


class Grant(NamedTuple):
    """One verb on one resource; the namespace is empty for all of them, the name for all of a kind."""

    program: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class Outcome(NamedTuple):
    """How the story ended."""

    failure: str
    used: set[Grant]
    refused: set[Grant]


def _permissions(feed: str = "slices", *, taint: bool = False) -> list[Manifest]:
    values = values_of("host-gw")
    values["agent"] |= {"feed": feed, "taint": taint}
    return [manifest for manifest in manifests(values) if manifest["kind"] in _KINDS]


def _roles(permissions: list[Manifest]) -> Iterator[Manifest]:
    return (manifest for manifest in permissions if manifest["kind"] in ("Role", "ClusterRole"))


def _grants(permissions: list[Manifest]) -> set[Grant]:
    return {
        Grant(
            _program(role["metadata"]["name"]),
            verb,
            group,
            resource,
            role["metadata"].get("namespace", ""),
            name,
        )
        for role in _roles(permissions)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def _program(name: str) -> str:
    return next(program for program, account in _ACCOUNTS.items() if account in name)


def _rules() -> Iterator[Any]:
    """Every rule of every role: the role's name and the rule's place in it."""
    for role in _roles(_permissions()):
        for place, rule in enumerate(role["rules"]):
            says = f"{role['metadata']['name']}: {', '.join(rule['verbs'])} {', '.join(rule['resources'])}"
            yield pytest.param(role["metadata"]["name"], place, id=says)


def _tell(permissions: list[Manifest], folder: Path, feed: str = "slices", *, taint: bool = False) -> Outcome:
    file = folder / "outcome.json"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        request = {
            "manifests": permissions,
            "accounts": _ACCOUNTS,
            "flags": {"NODEIPAM_FEED": feed} | ({"NODEIPAM_TAINT": "true"} if taint else {}),
            "socket": listening.fileno(),
            "outcome": str(file),
        }
        command = [sys.executable, "-m", "tests.charts.rbac_story"]
        code = sandbox.run(command, request, inherit=[listening.fileno()])
    outcome = json.loads(file.read_text())
    assert code == (1 if outcome["failure"] else 0)
    used: set[Grant] = set()
    refused: set[Grant] = set()
    named = {
        (g.program, g.verb, g.resource): g.name for g in _grants(_permissions(feed, taint=taint)) if g.name
    }
    everywhere = {g[:4] for g in _grants(_permissions(feed, taint=taint)) if not g.namespace}
    for user, asked, allowed in outcome["asked"]:
        program, verb, group = _program(user), asked["verb"], asked["group"]
        resource = f"{asked['resource']}/{asked['subresource']}".rstrip("/")
        namespace = "" if (program, verb, group, resource) in everywhere else asked["namespace"]
        name = asked["name"] if named.get((program, verb, resource)) == asked["name"] else ""
        (used if allowed else refused).add(Grant(program, verb, group, resource, namespace, name))
    return Outcome(outcome["failure"], used, refused)


@pytest.mark.parametrize(
    ("feed", "taint"),
    [
        pytest.param("slices", False, id="as by default"),
        pytest.param("nodes", False, id="learning from Nodes"),
        pytest.param("slices", True, id="keeping the taint"),
    ],
)
def test_the_story_passes_with_every_grant_used_and_nothing_refused(
    feed: str, taint: bool, tmp_path: Path
) -> None:
    permissions = _permissions(feed, taint=taint)

    outcome = _tell(permissions, tmp_path, feed, taint=taint)

    assert outcome.failure == ""
    assert outcome.refused == set()
    assert outcome.used == _grants(permissions)


@pytest.mark.parametrize(("role_name", "place"), list(_rules()))
def test_the_story_fails_without_any_one_rule(role_name: str, place: int, tmp_path: Path) -> None:
    permissions = copy.deepcopy(_permissions())
    (role,) = (role for role in _roles(permissions) if role["metadata"]["name"] == role_name)
    del role["rules"][place]
    removed = _grants(_permissions()) - _grants(permissions)

    outcome = _tell(permissions, tmp_path)

    assert outcome.failure
    assert outcome.refused
    assert {grant[:4] for grant in outcome.refused} <= {grant[:4] for grant in removed}


def test_the_two_programs_share_no_role_and_no_account() -> None:
    permissions = _permissions()
    bindings = [manifest for manifest in permissions if manifest["kind"].endswith("Binding")]

    for binding in bindings:
        (subject,) = binding["subjects"]
        program = _program(subject["name"])
        assert subject == {"kind": "ServiceAccount", "name": _ACCOUNTS[program], "namespace": NAMESPACE}
        assert _program(binding["roleRef"]["name"]) == program


def test_no_rule_has_a_wildcard() -> None:
    assert not [grant for grant in _grants(_permissions()) if "*" in grant]


def test_pods_run_as_these_accounts_and_no_other_pod_gets_their_token() -> None:
    values = values_of("host-gw")
    for kind, program in (("Deployment", "controller"), ("DaemonSet", "agent")):
        pod = one(values, kind, _ACCOUNTS[program])["spec"]["template"]["spec"]
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (_ACCOUNTS[program], True)
        assert one(values, "ServiceAccount", _ACCOUNTS[program])["automountServiceAccountToken"] is False

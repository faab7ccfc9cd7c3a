"""With RBAC on, a ServiceAccount may do what its roles say and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, http

RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(rbac=True) as running:
        running.create(node("n1"))
        running.create(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "agent", "namespace": "kube-system"},
            }
        )
        yield running


@pytest.fixture
async def admin(server: ApiServer) -> AsyncIterator[Http]:
    async with http(server) as client:
        yield client


@pytest.fixture
async def agent(server: ApiServer, admin: Http) -> AsyncIterator[Http]:
    path = "/api/v1/namespaces/kube-system/serviceaccounts/agent/token"
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    token = (await admin("POST", path, asked)).body["status"]["token"]
    async with http(server, token) as client:
        yield client


def grant(server: ApiServer, *rules: dict[str, Any], namespace: str = "") -> None:
    """Bind the agent to a role with these rules: a Role in `namespace`, or a ClusterRole."""
    kind = "Role" if namespace else "ClusterRole"
    place = {"namespace": namespace} if namespace else {}
    server.apply(
        {"apiVersion": RBAC, "kind": kind, "metadata": {"name": "agent"} | place, "rules": list(rules)}
    )
    server.apply(
        {
            "apiVersion": RBAC,
            "kind": f"{kind}Binding",
            "metadata": {"name": "agent"} | place,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "agent"},
            "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": "kube-system"}],
        }
    )


def rule(*verbs: str, resources: str, group: str = "", names: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {"verbs": list(verbs), "apiGroups": [group], "resources": [resources]}
    return found | {"resourceNames": list(names)} if names else found


async def test_without_a_role_nothing_is_allowed(agent: Http) -> None:
    refused = await agent("GET", "/api/v1/nodes")
    assert refused.status == 403
    assert refused.body["message"] == (
        'nodes is forbidden: User "system:serviceaccount:kube-system:agent" cannot list resource "nodes" '
        'in API group "" at the cluster scope'
    )


async def test_a_verb_allows_that_verb_only(server: ApiServer, agent: Http) -> None:
    grant(server, rule("list", resources="nodes"))
    assert (await agent("GET", "/api/v1/nodes")).status == 200
    assert (await agent("GET", "/api/v1/nodes/n1")).status == 403
    assert (await agent("GET", "/api/v1/nodes?watch=1&timeoutSeconds=1")).status == 403


async def test_a_subresource_is_a_permission_of_its_own(server: ApiServer, agent: Http) -> None:
    grant(server, rule("patch", resources="nodes/status"))
    body = {"metadata": {"labels": {"a": "b"}}}
    assert (await agent.patch("/api/v1/nodes/n1/status", body)).status == 200
    assert (await agent.patch("/api/v1/nodes/n1", body)).status == 403


async def test_resource_names_limit_a_rule_to_these_objects(server: ApiServer, agent: Http) -> None:
    server.create(node("n2"))
    grant(server, rule("get", resources="nodes", names=("n1",)))
    assert (await agent("GET", "/api/v1/nodes/n1")).status == 200
    assert (await agent("GET", "/api/v1/nodes/n2")).status == 403


async def test_a_role_holds_in_its_namespace_only(server: ApiServer, agent: Http) -> None:
    grant(server, rule("*", resources="leases", group="coordination.k8s.io"), namespace="kube-system")
    leases = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
    assert (await agent("GET", leases.format("kube-system"))).status == 200
    assert (await agent("GET", leases.format("default"))).status == 403
    assert (await agent("GET", "/apis/coordination.k8s.io/v1/leases")).status == 403


async def test_wildcards_cover_groups_resources_and_subresources(server: ApiServer, agent: Http) -> None:
    grant(server, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/status", "nodes"]})
    assert (await agent.patch("/api/v1/nodes/n1/status", {})).status == 200
    assert (await agent("GET", "/api/v1/nodes")).status == 200
    assert (await agent("GET", "/api/v1/pods")).status == 403


async def test_a_changed_role_counts_at_once(server: ApiServer, agent: Http) -> None:
    grant(server, rule("list", resources="nodes"))
    assert (await agent("GET", "/api/v1/nodes")).status == 200
    grant(server, rule("get", resources="nodes"))
    assert (await agent("GET", "/api/v1/nodes")).status == 403


async def test_paths_that_are_no_resources_have_rules_as_well(server: ApiServer, agent: Http) -> None:
    assert (await agent("GET", "/apis")).status == 200
    assert (await agent("GET", "/metrics")).status == 403
    grant(server, {"verbs": ["get"], "nonResourceURLs": ["/metr*"]})
    assert (await agent("GET", "/metrics")).status == 404


async def test_every_known_caller_may_ask_what_it_may_do(server: ApiServer, agent: Http) -> None:
    grant(server, rule("patch", resources="nodes"))
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    async def allowed(verb: str) -> bool:
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "resource": "nodes"}},
        }
        answer: bool = (await agent("POST", path, body)).body["status"]["allowed"]
        return answer

    assert await allowed("patch")
    assert not await allowed("delete")


async def test_impersonation_needs_the_permission(server: ApiServer, admin: Http, agent: Http) -> None:
    server.add_user("plain", "jane")
    refused = await agent("GET", "/api/v1/nodes", Impersonate_User="admin")
    assert refused.status == 403
    assert "cannot impersonate" in refused.body["message"]
    assert (await admin("GET", "/api/v1/nodes", Impersonate_User="jane")).status == 403


async def test_the_token_of_a_deleted_account_is_worthless(admin: Http, agent: Http) -> None:
    await admin("DELETE", "/api/v1/namespaces/kube-system/serviceaccounts/agent")
    assert (await agent("GET", "/apis")).status == 401


async def test_without_rbac_every_known_caller_may_do_everything_and_strangers_nothing() -> None:
    async with ApiServer() as open_server, http(open_server) as admin:
        open_server.add_user("plain", "jane")
        async with http(open_server, "plain") as jane:
            assert (await jane("GET", "/api/v1/secrets")).status == 200
        assert (await admin("GET", "/api/v1/nodes", Authorization="")).status == 403
        assert (await admin("GET", "/readyz", Authorization="")).status == 200

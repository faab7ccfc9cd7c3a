"""No body, however wrong, makes the server fail: it is stored or refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.errors import ApiError
from nodeipam_ctl.demo.apiserver.patching import MERGE
from nodeipam_ctl.demo.apiserver.wire import encode
from nodeipam_ctl.demo.apiserver.writes import WriteOptions
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.test_kubectl import RANGES

OPTIONS = WriteOptions(manager="test")
META = {"name": "x", "namespace": "default", "labels": {"a": "b"}}
NAMED = {"name": "x", "annotations": {"a": "b"}}
SAMPLES: list[dict[str, Any]] = [
    dict(node("x", zone="a"))
    | {"spec": {"podCIDRs": ["10.0.0.0/24"], "taints": [{"key": "k", "effect": "NoExecute"}]}},
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": META,
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": META, "data": {"a": "Yg=="}, "stringData": {"c": "d"}},
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "x"},
        "spec": {},
        "status": {"phase": "Active"},
    },
    {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": META,
        "involvedObject": {"kind": "Node", "name": "n", "namespace": "default"},
        "source": {"component": "c"},
        "message": "m",
    },
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": META,
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": NAMED,
        "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}],
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": NAMED,
        "spec": {"cidrs": ["10.0.0.0/16"]},
    },
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": META, "spec": {"replicas": 1}},
    yaml.safe_load(RANGES),
]
NOISE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.just(""),
    st.just("x"),
    st.just([]),
    st.just({}),
    st.just(["x", 1]),
    st.just({"x": [None]}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        found += places(one, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A sound object with noise in one or two places."""
    obj: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(places(obj)))
        if way == [] and last in ("kind", "apiVersion"):
            continue
        where: Any = obj
        for key in way:
            where = where[key]
        where[last] = copy.deepcopy(draw(NOISE))
    return obj


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_a_damaged_object_is_stored_or_refused(obj: dict[str, Any]) -> None:
    cluster = ApiServer().cluster
    resource = next(
        r for r in cluster.registry if (r.group_version, r.kind) == (obj["apiVersion"], obj["kind"])
    )
    namespace = "default" if resource.namespaced else ""
    try:
        cluster.objects.create(resource, namespace, obj, OPTIONS)
    except ApiError as refused:
        assert refused.code in (400, 404, 409, 422), refused.message  # noqa: PT017


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_a_damaged_patch_is_applied_or_refused(patch: dict[str, Any]) -> None:
    cluster = ApiServer().cluster
    sound = next(s for s in SAMPLES if s["kind"] == patch["kind"])
    resource = next(
        r for r in cluster.registry if (r.group_version, r.kind) == (sound["apiVersion"], sound["kind"])
    )
    namespace = "default" if resource.namespaced else ""
    name = sound["metadata"]["name"]
    cluster.objects.create(resource, namespace, copy.deepcopy(sound), OPTIONS)
    try:
        cluster.objects.patch(resource, namespace, name, "", MERGE, encode(patch), OPTIONS)
    except ApiError as refused:
        assert refused.code in (400, 409, 422), refused.message  # noqa: PT017


def test_the_complaint_names_the_field_as_go_does() -> None:
    cluster = ApiServer().cluster
    nodes = cluster.registry.find("", "v1", "nodes")
    assert nodes is not None
    with pytest.raises(ApiError) as refused:
        cluster.objects.create(nodes, "", dict(node("x")) | {"spec": {"podCIDRs": [1]}}, OPTIONS)
    assert refused.value.message == (
        'Node in version "v1" cannot be handled as a Node: json: cannot unmarshal number into Go struct field '
        "Node.spec.podCIDRs of type string"
    )

"""Is everything the chart renders what Kubernetes knows, for values of all kinds together?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.charts import kube_types
from tests.charts.chart import PROFILES, manifests, values_of

_PROBLEMS = [
    pytest.param({"replicaz": 2}, "Deployment.spec.replicaz: no such field", id="a misspelt field"),
    pytest.param({"replicas": "2"}, "Deployment.spec.replicas: '2' is no int", id="a word for a number"),
    pytest.param({"selector": None}, "must not be `None`", id="nothing where something must be"),
]


@pytest.mark.parametrize(("wrong", "said"), _PROBLEMS)
def test_what_kubernetes_would_refuse_is_seen(wrong: dict[str, Any], said: str) -> None:
    (deployment,) = (m for m in manifests(values_of("ipam-only")) if m["kind"] == "Deployment")
    assert kube_types.problems(deployment) == []
    deployment["spec"] |= wrong

    assert any(said in problem for problem in kube_types.problems(deployment))


_ZONES = {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
_VOLUME = {"name": "mine", "hostPath": {"path": "/opt/mine"}}
_RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
_pods = {
    "enabled": st.booleans(),
    "extraArgs": st.sampled_from([[], ["--log-level=debug"]]),
    "extraEnv": st.sampled_from([[], [{"name": "A", "value": "1"}]]),
    "serviceAccount": st.fixed_dictionaries(
        {}, optional={"create": st.booleans(), "name": st.just("mine"), "annotations": st.just({"a": "1"})}
    ),
    "resources": st.sampled_from([{}, _RESOURCES]),
    "priorityClassName": st.sampled_from(["", "mine"]),
    "nodeSelector": st.sampled_from([{}, {"a": "1"}]),
    "tolerations": st.sampled_from([[], [{"key": "a", "operator": "Exists"}]]),
    "affinity": st.sampled_from([{}, {"podAntiAffinity": {}}]),
    "podAnnotations": st.sampled_from([{}, {"a": "1"}]),
    "podLabels": st.sampled_from([{}, {"a": "1"}]),
    "podSecurityContext": st.sampled_from([{}, {"runAsUser": 0}]),
    "securityContext": st.sampled_from([{}, {"runAsUser": 0}]),
}
_values = st.fixed_dictionaries(
    {},
    optional={
        "commonLabels": st.just({"team": "net"}),
        "image": st.sampled_from([{"tag": "1.0"}, {"digest": f"sha256:{0:064x}"}]),
        "imagePullSecrets": st.just([{"name": "s"}]),
        "k8sServiceHost": st.just("192.0.2.1"),
        "k8sServicePort": st.sampled_from([6443, "6443"]),
        "serviceCIDRs": st.just(["10.96.0.0/12", "fd00::/108"]),
        "keepClusterCIDRs": st.booleans(),
        "rbac": st.fixed_dictionaries({"create": st.booleans()}),
        "controller": st.fixed_dictionaries(
            {},
            optional=_pods
            | {
                "replicas": st.integers(0, 3),
                "topologySpreadConstraints": st.sampled_from([[], [_ZONES]]),
                "podDisruptionBudget": st.sampled_from([{"enabled": False}, {"maxUnavailable": "50%"}]),
            },
        ),
        "agent": st.fixed_dictionaries(
            {},
            optional=_pods
            | {
                "backend": st.sampled_from(["host-gw", "vxlan", "vxlan-gpe", "wireguard", "none"]),
                "wireguard": st.just({"userspace": True}),
                "directRouting": st.booleans(),
                "forwardAccept": st.booleans(),
                "cni": st.just({"installPlugins": False}),
                "taint": st.booleans(),
                "updateStrategy": st.sampled_from([{}, {"type": "OnDelete"}]),
                "extraVolumes": st.just([_VOLUME]),
                "extraVolumeMounts": st.just([{"name": "mine", "mountPath": "/mine"}]),
            },
        ),
        "metrics": st.fixed_dictionaries(
            {"enabled": st.just(True)},  # contradictions have a test of their own
            optional={
                "service": st.sampled_from([{"enabled": False}, {"annotations": {"a": "1"}}]),
                "podMonitor": st.just({"enabled": True, "metricRelabelings": [{"action": "drop"}]}),
                "prometheusRule": st.just({"enabled": True, "disabled": ["NodeIPAMNoLeader"]}),
            },
        ),
    },
)


@given(profile=st.sampled_from(PROFILES), changed=_values, upgrade=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_values_render_to_objects_that_kubernetes_knows(
    profile: str, changed: dict[str, Any], *, upgrade: bool
) -> None:
    found = list(manifests(values_of(profile) | changed, upgrade=upgrade))

    for manifest in found:
        if kube_types.is_known(manifest):
            assert kube_types.problems(manifest) == []
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in found]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("controller", "agent"), list(itertools.product([True, False], repeat=2)), ids=str)
def test_a_program_that_is_off_leaves_no_object(*, controller: bool, agent: bool) -> None:
    values = {
        "controller": {"enabled": controller},
        "agent": {"enabled": agent},
        "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    }
    components = {m["metadata"]["labels"].get("app.kubernetes.io/component") for m in manifests(values)} - {
        None
    }

    assert components == {name for name, on in (("controller", controller), ("agent", agent)) if on}

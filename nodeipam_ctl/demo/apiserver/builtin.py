"""Which kinds are built in? One row each: names, verbs, subresources, and the rules of the simple kinds."""

from __future__ import annotations

import base64
import re
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import causes, crd_rules, eventkinds, nodes
from nodeipam_ctl.demo.apiserver.errors import Cause, Json, bad_request
from nodeipam_ctl.demo.apiserver.resources import ALL_VERBS, Resource, Rules, Subresource

_STATUS_VERBS: Final = ("get", "patch", "update")
_PROXY_VERBS: Final = ("create", "delete", "get", "patch", "update")
_MICRO_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$")


def _status(kind: str) -> Subresource:
    return Subresource(name="status", kind=kind, verbs=_STATUS_VERBS)


def _check_lease(lease: Json) -> None:
    for key in ("acquireTime", "renewTime"):
        value = (lease.get("spec") or {}).get(key)
        if value is not None and not _MICRO_TIME.match(str(value)):
            suffix = re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", "", str(value))
            raise bad_request(
                'Lease in version "v1" cannot be handled as a Lease: parsing time '
                f'"{value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "{suffix}" as ".000000"'
            )


def _validate_lease(new: Json, _old: Json | None) -> list[Cause]:
    spec = new.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    found = []
    if duration is not None and duration <= 0:
        found.append(causes.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        found.append(
            causes.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")
        )
    return found


def _default_namespace(namespace: Json) -> None:
    labels = namespace["metadata"].get("labels") or {}
    namespace["metadata"]["labels"] = labels | {
        "kubernetes.io/metadata.name": namespace["metadata"].get("name", "")
    }


def _fill_namespace(namespace: Json) -> None:
    namespace["spec"] = namespace.get("spec") or {"finalizers": ["kubernetes"]}
    namespace["status"] = namespace.get("status") or {"phase": "Active"}


def _default_pod(pod: Json) -> None:
    spec: dict[str, Any] = pod.setdefault("spec", {})
    for key, value in (
        ("restartPolicy", "Always"),
        ("dnsPolicy", "ClusterFirst"),
        ("terminationGracePeriodSeconds", 30),
        ("schedulerName", "default-scheduler"),
        ("enableServiceLinks", True),
        ("securityContext", {}),
    ):
        spec.setdefault(key, value)
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        image = str(container.get("image", ""))
        pull = (
            "Always" if image.endswith(":latest") or ":" not in image.rsplit("/", 1)[-1] else "IfNotPresent"
        )
        for key, text in (
            ("imagePullPolicy", pull),
            ("terminationMessagePath", "/dev/termination-log"),
            ("terminationMessagePolicy", "File"),
        ):
            container.setdefault(key, text)
        container.setdefault("resources", {})


def _admit_pod(pod: Json) -> None:
    pod["spec"].setdefault("serviceAccountName", "default")
    pod["spec"].setdefault("serviceAccount", pod["spec"]["serviceAccountName"])


def _fill_pod(pod: Json) -> None:
    pod["status"] = pod.get("status") or {"phase": "Pending", "qosClass": "BestEffort"}


def _validate_pod(new: Json, old: Json | None) -> list[Cause]:
    missing = old is None and not new["spec"].get("containers")
    return [causes.required("spec.containers")] if missing else []


def _pod_fields(pod: Json) -> dict[str, str]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase", ""),
        "status.podIP": status.get("podIP", ""),
        "status.nominatedNodeName": status.get("nominatedNodeName", ""),
    }


def _default_secret(secret: Json) -> None:
    secret.setdefault("type", "Opaque")
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        secret["data"] = (secret.get("data") or {}) | encoded


def _secret_fields(secret: Json) -> dict[str, str]:
    return {"type": secret.get("type", "")}


def _namespace_fields(namespace: Json) -> dict[str, str]:
    return {"status.phase": (namespace.get("status") or {}).get("phase", "")}


def _fill_status_only(obj: Json) -> None:
    if obj.get("status") is None:
        obj["status"] = {}


def _fill_service_cidr(obj: Json) -> None:
    _fill_status_only(obj)
    for condition in obj["status"].get("conditions") or ():
        condition.setdefault("reason", "")


def _core(plural: str, kind: str, *, namespaced: bool = True, **more: Any) -> Resource:
    return Resource(
        group="", version="v1", plural=plural, singular=kind.lower(), kind=kind, namespaced=namespaced, **more
    )


def _named(group: str, plural: str, kind: str, *, namespaced: bool = True, **more: Any) -> Resource:
    return Resource(
        group=group,
        version="v1",
        plural=plural,
        singular=kind.lower(),
        kind=kind,
        namespaced=namespaced,
        **more,
    )


def _review(group: str, plural: str, kind: str) -> Resource:
    return _named(group, plural, kind, namespaced=False, verbs=("create",), virtual=True)


_RBAC: Final = Rules(name_rule="path")
_WORKLOAD: Final = Rules(fill=_fill_status_only, generation=True)
_SCALE: Final = Subresource(
    name="scale", kind="Scale", verbs=_STATUS_VERBS, group="autoscaling", version="v1"
)

BUILTIN: Final[tuple[Resource, ...]] = (
    _core("configmaps", "ConfigMap", short_names=("cm",)),
    _core(
        "events",
        "Event",
        short_names=("ev",),
        rules=eventkinds.CORE_RULES,
        bucket="events",
        convert=eventkinds.to_core,
    ),
    _core(
        "namespaces",
        "Namespace",
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
        subresources=(
            Subresource(name="finalize", kind="Namespace", verbs=("update",)),
            _status("Namespace"),
        ),
        rules=Rules(
            default=_default_namespace,
            fill=_fill_namespace,
            fields=_namespace_fields,
            field_names=frozenset({"status.phase"}),
            name_rule="label",
        ),
    ),
    _core(
        "nodes",
        "Node",
        namespaced=False,
        short_names=("no",),
        subresources=(
            Subresource(name="proxy", kind="NodeProxyOptions", verbs=_PROXY_VERBS),
            _status("Node"),
        ),
        rules=nodes.RULES,
    ),
    _core(
        "pods",
        "Pod",
        short_names=("po",),
        categories=("all",),
        subresources=(
            Subresource(name="attach", kind="PodAttachOptions", verbs=("create", "get")),
            Subresource(name="binding", kind="Binding", verbs=("create",)),
            Subresource(name="ephemeralcontainers", kind="Pod", verbs=_STATUS_VERBS),
            Subresource(name="eviction", kind="Eviction", verbs=("create",), group="policy", version="v1"),
            Subresource(name="exec", kind="PodExecOptions", verbs=("create", "get")),
            Subresource(name="log", kind="Pod", verbs=("get",)),
            Subresource(name="portforward", kind="PodPortForwardOptions", verbs=("create", "get")),
            Subresource(name="proxy", kind="PodProxyOptions", verbs=_PROXY_VERBS),
            Subresource(name="resize", kind="Pod", verbs=_STATUS_VERBS),
            _status("Pod"),
        ),
        rules=Rules(
            default=_default_pod,
            admit=_admit_pod,
            fill=_fill_pod,
            validate=_validate_pod,
            fields=_pod_fields,
            field_names=frozenset(_pod_fields({})),
        ),
    ),
    _core(
        "secrets",
        "Secret",
        rules=Rules(default=_default_secret, fields=_secret_fields, field_names=frozenset({"type"})),
    ),
    _core(
        "serviceaccounts",
        "ServiceAccount",
        short_names=("sa",),
        subresources=(
            Subresource(
                name="token",
                kind="TokenRequest",
                verbs=("create",),
                group="authentication.k8s.io",
                version="v1",
            ),
        ),
    ),
    _core(
        "services",
        "Service",
        short_names=("svc",),
        categories=("all",),
        subresources=(_status("Service"),),
        rules=Rules(fill=_fill_status_only),
    ),
    _named(
        "apps",
        "daemonsets",
        "DaemonSet",
        short_names=("ds",),
        categories=("all",),
        subresources=(_status("DaemonSet"),),
        rules=_WORKLOAD,
    ),
    _named(
        "apps",
        "deployments",
        "Deployment",
        short_names=("deploy",),
        categories=("all",),
        subresources=(_SCALE, _status("Deployment")),
        rules=_WORKLOAD,
    ),
    _named(
        "events.k8s.io",
        "events",
        "Event",
        short_names=("ev",),
        rules=eventkinds.EVENTS_RULES,
        bucket="events",
        convert=eventkinds.to_events,
    ),
    _review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authentication.k8s.io", "tokenreviews", "TokenReview"),
    _review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    _review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _named(
        "networking.k8s.io",
        "servicecidrs",
        "ServiceCIDR",
        namespaced=False,
        subresources=(_status("ServiceCIDR"),),
        rules=Rules(fill=_fill_service_cidr),
    ),
    _named(
        "policy",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        short_names=("pdb",),
        subresources=(_status("PodDisruptionBudget"),),
        rules=_WORKLOAD,
    ),
    _named(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "ClusterRoleBinding",
        namespaced=False,
        rules=_RBAC,
    ),
    _named("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", namespaced=False, rules=_RBAC),
    _named("rbac.authorization.k8s.io", "rolebindings", "RoleBinding", rules=_RBAC),
    _named("rbac.authorization.k8s.io", "roles", "Role", rules=_RBAC),
    _named(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=(_status("CustomResourceDefinition"),),
        rules=crd_rules.RULES,
    ),
    _named(
        "coordination.k8s.io",
        "leases",
        "Lease",
        rules=Rules(
            check=_check_lease, validate=_validate_lease, unconditional_update=False, create_on_update=True
        ),
    ),
)

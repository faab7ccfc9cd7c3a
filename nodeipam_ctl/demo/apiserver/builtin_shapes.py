"""How do the lists of the built-in kinds merge?

Source: the `patchStrategy`, `patchMergeKey`, `listType` and `structType` markers in k8s.io/api (core/v1, apps/v1,
networking/v1, apiextensions/v1) of Kubernetes 1.36. Lists that are not named here are replaced as one value.
"""

from __future__ import annotations

from nodeipam_ctl.demo.apiserver.shapes import OBJECT_META, Shape

_ATOMIC = Shape(atomic=True)
_STATUS_APART = {"": frozenset({"status"}), "status": frozenset({"spec"})}


def _by(*keys: str, merge_key: str | None = None, items: Shape | None = None, **defaults: str) -> Shape:
    """A list of objects named by `keys`; strategic merge patch uses the first one only."""
    return Shape(
        list_type="map",
        keys=keys,
        key_defaults=defaults,
        merges=True,
        merge_key=merge_key or keys[0],
        items=items,
    )


def _set() -> Shape:
    return Shape(list_type="set", merges=True)


_CONDITIONS = Shape(fields={"conditions": _by("type")})
_SELECTOR_MAP = _ATOMIC

_NODE_SELECTOR_OWNERS = Shape(
    fields={
        "nodeAffinity": Shape(fields={"requiredDuringSchedulingIgnoredDuringExecution": _ATOMIC}),
    }
)
_CONTAINER = Shape(
    fields={
        "env": _by(
            "name",
            items=Shape(
                fields={
                    "valueFrom": Shape(
                        fields={"configMapKeyRef": _ATOMIC, "secretKeyRef": _ATOMIC, "fieldRef": _ATOMIC}
                    )
                }
            ),
        ),
        "ports": _by("containerPort", "protocol", protocol="TCP"),
        "volumeMounts": _by("mountPath"),
        "volumeDevices": _by("devicePath"),
        # Keyed for server-side apply only: the struct has no patchStrategy.
        "resources": Shape(fields={"claims": Shape(list_type="map", keys=("name",))}),
    }
)
_POD_SPEC = Shape(
    fields={
        "affinity": _NODE_SELECTOR_OWNERS,
        "containers": _by("name", items=_CONTAINER),
        "ephemeralContainers": _by("name", items=_CONTAINER),
        "hostAliases": _by("ip"),
        "imagePullSecrets": _by("name", items=_ATOMIC),
        "initContainers": _by("name", items=_CONTAINER),
        "nodeSelector": _SELECTOR_MAP,
        "resourceClaims": _by("name"),
        "schedulingGates": _by("name"),
        "topologySpreadConstraints": _by(
            "topologyKey", "whenUnsatisfiable", items=Shape(fields={"labelSelector": _ATOMIC})
        ),
        "volumes": _by("name"),
    }
)
_POD_TEMPLATE = Shape(fields={"metadata": OBJECT_META, "spec": _POD_SPEC})


def _kind(
    *, spec: Shape | None = None, status: Shape | None = None, zero: dict[str, object] | None = None
) -> Shape:
    """A kind with spec and status, where only the status subresource writes status."""
    fields = {"metadata": OBJECT_META}
    if spec is not None:
        fields["spec"] = spec
    if status is not None:
        fields["status"] = status
    return Shape(fields=fields, zero=zero or {"spec": {}, "status": {}}, ignored=_STATUS_APART)


def _workload(**spec: Shape) -> Shape:
    """A kind that runs pods from a template."""
    return _kind(
        spec=Shape(fields={"template": _POD_TEMPLATE, "selector": _ATOMIC, **spec}),
        status=_CONDITIONS,
        zero={
            "spec": {"template": {"metadata": {}, "spec": {"containers": None}}, "selector": None},
            "status": {},
        },
    )


NODE = _kind(
    spec=Shape(fields={"podCIDRs": _set()}),
    status=Shape(fields={"conditions": _by("type"), "addresses": _by("type")}),
    zero={
        "spec": {},
        "status": {
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": "",
                "osImage": "",
                "containerRuntimeVersion": "",
                "kubeletVersion": "",
                "kubeProxyVersion": "",
                "operatingSystem": "",
                "architecture": "",
            },
        },
    },
)

_BUILTIN: dict[str, Shape] = {
    "Node": NODE,
    "Pod": _kind(
        spec=_POD_SPEC,
        status=Shape(
            fields={
                "conditions": _by("type"),
                "podIPs": _by("ip"),
                "hostIPs": Shape(merges=True, merge_key="ip"),
            }
        ),
        zero={"spec": {"containers": None}, "status": {}},
    ),
    "Namespace": _kind(status=_CONDITIONS),
    "Service": _kind(
        spec=Shape(fields={"ports": _by("port", "protocol", protocol="TCP"), "selector": _SELECTOR_MAP}),
        status=_CONDITIONS,
        zero={"spec": {}, "status": {"loadBalancer": {}}},
    ),
    "ServiceAccount": Shape(
        fields={
            "metadata": OBJECT_META,
            "secrets": _by("name"),
        }
    ),
    "DaemonSet": _workload(),
    "Deployment": _workload(),
    "ReplicaSet": _workload(),
    "StatefulSet": _workload(volumeClaimTemplates=Shape()),
    "Job": _workload(),
    "PersistentVolumeClaim": _kind(spec=Shape(fields={"selector": _ATOMIC}), status=_CONDITIONS),
    "PodDisruptionBudget": _kind(spec=Shape(fields={"selector": _ATOMIC}), status=_CONDITIONS),
    "ServiceCIDR": _kind(status=_CONDITIONS),
    "Lease": Shape(fields={"metadata": OBJECT_META}, zero={"spec": {}}),
    # One Kind name, two groups: core/v1 speaks of involvedObject, events.k8s.io/v1 of regarding.
    "Event": Shape(
        fields={"metadata": OBJECT_META, "involvedObject": _ATOMIC, "regarding": _ATOMIC, "related": _ATOMIC},
        zero={
            "involvedObject": {},
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": None,
            "reportingComponent": "",
            "reportingInstance": "",
            "regarding": {},
            "deprecatedSource": {},
            "deprecatedFirstTimestamp": None,
            "deprecatedLastTimestamp": None,
        },
    ),
    "CustomResourceDefinition": _kind(
        # Keyed for server-side apply only: the struct has no patchStrategy.
        status=Shape(fields={"conditions": Shape(list_type="map", keys=("type",))}),
        zero={
            "spec": {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": None},
            "status": {
                "conditions": None,
                "acceptedNames": {"plural": "", "kind": ""},
                "storedVersions": None,
            },
        },
    ),
    "SelfSubjectAccessReview": _kind(zero={"spec": {}, "status": {"allowed": False}}),
}
_PLAIN = Shape(fields={"metadata": OBJECT_META})


def shape_of(kind: str) -> Shape:
    """The shape of a built-in kind; a kind without merging lists of its own (ConfigMap, Secret, …) gets the plain one."""
    return _BUILTIN.get(kind, _PLAIN)

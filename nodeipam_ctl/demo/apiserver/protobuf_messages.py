"""Which fields do the protobuf messages have that Go clients send? Numbers and types, no more than what is read here.

Source: the generated.proto files in k8s.io/api (core, coordination, rbac, authentication, authorization, policy) and
k8s.io/apimachinery/pkg/apis/meta/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name, and `string`, `bytes`, `int`, `bool`, `time`, `microtime`, `json` or a message."""

    name: str
    type: str | Mapping[int, Field] = "string"
    repeated: bool = False
    map_of: str = ""  # the value type of a map<string, …>


_OWNER: Final = {
    1: Field("kind"),
    3: Field("name"),
    4: Field("uid"),
    5: Field("apiVersion"),
    6: Field("controller", "bool"),
    7: Field("blockOwnerDeletion", "bool"),
}
_MANAGED: Final = {
    1: Field("manager"),
    2: Field("operation"),
    3: Field("apiVersion"),
    4: Field("time", "time"),
    6: Field("fieldsType"),
    7: Field("fieldsV1", {1: Field("Raw", "json")}),
    8: Field("subresource"),
}
_META: Final = {
    1: Field("name"),
    2: Field("generateName"),
    3: Field("namespace"),
    5: Field("uid"),
    6: Field("resourceVersion"),
    7: Field("generation", "int"),
    8: Field("creationTimestamp", "time"),
    9: Field("deletionTimestamp", "time"),
    10: Field("deletionGracePeriodSeconds", "int"),
    11: Field("labels", map_of="string"),
    12: Field("annotations", map_of="string"),
    13: Field("ownerReferences", _OWNER, repeated=True),
    14: Field("finalizers", repeated=True),
    17: Field("managedFields", _MANAGED, repeated=True),
}
_LEASE_SPEC: Final = {
    1: Field("holderIdentity"),
    2: Field("leaseDurationSeconds", "int"),
    3: Field("acquireTime", "microtime"),
    4: Field("renewTime", "microtime"),
    5: Field("leaseTransitions", "int"),
}
_ROLE: Final = {
    1: Field("metadata", _META),
    2: Field(
        "rules",
        {
            1: Field("verbs", repeated=True),
            2: Field("apiGroups", repeated=True),
            3: Field("resources", repeated=True),
            4: Field("resourceNames", repeated=True),
            5: Field("nonResourceURLs", repeated=True),
        },
        repeated=True,
    ),
}
_BINDING: Final = {
    1: Field("metadata", _META),
    2: Field(
        "subjects",
        {1: Field("kind"), 2: Field("apiGroup"), 3: Field("name"), 4: Field("namespace")},
        repeated=True,
    ),
    3: Field("roleRef", {1: Field("apiGroup"), 2: Field("kind"), 3: Field("name")}),
}
_ASKED: Final = {
    1: Field(
        "resourceAttributes",
        {
            1: Field("namespace"),
            2: Field("verb"),
            3: Field("group"),
            4: Field("version"),
            5: Field("resource"),
            6: Field("subresource"),
            7: Field("name"),
        },
    ),
    2: Field("nonResourceAttributes", {1: Field("path"), 2: Field("verb")}),
}
_DELETE_OPTIONS: Final = {
    1: Field("gracePeriodSeconds", "int"),
    2: Field("preconditions", {1: Field("uid"), 2: Field("resourceVersion")}),
    3: Field("orphanDependents", "bool"),
    4: Field("propagationPolicy"),
    5: Field("dryRun", repeated=True),
}
_TOKEN_SPEC: Final = {
    1: Field("audiences", repeated=True),
    3: Field("boundObjectRef", {1: Field("kind"), 2: Field("apiVersion"), 3: Field("name"), 4: Field("uid")}),
    4: Field("expirationSeconds", "int"),
}
MESSAGES: Final[Mapping[str, Mapping[int, Field]]] = {
    "Secret": {
        1: Field("metadata", _META),
        2: Field("data", map_of="bytes"),
        3: Field("type"),
        4: Field("stringData", map_of="string"),
        5: Field("immutable", "bool"),
    },
    "ConfigMap": {
        1: Field("metadata", _META),
        2: Field("data", map_of="string"),
        3: Field("binaryData", map_of="bytes"),
        4: Field("immutable", "bool"),
    },
    "Namespace": {
        1: Field("metadata", _META),
        2: Field("spec", {1: Field("finalizers", repeated=True)}),
        3: Field("status", {1: Field("phase")}),
    },
    "Lease": {1: Field("metadata", _META), 2: Field("spec", _LEASE_SPEC)},
    "ServiceAccount": {1: Field("metadata", _META), 4: Field("automountServiceAccountToken", "bool")},
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "TokenRequest": {1: Field("metadata", _META), 2: Field("spec", _TOKEN_SPEC)},
    "SelfSubjectReview": {1: Field("metadata", _META)},
    "SelfSubjectAccessReview": {1: Field("metadata", _META), 2: Field("spec", _ASKED)},
    "SelfSubjectRulesReview": {1: Field("metadata", _META), 2: Field("spec", {1: Field("namespace")})},
    "Eviction": {1: Field("metadata", _META), 2: Field("deleteOptions", _DELETE_OPTIONS)},
    "DeleteOptions": _DELETE_OPTIONS,
}

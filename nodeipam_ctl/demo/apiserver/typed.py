"""Do the fields that rules look at have the types Go would insist on? Anything else is a 400, never a crash.

kube-apiserver decodes built-in objects into structs; here only the fields that some rule reads are described.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from nodeipam_ctl.demo.apiserver.errors import Json, bad_request
from nodeipam_ctl.demo.apiserver.resources import Resource

_Objects = list[dict[str, Any]]
_Texts = dict[str, str]


class _Meta(msgspec.Struct):
    name: str | None = None
    generateName: str | None = None  # noqa: N815
    namespace: str | None = None
    uid: str | None = None
    resourceVersion: str | None = None  # noqa: N815
    labels: _Texts | None = None
    annotations: _Texts | None = None
    finalizers: list[str] | None = None
    ownerReferences: _Objects | None = None  # noqa: N815
    managedFields: _Objects | None = None  # noqa: N815


class _Plain(msgspec.Struct):
    """An object nobody looks into, or one whose schema does."""

    metadata: _Meta | None = None


class _Body(_Plain):
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


class _Taint(msgspec.Struct):
    key: str | None = None
    value: str | None = None
    effect: str | None = None


class _NodeSpec(msgspec.Struct):
    podCIDR: str | None = None  # noqa: N815
    podCIDRs: list[str] | None = None  # noqa: N815
    providerID: str | None = None  # noqa: N815
    unschedulable: bool | None = None
    taints: list[_Taint] | None = None


class _Condition(msgspec.Struct):
    type: str


class _Address(msgspec.Struct):
    type: str
    address: str


class _NodeStatus(msgspec.Struct):
    conditions: list[_Condition] | None = None
    addresses: list[_Address] | None = None
    nodeInfo: dict[str, Any] | None = None  # noqa: N815


class _Node(_Plain):
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _LeaseSpec(msgspec.Struct):
    holderIdentity: str | None = None  # noqa: N815
    leaseDurationSeconds: int | None = None  # noqa: N815
    acquireTime: str | None = None  # noqa: N815
    renewTime: str | None = None  # noqa: N815
    leaseTransitions: int | None = None  # noqa: N815


class _Lease(_Plain):
    spec: _LeaseSpec | None = None


class _Container(msgspec.Struct):
    name: str | None = None
    image: str | None = None


class _PodSpec(msgspec.Struct):
    containers: list[_Container] | None = None
    initContainers: list[_Container] | None = None  # noqa: N815
    nodeName: str | None = None  # noqa: N815
    serviceAccountName: str | None = None  # noqa: N815


class _Pod(_Plain):
    spec: _PodSpec | None = None
    status: dict[str, Any] | None = None


class _Source(msgspec.Struct):
    component: str | None = None


class _Reference(msgspec.Struct):
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None


class _Event(_Plain):
    involvedObject: _Reference | None = None  # noqa: N815
    regarding: _Reference | None = None
    source: _Source | None = None
    deprecatedSource: _Source | None = None  # noqa: N815
    reason: str | None = None
    message: str | None = None
    note: str | None = None
    type: str | None = None
    count: int | None = None
    series: dict[str, Any] | None = None


class _Data(_Plain):
    """ConfigMap and Secret."""

    data: _Texts | None = None
    stringData: _Texts | None = None  # noqa: N815
    type: str | None = None


class _Rule(msgspec.Struct):
    verbs: list[str] | None = None
    apiGroups: list[str] | None = None  # noqa: N815
    resources: list[str] | None = None
    resourceNames: list[str] | None = None  # noqa: N815
    nonResourceURLs: list[str] | None = None  # noqa: N815


class _Rbac(_Plain):
    rules: list[_Rule] | None = None
    subjects: list[_Reference] | None = None
    roleRef: _Reference | None = None  # noqa: N815


class _Names(msgspec.Struct):
    plural: str | None = None
    singular: str | None = None
    kind: str | None = None
    listKind: str | None = None  # noqa: N815
    shortNames: list[str] | None = None  # noqa: N815
    categories: list[str] | None = None


class _Column(msgspec.Struct):
    name: str
    type: str
    jsonPath: str  # noqa: N815


class _Selectable(msgspec.Struct):
    jsonPath: str  # noqa: N815


class _RuleText(msgspec.Struct):
    rule: str
    message: str | None = None
    messageExpression: str | None = None  # noqa: N815
    reason: str | None = None
    fieldPath: str | None = None  # noqa: N815
    optionalOldSelf: bool | None = None  # noqa: N815


_X = "x-kubernetes-"


class _Props(
    msgspec.Struct,
    rename={
        "list_type": _X + "list-type",
        "list_keys": _X + "list-map-keys",
        "map_type": _X + "map-type",
        "rules": _X + "validations",
        "preserve": _X + "preserve-unknown-fields",
        "embedded": _X + "embedded-resource",
        "int_or_string": _X + "int-or-string",
    },
):
    """apiextensions' JSONSchemaProps."""

    type: str | None = None
    format: str | None = None
    pattern: str | None = None
    description: str | None = None
    nullable: bool | None = None
    uniqueItems: bool | None = None  # noqa: N815
    exclusiveMinimum: bool | None = None  # noqa: N815
    exclusiveMaximum: bool | None = None  # noqa: N815
    minimum: float | None = None
    maximum: float | None = None
    multipleOf: float | None = None  # noqa: N815
    minLength: int | None = None  # noqa: N815
    maxLength: int | None = None  # noqa: N815
    minItems: int | None = None  # noqa: N815
    maxItems: int | None = None  # noqa: N815
    minProperties: int | None = None  # noqa: N815
    maxProperties: int | None = None  # noqa: N815
    required: list[str] | None = None
    enum: list[Any] | None = None
    properties: dict[str, _Props] | None = None
    additionalProperties: bool | _Props | None = None  # noqa: N815
    items: _Props | None = None
    allOf: list[_Props] | None = None  # noqa: N815
    anyOf: list[_Props] | None = None  # noqa: N815
    oneOf: list[_Props] | None = None  # noqa: N815
    not_: _Props | None = msgspec.field(name="not", default=None)
    list_type: str | None = None
    list_keys: list[str] | None = None
    map_type: str | None = None
    rules: list[_RuleText] | None = None
    preserve: bool | None = None
    embedded: bool | None = None
    int_or_string: bool | None = None


class _Schema(msgspec.Struct):
    openAPIV3Schema: _Props | None = None  # noqa: N815


class _Version(msgspec.Struct):
    name: str
    served: bool = False
    storage: bool = False
    schema: _Schema | None = None
    subresources: dict[str, Any] | None = None
    additionalPrinterColumns: list[_Column] | None = None  # noqa: N815
    selectableFields: list[_Selectable] | None = None  # noqa: N815


class _DefinitionSpec(msgspec.Struct):
    group: str | None = None
    scope: str | None = None
    names: _Names | None = None
    versions: list[_Version] | None = None


class _Definition(_Plain):
    spec: _DefinitionSpec | None = None
    status: dict[str, Any] | None = None


_KINDS: Final[dict[str, type[_Plain]]] = {
    "Node": _Node,
    "Lease": _Lease,
    "Pod": _Pod,
    "Event": _Event,
    "ConfigMap": _Data,
    "Secret": _Data,
    "ClusterRole": _Rbac,
    "ClusterRoleBinding": _Rbac,
    "Role": _Rbac,
    "RoleBinding": _Rbac,
    "CustomResourceDefinition": _Definition,
}
_COMPLAINT: Final = re.compile(
    r"Expected `(?P<want>[^`]+)`(?:, got `(?P<got>[^`]+)`)?(?: - at `\$\.?(?P<at>[^`]*)`)?"
)
_GO_VALUES: Final = {"int": "number", "float": "number", "str": "string", "bool": "bool", "array": "array"}
_GO_TYPES: Final = {"str": "string", "int": "int32", "bool": "bool"}


def check(resource: Resource, obj: Json) -> None:
    """Refuse an object whose fields are of the wrong type.

    Raises:
        ApiError: 400 in the words of encoding/json.
    """
    described = _Plain if resource.custom else _KINDS.get(resource.kind, _Body)
    try:
        msgspec.convert(obj, described)
    except msgspec.ValidationError as exc:
        head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise bad_request(f"{head}: {_go_words(resource.kind, str(exc))}") from exc


def _go_words(kind: str, complaint: str) -> str:
    found = _COMPLAINT.match(complaint)
    if found is None:  # a required key is missing
        return complaint
    got = _GO_VALUES.get(found["got"] or "", "object")
    want = (found["want"] or "").removesuffix(" | null")
    field = re.sub(r"\[[^]]*\]", "", found["at"] or "").strip(".")
    return f"json: cannot unmarshal {got} into Go struct field {kind}.{field} of type {_GO_TYPES.get(want, want)}"

"""What does the server do to a Node? podCIDR rules, the not-ready taint, the zero values of its status."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.errors import Cause, Json
from nodeipam_ctl.demo.apiserver.resources import Rules

_ZERO_INFO: Final = dict.fromkeys(
    (
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ),
    "",
)
_CIDR_HINT: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_EFFECTS: Final = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_NOT_READY: Final = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def agree_pod_cidrs(node: Json) -> None:
    """Make podCIDR and podCIDRs agree as the v1 conversion does: the singular field wins, either fills the other."""
    spec = node.get("spec")
    if spec is None:
        node["spec"] = {}
        return
    single = spec.get("podCIDR") or ""
    plural = spec.get("podCIDRs") or []
    if not single and not plural:
        spec.pop("podCIDR", None)
        spec.pop("podCIDRs", None)
    elif not plural or (single and plural[0] != single):
        spec["podCIDRs"] = [single]
    elif not single:
        spec["podCIDR"] = plural[0]


def taint_not_ready(node: Json) -> None:
    """Admission plug-in TaintNodesByCondition: a new Node is not ready."""
    taints = node["spec"].get("taints") or []
    if not any(taint.get("key") == _NOT_READY["key"] for taint in taints):
        node["spec"]["taints"] = [*taints, dict(_NOT_READY)]


def fill_status(node: Json) -> None:
    """Zero values that Go serialises in every Node."""
    status = node.get("status")
    if status is None:
        status = node["status"] = {}
    if "daemonEndpoints" not in status:
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": 0}}
    info = status.get("nodeInfo")
    if info is None:
        status["nodeInfo"] = dict(_ZERO_INFO)
    elif len(info) < len(_ZERO_INFO):
        status["nodeInfo"] = _ZERO_INFO | info


def zero_node() -> Json:
    """What a BOOKMARK of the Node watch carries beside its metadata."""
    node: Json = {"spec": {}}
    fill_status(node)
    return node


def validate(new: Json, old: Json | None) -> list[Cause]:
    """ValidateNode and ValidateNodeUpdate: families, CIDR syntax, and what may never change."""
    spec: dict[str, Any] = new["spec"]
    old_spec: dict[str, Any] = old.get("spec", {}) if old else {}
    found: list[Cause] = []
    cidrs: list[str] = spec.get("podCIDRs") or []
    if cidrs != old_spec.get("podCIDRs"):
        found += _cidr_causes(cidrs)
        if old_spec.get("podCIDRs"):
            found.append(_fixed("podCIDRs", "podCIDR"))
    had = old_spec.get("providerID")
    if had and spec.get("providerID") != had:
        found.append(_fixed("providerID", "providerID"))
    if spec.get("taints") is not old_spec.get("taints"):
        found += _taint_causes(spec.get("taints") or [])
    return found


def _cidr_causes(cidrs: list[str]) -> list[Cause]:
    found: list[Cause] = []
    families: list[int] = []
    for index, cidr in enumerate(cidrs):
        complaint = ""
        try:
            # The standard library also reads a bare address and a dotted netmask; Go's ParseCIDR does not.
            if not cidr.rpartition("/")[2].isdecimal() or "/" not in cidr:
                raise ValueError
            families.append(ipaddress.ip_network(cidr).version)
        except ValueError as exc:
            complaint = (
                "must not have bits set beyond the prefix length" if "host bits" in str(exc) else _CIDR_HINT
            )
        if complaint:
            found.append(causes.invalid(f"spec.podCIDRs[{index}]", cidr, complaint))
    if len(families) != len(set(families)) or len(cidrs) > 2:
        text = "may specify no more than one CIDR for each IP family"
        found.append(causes.invalid("spec.podCIDRs", cidrs, text))
    return found


def _fixed(field: str, word: str) -> Cause:
    return causes.forbidden(f"spec.{field}", f'node updates may not change {word} except from "" to valid')


def _taint_causes(taints: list[Json]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        effect = taint.get("effect", "")
        where = f"spec.taints[{index}]"
        if not effect:
            found.append(causes.required(f"{where}.effect"))
        elif effect not in _EFFECTS:
            found.append(causes.not_supported(f"{where}.effect", effect, _EFFECTS))
        identity = (taint.get("key", ""), effect)
        if identity in seen:
            found.append(causes.duplicate(where, taint))
        seen.add(identity)
    return found


def _fields(node: Json) -> dict[str, str] | None:
    return {"spec.unschedulable": "true"} if node["spec"].get("unschedulable") else None


RULES: Final = Rules(
    default=agree_pod_cidrs,
    admit=taint_not_ready,
    fill=fill_status,
    validate=validate,
    fields=_fields,
    field_names=frozenset({"spec.unschedulable"}),
    keeps_status_on_create=True,
)

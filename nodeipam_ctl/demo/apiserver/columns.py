"""Which columns do the built-in kinds print? As kubectl users know them (pkg/printers/internalversion)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from nodeipam_ctl.demo.apiserver.errors import Json

_CREATED_HELP: Final = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One column: its definition, and how a row's value is read from an object. `is_age` values are timestamps."""

    name: str
    read: Callable[[Json], Any]
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    is_age: bool = False


def _created(obj: Json) -> Any:
    return obj["metadata"].get("creationTimestamp")


_AGE: Final = Cell(name="Age", read=_created, is_age=True, description=_CREATED_HELP)
_ROLE: Final = Cell(
    name="Role", read=lambda obj: f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}", description="Role"
)


def _node_status(node: Json) -> str:
    conditions = {c.get("type"): c.get("status") for c in node.get("status", {}).get("conditions") or ()}
    words = {"True": "Ready", "False": "NotReady", "Unknown": "NotReady"}
    status = words.get(conditions.get("Ready", ""), "Unknown")
    return status + (",SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else "")


def _node_roles(node: Json) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    return ",".join(role for role in roles if role) or "<none>"


def _node_address(kind: str) -> Callable[[Json], str]:
    def read(node: Json) -> str:
        addresses = node.get("status", {}).get("addresses") or ()
        return next((a["address"] for a in addresses if a.get("type") == kind), "<none>")

    return read


def _node_info(key: str) -> Callable[[Json], str]:
    return lambda node: (node.get("status", {}).get("nodeInfo") or {}).get(key) or "<unknown>"


def _node_version(node: Json) -> str:
    return str((node.get("status", {}).get("nodeInfo") or {}).get("kubeletVersion", ""))


def _at(*path: str, default: Any = "") -> Callable[[Json], Any]:
    def read(obj: Json) -> Any:
        value: Any = obj
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return default if value is None else value

    return read


def _pod_ready(pod: Json) -> str:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    total = len(pod.get("spec", {}).get("containers") or ())
    return f"{sum(bool(s.get('ready')) for s in statuses)}/{total}"


def _pod_status(pod: Json) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status", {})
    return str(status.get("reason") or status.get("phase", ""))


def _pod_restarts(pod: Json) -> str:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return str(sum(s.get("restartCount", 0) for s in statuses))


def _event_object(event: Json) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _event_last(event: Json) -> Any:
    series = event.get("series") or {}
    last = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    return series.get("lastObservedTime") or last or event.get("eventTime")


def _count(*path: str) -> Callable[[Json], int]:
    return lambda obj: len(_at(*path, default=())(obj))


def _ready_ratio(deployment: Json) -> str:
    ready = _at("status", "readyReplicas", default=0)(deployment)
    return f"{ready}/{_at('spec', 'replicas', default=1)(deployment)}"


def _joined(*path: str) -> Callable[[Json], str]:
    return lambda obj: ",".join(_at(*path, default=())(obj)) or "<none>"


def _number(name: str, *path: str) -> Cell:
    return Cell(name=name, type="integer", read=_at(*path, default=0), description=f"{'.'.join(path)}")


_NODE: Final = (
    Cell(name="Status", read=_node_status, description="The status of the node"),
    Cell(name="Roles", read=_node_roles, description="The roles of the node"),
    _AGE,
    Cell(name="Version", read=_node_version, description="Kubelet Version reported by the node."),
    Cell(name="Internal-IP", read=_node_address("InternalIP"), priority=1, description="Internal addresses."),
    Cell(name="External-IP", read=_node_address("ExternalIP"), priority=1, description="External addresses."),
    Cell(
        name="OS-Image", read=_node_info("osImage"), priority=1, description="OS Image reported by the node."
    ),
    Cell(name="Kernel-Version", read=_node_info("kernelVersion"), priority=1, description="Kernel Version."),
    Cell(
        name="Container-Runtime",
        read=_node_info("containerRuntimeVersion"),
        priority=1,
        description="Runtime.",
    ),
)
_POD: Final = (
    Cell(name="Ready", read=_pod_ready, description="The aggregate readiness state of this pod."),
    Cell(name="Status", read=_pod_status, description="The aggregate status of the containers in this pod."),
    Cell(name="Restarts", read=_pod_restarts, description="The number of times the containers restarted."),
    _AGE,
    Cell(name="IP", read=_at("status", "podIP", default="<none>"), priority=1, description="IP of the pod."),
    Cell(
        name="Node",
        read=_at("spec", "nodeName", default="<none>"),
        priority=1,
        description="Node of the pod.",
    ),
)
_EVENT: Final = (
    Cell(
        name="Last Seen", read=_event_last, is_age=True, description="Time when this event was last observed"
    ),
    Cell(name="Type", read=_at("type"), description="Type of this event (Normal, Warning)"),
    Cell(name="Reason", read=_at("reason"), description="Why this action was taken"),
    Cell(name="Object", read=_event_object, description="What this event is about"),
    Cell(
        name="Message",
        read=lambda event: str(event.get("message") or event.get("note") or "").strip(),
        description="The human-readable description of the event",
    ),
)
_DAEMONSET: Final = (
    _number("Desired", "status", "desiredNumberScheduled"),
    _number("Current", "status", "currentNumberScheduled"),
    _number("Ready", "status", "numberReady"),
    _number("Up-to-date", "status", "updatedNumberScheduled"),
    _number("Available", "status", "numberAvailable"),
    _AGE,
)

BUILTIN_COLUMNS: Final[dict[tuple[str, str], tuple[Cell, ...]]] = {
    ("", "nodes"): _NODE,
    ("", "pods"): _POD,
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): _EVENT,
    ("", "namespaces"): (Cell(name="Status", read=_at("status", "phase"), description="The status"), _AGE),
    ("", "configmaps"): (Cell(name="Data", read=_count("data"), description="Number of entries"), _AGE),
    ("", "secrets"): (
        Cell(name="Type", read=_at("type"), description="Used to facilitate programmatic handling"),
        Cell(name="Data", read=_count("data"), description="Number of entries"),
        _AGE,
    ),
    ("", "serviceaccounts"): (
        Cell(name="Secrets", read=_count("secrets"), description="Secrets usable by pods"),
        _AGE,
    ),
    ("", "services"): (
        Cell(name="Type", read=_at("spec", "type", default="ClusterIP"), description="How it is exposed"),
        Cell(name="Cluster-IP", read=_at("spec", "clusterIP", default="<none>"), description="Its address"),
        _AGE,
    ),
    ("apps", "daemonsets"): _DAEMONSET,
    ("apps", "deployments"): (
        Cell(name="Ready", read=_ready_ratio, description="Ready pods of the desired ones"),
        _number("Up-to-date", "status", "updatedReplicas"),
        _number("Available", "status", "availableReplicas"),
        _AGE,
    ),
    ("coordination.k8s.io", "leases"): (
        Cell(name="Holder", read=_at("spec", "holderIdentity"), description="Who holds the lease"),
        _AGE,
    ),
    ("networking.k8s.io", "servicecidrs"): (
        Cell(name="CIDRs", read=_joined("spec", "cidrs"), description="Address ranges of Services"),
        _AGE,
    ),
    ("policy", "poddisruptionbudgets"): (
        Cell(name="Min Available", read=_at("spec", "minAvailable", default="N/A"), description="At least"),
        Cell(
            name="Max Unavailable", read=_at("spec", "maxUnavailable", default="N/A"), description="At most"
        ),
        _number("Allowed Disruptions", "status", "disruptionsAllowed"),
        _AGE,
    ),
    ("rbac.authorization.k8s.io", "clusterroles"): (
        Cell(name="Created At", read=_created, type="date", description=_CREATED_HELP),
    ),
    ("rbac.authorization.k8s.io", "roles"): (
        Cell(name="Created At", read=_created, type="date", description=_CREATED_HELP),
    ),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): (_ROLE, _AGE),
    ("rbac.authorization.k8s.io", "rolebindings"): (_ROLE, _AGE),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        Cell(name="Created At", read=_created, type="date", description=_CREATED_HELP),
    ),
}

"""What did the API say? Nodes, ClusterCIDRs and ledger lines, parsed once at the edge and frozen; and what we answered.

Everything here is a value. `kube/wire.py` makes these from API objects; `ipam/` and `routing/` compute with them. A value
that could not be parsed is not here: it is a `Finding` beside the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from nodeipam_ctl.prefixes import Address, Family, Network, family_of

NodeName = NewType("NodeName", str)
NodeUID = NewType("NodeUID", str)
PoolName = NewType("PoolName", str)
"""The name of a ClusterCIDR; objects of networking.x-k8s.io are named `networking.x-k8s.io/NAME`."""


class Severity(StrEnum):
    """How bad a finding is: an error means that addresses or reachability are at risk."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong in what we were given; never a crash, and never anybody else's problem.

    Attributes:
        code: a stable word to match on, such as `OverlappingPodCIDRs`.
        subject: the object it is about, `kind/name`.
        message: what is wrong, one line.
        remedy: what the operator can do about it, one line.
    """

    severity: Severity = Severity.WARNING
    code: str
    subject: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The slim record of a Node: what allocation and routing need, under 1 kB.

    Attributes:
        resource_version: of the last change that matters here; a heartbeat changes nothing else, so it is left out of comparisons.
        pod_cidrs: `spec.podCIDRs` in the object's order; entries that are not a CIDR are left out and named in `problems`.
        internal_ips: `status.addresses` of type InternalIP, in the object's order.
        annotations: only those that somebody of ours reads (`nodeipam.dev/`, `flannel.alpha.coreos.com/`).
        created_s: `metadata.creationTimestamp` in seconds since the epoch.
        deleting: a deletionTimestamp is set; the object still exists and still owns its podCIDRs.
        network_unavailable: status of the NetworkUnavailable condition; None when the condition is absent.
        problems: what of this Node could not be understood, one line each.
    """

    name: NodeName
    uid: NodeUID
    resource_version: str = field(default="", compare=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pod_cidrs: tuple[Network, ...] = ()
    internal_ips: tuple[Address, ...] = ()
    created_s: float = 0.0
    deleting: bool = False
    network_unavailable: bool | None = None
    problems: tuple[str, ...] = ()

    def pod_cidr(self, family: Family) -> Network | None:
        """The Node's podCIDR of one family; the API allows at most one."""
        return next((cidr for cidr in self.pod_cidrs if family_of(cidr) is family), None)

    def internal_ip(self, family: Family) -> Address | None:
        """The first InternalIP of one family."""
        return next((ip for ip in self.internal_ips if family_of(ip) is family), None)


class Operator(StrEnum):
    """The operators of a core/v1 NodeSelectorRequirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition on a label, or on a field in `SelectorTerm.fields`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorTerm:
    """Requirements that must all hold; a term with none matches nothing (core/v1 NodeSelectorTerm)."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSelector:
    """Terms of which one must match (core/v1 NodeSelector)."""

    terms: tuple[SelectorTerm, ...]


class Retain(StrEnum):
    """Whether a re-created node gets the block of its predecessor back."""

    NONE = "None"
    BY_NAME = "ByName"


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """One family of a ClusterCIDR: its ranges, the size of a node's block and what is never handed out."""

    cidrs: tuple[Network, ...]
    node_mask_size: int
    exclude: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticBlock:
    """A block promised to one node by name."""

    node: NodeName
    cidrs: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCIDR:
    """A pool of addresses and who may use it.

    Attributes:
        families: what it offers; a node takes a block of every family here, or none at all.
        selector: None matches every node.
        reuse_delay_s: how long a released block rests before another node gets it, in seconds.
        terminating: a deletionTimestamp is set; it hands out nothing new.
    """

    name: PoolName
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    families: Mapping[Family, FamilySpec]
    selector: NodeSelector | None = None
    priority: int = 0
    disabled: bool = False
    reuse_delay_s: float = 300.0
    retain: Retain = Retain.NONE
    static: tuple[StaticBlock, ...] = ()
    terminating: bool = False
    finalizers: tuple[str, ...] = ()
    created_s: float = 0.0


class LedgerState(StrEnum):
    """What a ledger line says about its block."""

    BOUND = "Bound"
    RESTING = "Resting"
    SPLIT = "Split"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line of a PodCIDRSlice: a block and the node it is promised to.

    Attributes:
        addresses: the node's InternalIPs, for the agents' routes.
        backend: what the node says it runs, for the agents' tunnels; empty when it says nothing that they follow.
        wireguard_public_key: what the node publishes, for the agents' tunnels; empty when it has none.
        since_s: when the promise was written, in seconds since the epoch.
        reusable_at_s: when a resting block may go to another node, in seconds since the epoch; 0 when it does not rest.
    """

    cidr: Network
    state: LedgerState
    node: NodeName = NodeName("")
    node_uid: NodeUID = NodeUID("")
    cluster_cidr: PoolName = PoolName("")
    addresses: tuple[Address, ...] = ()
    backend: str = ""
    wireguard_public_key: str = ""
    since_s: float = 0.0
    reusable_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPage:
    """One PodCIDRSlice: the lines of one nibble of the address space.

    Attributes:
        name: the object's name.
        resource_version: what a write must carry; empty when the page does not exist yet.
        turn: grows by one with every write, so that even a write that changes no line gives the page a new version
            (annotation `nodeipam.dev/turn`; `ipam/ledger.py` says why that matters).
        findings: lines that could not be understood.
    """

    name: str
    page: Network
    uid: str = ""
    resource_version: str = ""
    turn: int = 0
    entries: tuple[LedgerEntry, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCIDR:
    """Ranges of Service addresses (networking.k8s.io/v1); never handed out to nodes."""

    name: str
    uid: str = ""
    resource_version: str = ""
    cidrs: tuple[Network, ...] = ()


class Verdict(StrEnum):
    """What became of one ClusterCIDR when a node asked."""

    CHOSEN = "chosen"
    NOT_REACHED = "not reached"  # an earlier one served the node, or the node's own annotation is at fault
    NOT_MATCHING = "not matching"
    NOT_PINNED = "not pinned"
    DISABLED = "disabled"
    TERMINATING = "terminating"
    FULL = "full"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One ClusterCIDR that was looked at, in the order of looking, and the rule that decided about it."""

    pool: PoolName
    verdict: Verdict
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A node gets these blocks, IPv4 first."""

    node: NodeName
    uid: NodeUID
    pool: PoolName
    pod_cidrs: tuple[Network, ...]
    considered: tuple[Considered, ...] = ()


class RefusalReason(StrEnum):
    """Why a node gets nothing now."""

    NO_POOL = "no ClusterCIDR exists"
    NO_MATCH = "no ClusterCIDR matches the node"
    FULL = "every matching ClusterCIDR is full"
    PIN_UNKNOWN = "the pinned ClusterCIDR does not exist"
    BAD_ANNOTATION = "an annotation of the node cannot be used"
    DRAINED = "every matching ClusterCIDR is disabled or terminating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A node gets nothing now; `message` names the pools tried, their free counts and the remedy, on one line."""

    node: NodeName
    uid: NodeUID
    reason: RefusalReason
    message: str
    considered: tuple[Considered, ...] = ()


Decision = Assignment | Refusal

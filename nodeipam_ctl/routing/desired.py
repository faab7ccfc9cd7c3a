"""Which links, routes, settings and files must this host have? `desired` answers for a whole view, and says what it left out and why."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from nodeipam_ctl.model import Finding, NodeUID, Severity
from nodeipam_ctl.prefixes import Family, Network, family_of
from nodeipam_ctl.routing import backends, cni, handover, masquerade, mixing, wireguard_keys
from nodeipam_ctl.routing.backends import Backend, Toward, Vantage
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.peers import (
    Place,
    broken_records,
    covering,
    held,
    near,
    overlapping,
    own_refusals,
    refusal,
    sharing_macs,
)
from nodeipam_ctl.routing.state import (
    SINK_METRIC,
    FdbEntry,
    HostFile,
    HostObject,
    InterfaceAddress,
    Key,
    Kind,
    Link,
    NftTable,
    Route,
    RouteType,
    Sysctl,
)
from nodeipam_ctl.routing.view import NodeView, Peer, relevant
from nodeipam_ctl.settings import AgentSettings

FORWARDING = {Family.IPV4: "net/ipv4/ip_forward", Family.IPV6: "net/ipv6/conf/all/forwarding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The answer for one view.

    Attributes:
        findings: what has no object here, and why; each is one line for the operator.
        waiting: why this node cannot serve pods now, one line; empty when it can.
        keep: kinds of which nothing is removed now: what stands in the way is expected to pass.
        routed: how many podCIDRs of peers have a route here.
    """

    state: HostState
    findings: tuple[Finding, ...] = ()
    waiting: str = ""
    keep: frozenset[Kind] = frozenset()
    routed: int = 0
    pod_mtu_bytes: int | None = None


class _Answer(NamedTuple):
    """What a peer's claim of a podCIDR needs if it holds.

    Attributes:
        keys: of the objects in `toward`; they take longer to make than to compare.
        outside: no ClusterCIDR covers it, so masquerade must be told about it.
        near: it lies on one of our own segments.
    """

    peer: Peer
    cidr: Network
    place: Place
    toward: Toward
    keys: tuple[Key, ...]
    outside: bool
    near: bool


@dataclass(slots=True)
class Memo:
    """Answers of the last view by peer, kept while everything but the peers is the same: one changed peer of 5,000 costs one."""

    basis: object = None
    answers: dict[NodeUID, tuple[Peer, tuple[_Answer, ...]]] = field(default_factory=dict)
    nat_basis: object = None
    nat: NftTable | None = None


def desired(
    view: NodeView, backend: Backend, *, template: str | None = None, memo: Memo | None = None
) -> Desired:
    """What the host must have for this view; the same view always gives the same answer, with or without a memo.

    Raises:
        UsageError: the CNI template cannot be used.
    """
    unusable = own_refusals(view)
    if unusable and view.own is not None:
        usable = tuple(cidr for cidr in view.own.pod_cidrs if cidr not in unusable)
        view = replace(view, own=replace(view.own, pod_cidrs=usable))
    view = replace(view, facts=relevant(view), peers=wireguard_keys.screened(view))
    vantage = Vantage.of(view)
    holders, findings = held(_answers(vantage, backend, memo))
    objects: list[HostObject] = list(_settings(view, holders))
    own = backend.own(vantage)
    objects += own.objects
    for name in mixing.accepted(view):
        objects += backends.load(name).own(vantage).objects
    routed = 0
    unreachable: list[Finding] = [*own.findings, *findings, *broken_records(view.peers)]
    used: list[_Answer] = []
    outside: list[Network] = []
    refused, shared = overlapping({p: answer for p, answer in holders.items() if not answer.toward.refused})
    refused |= covering({place: answer for place, answer in holders.items() if answer.near}, view)
    if view.settings.flannel_compat and any(peer.vtep_macs for peer in view.peers):
        # MACs that follow from uids are nobody else's.
        holders |= _sharing_macs(holders, refused, own)
    unreachable += shared
    for place, answer in holders.items():
        toward = answer.toward
        if place in refused and not toward.refused:  # not in the memo: it depends on other peers
            unreachable.append(refused[place])
            continue
        used.append(answer)
        if toward.findings:
            unreachable += toward.findings
        elif answer.keys:
            routed += 1
        if answer.outside:
            outside.append(answer.cidr)
    objects += _sinks(view)
    objects += _loosened(view)
    nat = _nat(view, tuple(outside), memo)
    if nat is not None:
        objects.append(nat)
    pod_mtu = backend.pod_mtu_bytes(vantage)
    waiting, own_findings = _refused(view, unusable) if unusable else _waiting(view, pod_mtu)
    if not waiting and view.own is not None and pod_mtu is not None:
        objects += handover.files(view.own, view.cluster_cidrs, pod_mtu, view.settings)
        objects.append(_conflist(view, view.own.pod_cidrs, pod_mtu, template))
    return Desired(
        state=HostState.of_keyed(
            chain(
                chain.from_iterable(zip(a.keys, a.toward.objects, strict=True) for a in used),
                ((obj.key, obj) for obj in objects),
            )
        ),
        findings=(*unreachable, *own_findings, *_shadowed_conflist(view)),
        waiting=waiting,
        keep=_kept(waiting, view),
        routed=routed,
        pod_mtu_bytes=pod_mtu,
    )


def _answers(vantage: Vantage, backend: Backend, memo: Memo | None) -> Iterator[_Answer]:
    """For every claim of every peer, in their order."""
    view = vantage.view
    underlay = tuple(link for link in view.facts.links if not link.ours)
    basis = (view.settings, view.own, underlay, view.service_cidrs, view.api_server, view.cluster_cidrs)
    known = memo.answers if memo is not None and memo.basis == basis else {}
    ranges = masquerade.Ranges(view.cluster_cidrs)
    answers: dict[NodeUID, tuple[Peer, tuple[_Answer, ...]]] = {}
    for peer in view.peers:
        given = known.get(peer.uid)
        if given is None or not (given[0] is peer or given[0] == peer):
            given = peer, tuple(_answer(peer, cidr, vantage, backend, ranges) for cidr in peer.pod_cidrs)
        answers[peer.uid] = given
        yield from given[1]
    if memo is not None:
        memo.basis, memo.answers = basis, answers


def _answer(
    peer: Peer, cidr: Network, vantage: Vantage, backend: Backend, ranges: masquerade.Ranges
) -> _Answer:
    refused = refusal(cidr, peer, vantage.view)
    form = mixing.form_for(peer, vantage.settings)
    chosen = backend if form == vantage.settings.backend else backends.load(form)
    toward = Toward(findings=(refused,), refused=True) if refused else chosen.toward(peer, cidr, vantage)
    return _Answer(
        peer=peer,
        cidr=cidr,
        place=Place.of(cidr),
        toward=toward,
        keys=tuple(obj.key for obj in toward.objects),
        outside=not toward.refused and not ranges.cover(cidr),
        near=near(cidr, vantage.view),
    )


def _sharing_macs(
    holders: Mapping[Place, _Answer], refused: Container[Place], own: Toward
) -> dict[Place, _Answer]:
    """The answers about blocks that cannot be reached because of their node's MAC, in the place of those that it would do for alone."""
    entries = [
        (answer, obj)
        for place, answer in holders.items()
        if place not in refused
        for obj in answer.toward.objects
        if isinstance(obj, FdbEntry)
    ]
    devices = {(obj.name, obj.mac) for obj in own.objects if isinstance(obj, Link) and obj.mac is not None}
    return {
        place: holders[place]._replace(toward=Toward(findings=findings), keys=())
        for place, findings in sharing_macs(entries, devices).items()
    }


def _nat(view: NodeView, outside: tuple[Network, ...], memo: Memo | None) -> NftTable | None:
    if not view.settings.masquerade or not view.pools_known or view.own is None:
        return None
    nodes = masquerade.exempt_nodes(view)
    basis = (view.settings, view.own.pod_cidrs, view.cluster_cidrs, outside, nodes)
    if memo is not None and memo.nat_basis == basis:
        return memo.nat
    made = masquerade.table(view.own, view.cluster_cidrs + outside, view.settings, nodes)
    if memo is not None:
        memo.nat_basis, memo.nat = basis, made
    return made


def _kept(waiting: str, view: NodeView) -> frozenset[Kind]:
    if waiting.startswith(("WaitingForNode", "WaitingForUnderlay")):
        return frozenset(Kind)
    if waiting.startswith("WaitingForPodCIDR"):
        # A tunnel that loses its last address loses its IPv4 routes to every peer with it (fib_disable_ip).
        return frozenset({Kind.ADDRESS})
    return frozenset() if view.pools_known else frozenset({Kind.NFT_TABLE, Kind.FILE})


def _settings(view: NodeView, holders: Iterable[Place]) -> Iterator[Sysctl]:
    families = {Family.IPV4 if version == 4 else Family.IPV6 for version in {place[0] for place in holders}}
    families |= {family_of(cidr) for cidr in view.own.pod_cidrs} if view.own else set()
    if Family.IPV6 in families:
        # A forwarding host ignores router advertisements unless told otherwise, and loses its default route with them.
        outward = {link.name for link in view.facts.links if not link.ours}
        for device in filter(outward.__contains__, view.facts.accept_ra_devices):
            yield Sysctl(name=f"net/ipv6/conf/{device}/accept_ra", value="2")
    for device in view.facts.strict_devices:
        # Direct one way and through a tunnel the other, while nodes differ: strict checking would drop one of them.
        if any(found is not None and found[0].name == device for found in map(view.underlay, Family)):
            yield Sysctl(name=f"net/ipv4/conf/{device}/rp_filter", value="2")
    limit = view.facts.neighbour_limit
    if limit is not None and limit < 2 * len(view.peers):
        # Every next hop is a neighbour; a full table means packets lost at random.
        needed = 1 << (2 * len(view.peers)).bit_length()
        for version in ("ipv4", "ipv6"):
            for number, share in ((1, 4), (2, 2), (3, 1)):
                yield Sysctl(
                    name=f"net/{version}/neigh/default/gc_thresh{number}", value=str(needed // share)
                )
    for family in Family:
        if family in families:
            yield Sysctl(name=FORWARDING[family], value="1")


def _loosened(view: NodeView) -> Iterator[HostObject]:
    """What a predecessor's devices need to accept packets from nodes that are answered another way by now.

    Without an IPv4 address of its own a device drops them even with rp_filter 2 (__fib_validate_source).
    """
    mine = view.own.pod_cidrs_of(Family.IPV4) if view.own else ()
    for link in view.facts.links:
        if not link.left or not mine:
            continue
        yield Sysctl(name=f"net/ipv4/conf/{link.name}/rp_filter", value="2")
        address = mine[0].network_address
        if not any(held.version == 4 and held != address for held in link.addresses):
            yield InterfaceAddress(dev=link.name, address=address, prefix_length=32)


def _sinks(view: NodeView) -> Iterator[Route]:
    """Packets for a pod that is gone end here instead of following the default route out and coming back.

    Always in the main table, where CNI plug-ins make the routes to pods: one in a table that is asked before would win over them.
    """
    for cidr in view.own.pod_cidrs if view.own else ():
        yield Route(dst=cidr, type=RouteType.UNREACHABLE, metric=SINK_METRIC)


def _refused(view: NodeView, unusable: Mapping[Network, str]) -> tuple[str, tuple[Finding, ...]]:
    findings = tuple(
        Finding(
            severity=Severity.ERROR,
            code="PodCIDRRefused",
            subject=f"node/{view.settings.node_name}",
            message=f"own podCIDR {cidr} {reason}, so no pod may have an address of it",
            remedy="correct the ClusterCIDR, or whatever else allocates, and re-create the Node",
        )
        for cidr, reason in unusable.items()
    )
    return f"PodCIDRRefused: {findings[0].message}", findings


def _waiting(view: NodeView, pod_mtu_bytes: int | None) -> tuple[str, tuple[Finding, ...]]:
    name = view.settings.node_name
    if view.own is None:
        return f"WaitingForNode: the API server knows no Node {name}", ()
    if not view.own.pod_cidrs:
        return f"WaitingForPodCIDR: node {name} has no podCIDR yet", ()
    small = [cidr for cidr in view.own.pod_cidrs if cni.too_small(cidr)]
    if small:
        finding = Finding(
            severity=Severity.ERROR,
            code="PodCIDRTooSmall",
            subject=f"node/{name}",
            message=f"own podCIDR {small[0]} has no room for a gateway and a pod, so no CNI configuration is written",
            remedy="use a node mask of at most /30 or /126 in the ClusterCIDR and re-create the Node",
        )
        return f"PodCIDRTooSmall: {small[0]}", (finding,)
    if pod_mtu_bytes is None:
        shown = ", ".join(map(str, view.own.addresses)) or "none"
        finding = Finding(
            severity=Severity.ERROR,
            code="UnderlayUnknown",
            subject=f"node/{name}",
            message=f"no device of this host holds the node's InternalIP ({shown})",
            remedy="correct --node-ip of kubelet, or bring the device up",
        )
        return f"WaitingForUnderlay: no device holds {shown}", (finding,)
    if view.settings.masquerade and not view.pools_known:
        return (
            "WaitingForClusterCIDRs: the cluster's ranges are not known yet, so nothing can be masqueraded",
            (),
        )
    missing = {family_of(cidr) for cidr in view.own.pod_cidrs} - view.facts.forwarding
    if missing:
        return f"WaitingForForwarding: the kernel does not forward {' and '.join(sorted(missing))} yet", ()
    return "", ()


def _conflist(
    view: NodeView, pod_cidrs: tuple[Network, ...], mtu_bytes: int, template: str | None
) -> HostFile:
    settings = view.settings
    text = cni.conflist(
        template or cni.TEMPLATES[settings.cni_flavour],
        pod_cidrs=pod_cidrs,
        mtu_bytes=mtu_bytes,
        data_dir=str(settings.cni_data_dir or ""),
    )
    return HostFile(path=str(conflist_path(settings.cni_conf_dir)), text=text, mode=0o644)


def conflist_path(directory: Path) -> Path:
    """Where our CNI configuration stands: early in the runtime's order, after nobody but those who ask for it."""
    return directory / cni.FILE_NAME


def owned_files(settings: AgentSettings) -> tuple[str, ...]:
    """Paths of the files that are ours under these settings, the CNI configuration last."""
    others = [str(path) for path in (settings.subnet_env, settings.docker_opts) if path is not None]
    return (*others, str(conflist_path(settings.cni_conf_dir)))


def _shadowed_conflist(view: NodeView) -> tuple[Finding, ...]:
    first = [name for name in view.facts.foreign_conflists if name < cni.FILE_NAME]
    return tuple(
        Finding(
            code="ForeignConflistFirst",
            subject=f"file/{view.settings.cni_conf_dir / name}",
            message=f"another CNI's file sorts before {cni.FILE_NAME}, so the runtime uses that one",
            remedy="remove it, or rename it to sort later, and re-create the pods",
        )
        for name in first
    )

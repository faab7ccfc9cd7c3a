"""One turn of the agent: what the cluster and the host say in, desired state, difference, guard, plan, effect out.

A turn is level-triggered: whatever woke it, it compares everything it knows. What it knows of the host is the last dump and
its own writes since; `Dirty` says which parts of that a kernel event has made doubtful, and only those are read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from nodeipam_ctl.agent import verdict
from nodeipam_ctl.agent.adoption import Adoption
from nodeipam_ctl.agent.doubt import Dirty, EntryEvents
from nodeipam_ctl.agent.lacking import Lacking
from nodeipam_ctl.agent.passes import SHAPES_FACTS, outdated, raced, withdrawals_apart
from nodeipam_ctl.errors import NodeIPAMError, NotFound, Permanent, Transient
from nodeipam_ctl.linux import nftables
from nodeipam_ctl.linux.dumps import Interest
from nodeipam_ctl.linux.host import Host, Outcome
from nodeipam_ctl.linux.rtnl import PackedDestination, packed_destination
from nodeipam_ctl.model import Finding
from nodeipam_ctl.plan import Plan, diff
from nodeipam_ctl.prefixes import Address, Network
from nodeipam_ctl.routing.backends import Backend, devices_of_all, wireguard
from nodeipam_ctl.routing.contest import contested
from nodeipam_ctl.routing.desired import Desired, Memo, desired, owned_files
from nodeipam_ctl.routing.forwarding import accepted, dropping
from nodeipam_ctl.routing.guard import guarded, unlisted
from nodeipam_ctl.routing.host_state import HostState, settled
from nodeipam_ctl.routing.masquerade import TABLE, TABLE_FAMILY
from nodeipam_ctl.routing.state import (
    OF_PEERS,
    ForwardAccept,
    HostChange,
    HostObject,
    HostPlan,
    InterfaceAddress,
    Key,
    Kind,
    Route,
    Sysctl,
)
from nodeipam_ctl.routing.view import HostFacts, NodeView, Peer
from nodeipam_ctl.routing.wireguard_keys import in_use
from nodeipam_ctl.settings import AgentSettings

_MOST_PASSES = 4
_APART = (Kind.NFT_TABLE, Kind.FILE)
"""What stands apart from the routes: they are kept up even where these cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the cluster says at one moment.

    Attributes:
        plausible: the feed's list has this node in it; a list without it cannot be the whole truth.
        whole: every part of the feed's list has been understood, now or earlier.
        unread: what of the feed could not be understood.
        lists: how many complete lists the feed has delivered; 0 means that nothing is known yet.
    """

    own: Peer | None = None
    peers: tuple[Peer, ...] = ()
    cluster_cidrs: tuple[Network, ...] = ()
    service_cidrs: tuple[Network, ...] = ()
    api_server: Address | None = None
    formerly: tuple[str, ...] = ()
    pools_known: bool = True
    plausible: bool = True
    whole: bool = True
    unread: tuple[Finding, ...] = ()
    lists: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn did.

    Attributes:
        outcome: what took effect, and what had failed when the turn ended.
        refused: every failure on the way, also of what a later pass of the same turn put right.
        held: removals that wait for a second complete list.
        retry: something failed that may succeed by itself: another turn should follow soon.
        present: how many objects of ours the host has now, by kind.
        messages: how many rtnetlink messages it took.
        unread: which part of the host could not be read and was left as it is, one line; empty when all was read.
    """

    snapshot: Snapshot
    desired: Desired
    outcome: Outcome
    held: HostPlan
    findings: tuple[Finding, ...]
    retry: bool
    present: dict[Kind, int]
    foreign: int = 0
    refused: tuple[tuple[HostChange, NodeIPAMError], ...] = ()
    messages: int = 0
    unread: str = ""


class _Wanted:
    """The destinations of a state's routes, found when somebody asks."""

    def __init__(self, state: HostState) -> None:
        self._state = state

    @cached_property
    def destinations(self) -> frozenset[PackedDestination]:
        routes = (obj for obj in self._state.of_kind(Kind.ROUTE) if isinstance(obj, Route))
        return frozenset(packed_destination(route.dst) for route in routes)


class Reconciler:
    """Keeps one host as one snapshot wants it. Blocking: the caller runs turns in a thread, one at a time."""

    def __init__(
        self, settings: AgentSettings, host: Host, backend: Backend, *, template: str | None
    ) -> None:
        self.dirty = Dirty()
        self.facts = HostFacts()
        self._wanted = _Wanted(HostState())
        self._adoption = Adoption(settings)
        self._predecessor = self._adoption.predecessor
        self.devices = devices_of_all(settings)
        self._settings = settings
        self._host = host
        self._backend = backend
        self._template = template
        self._memo = Memo()
        self._lacking = Lacking(settings)
        self._observed: dict[Kind, dict[Key, HostObject]] = {kind: {} for kind in Kind}
        self.entries = EntryEvents(self.dirty, self._observed)
        self._foreign: dict[Kind, tuple[HostObject, ...]] = dict.fromkeys(Kind, ())
        self._forward_problem = ""
        self._unread: dict[Kind, str] = {}
        self._sysctls: tuple[str, ...] = ()
        self._held: frozenset[Key] = frozenset()
        self._held_at_list = 0
        # Without masquerade nft need not exist, but a table that we left earlier is ours to remove.
        self._uses_nft = settings.masquerade or nftables.available()

    def turn(self, snapshot: Snapshot) -> Turn:
        """Brings the host to what the snapshot asks for; what it cannot do is in the result.

        Raises:
            NodeIPAMError: the host could not be read, so nothing was changed in this pass.
        """
        assert snapshot.lists > 0, "nothing may be removed before the first complete list"
        self.entries.turn_begins()
        try:
            return self._turn(snapshot)
        finally:
            self.entries.turn_ends(self._host.indexes(self.devices))

    def _turn(self, snapshot: Snapshot) -> Turn:
        outcome = Outcome()
        messages = self._host.messages
        refused: list[tuple[HostChange, NodeIPAMError]] = []
        for _ in range(_MOST_PASSES):
            answer, state, findings = self.wish(snapshot)
            plan = diff(state.objects, self._all_observed())
            guard = guarded(
                plan,
                owned=sum(len(self._observed[kind]) for kind in OF_PEERS),
                plausible=snapshot.plausible and snapshot.whole,
                confirmed=self._held if snapshot.lists > self._held_at_list else frozenset(),
                wanted_routes=state.kinds[Kind.ROUTE],
            )
            self._remember_held(guard.held, snapshot.lists)
            run, withdrawals = withdrawals_apart(guard.run)
            step = self._host.apply(run)
            refused += step.failed
            self._absorb(step)
            outcome.done += step.done
            outcome.failed = step.failed
            # A setting or device that we changed may have made more possible: the CNI file waits for forwarding.
            # And what a predecessor left may go once ours is in place.
            again = raced(step) or self._lacking.learn(step.failed)
            settled = not again and not any(change.key.kind in SHAPES_FACTS for change in step.done)
            if settled and not (self._adoption.unfinished and step.done):
                break
        if withdrawals:
            step = self._host.apply(withdrawals)
            self._absorb(step)
            outcome.done += step.done
            outcome.failed += step.failed
            refused += step.failed
        return Turn(
            snapshot=snapshot,
            desired=answer,
            outcome=outcome,
            held=guard.held,
            findings=(
                *findings,
                *self._adoption.findings,
                *verdict.out_of_reach(outcome.failed, answer.state),
            ),
            retry=bool(self._unread) or any(isinstance(e, Transient | NotFound) for _, e in outcome.failed),
            present={kind: len(objects) for kind, objects in self._observed.items()},
            foreign=len(self._foreign[Kind.ROUTE]),
            refused=tuple(refused),
            messages=self._host.messages - messages,
            unread=next(iter(self._unread.values()), ""),
        )

    def wish(self, snapshot: Snapshot) -> tuple[Desired, HostState, tuple[Finding, ...]]:
        """What the host should have, with everything read again that is doubtful; changes nothing.

        Raises:
            NodeIPAMError: the host could not be read.
        """
        if self.dirty.facts:
            self.dirty.facts = False  # before reading: an event meanwhile must not be forgotten
            self.facts = self._host.facts(
                ours=self.devices,
                own_files=frozenset(owned_files(self._settings)),
                left=self._predecessor,
            )
        view = self.view(snapshot)
        answer = desired(view, self._backend, template=self._template, memo=self._memo)
        self._read(answer)
        state, foreign = self._adoption.look(
            self._others(),
            answer,
            view=view,
            present=self._observed,
            whole=snapshot.plausible and snapshot.whole,
        )
        state, conflicts = contested(state, foreign)
        for kind in _APART if self._unread else ():
            state = state.replaced(kind, self._observed[kind])
        for kind in answer.keep:
            # But for an address of ours that is a peer's gateway by now: the kernel routes to nobody through its own.
            gateways = state.kinds[Kind.NEIGHBOUR]
            kept = {key: obj for key, obj in self._observed[kind].items() if _gateway(key) not in gateways}
            state = state.replaced(kind, {**kept, **state.kinds[kind]})
        accepts = accepted(self.forward_chains, view)
        if accepts:
            chains = {chain.key: chain for chain in accepts}
            state = state.replaced(Kind.FORWARD, {**chains, **state.kinds[Kind.FORWARD]})
        findings = (
            *answer.findings,
            *snapshot.unread,
            *conflicts,
            *self._lacking.findings(),
            *dropping(accepts, snapshot.cluster_cidrs, problem=self._forward_problem),
            *unlisted(snapshot.own, self._settings, plausible=snapshot.plausible),
        )
        return answer, state, findings

    def view(self, snapshot: Snapshot) -> NodeView:
        """The snapshot with what is known of the host."""
        view = NodeView(
            settings=self._settings,
            own=snapshot.own,
            peers=snapshot.peers,
            facts=self.facts,
            cluster_cidrs=snapshot.cluster_cidrs,
            service_cidrs=snapshot.service_cidrs,
            api_server=snapshot.api_server,
            formerly=snapshot.formerly,
            pools_known=snapshot.pools_known,
        )
        return self._lacking.screened(view)

    def aftermath(self, snapshot: Snapshot, answer: Desired) -> tuple[HostChange, ...]:
        """What else will go once the host is as the answer says (--adopt); after a `wish`."""
        left = self._adoption.afterwards(self._others(), answer, view=self.view(snapshot))
        return tuple(left) if snapshot.plausible and snapshot.whole else ()

    @property
    def wanted(self) -> frozenset[PackedDestination]:
        """Destinations that we route: foreign routes to others are none of our business."""
        return self._wanted.destinations

    @property
    def forward_chains(self) -> tuple[ForwardAccept, ...]:
        """Chains of others that drop forwarded packets, or that have a jump of ours."""
        return tuple(obj for obj in self._observed[Kind.FORWARD].values() if isinstance(obj, ForwardAccept))

    def observed(self) -> HostState:
        """What of ours the host has, as far as we know."""
        return HostState.of_keyed(self._all_observed().items())

    def _read(self, answer: Desired) -> None:
        sysctls = tuple(s.name for s in answer.state.of_kind(Kind.SYSCTL) if isinstance(s, Sysctl))
        if sysctls != self._sysctls:
            self._sysctls = sysctls
            self.dirty.kinds.add(Kind.SYSCTL)
        self._wanted = _Wanted(answer.state)
        interest = Interest(
            devices=self.devices,
            table=self._settings.route_table,
            sysctls=sysctls,
            files=(*owned_files(self._settings), *self._adopted_files()),
            # A key is no leftover of another backend: the node would lose its identity by a change and its way back.
            key_files=(str(wireguard.key_file(self._settings)),) if in_use(self._settings) else (),
            nft_tables=self._nft_tables(),
            forward=self._uses_nft,
            addresses=frozenset(
                obj for obj in answer.state.of_kind(Kind.ADDRESS) if isinstance(obj, InterfaceAddress)
            ),
            left=self._predecessor,
            wanted=self.wanted if Kind.ROUTE in self.dirty.kinds else frozenset(),
        )
        unread: set[Kind] = set()
        for kind in Kind:
            if kind not in self.dirty.kinds:
                continue
            self.dirty.kinds.discard(kind)  # before reading, as above
            try:
                found, foreign = self._host.read(kind, interest)
            except NodeIPAMError as exc:
                if kind is Kind.FORWARD and isinstance(exc, Permanent):
                    self._forward_problem = str(
                        exc
                    )  # somebody else's firewall must not keep us from our routes
                elif kind in _APART:
                    self._unread[kind] = str(exc)
                    unread.add(kind)
                else:
                    raise
                continue
            self._unread.pop(kind, None)
            # Under the keys of what is wanted: thousands of them need not exist twice either.
            wanted = answer.state.kinds[kind]
            present = {key: settled(obj, found.pop(key)) for key, obj in wanted.items() if key in found}
            self._observed[kind] = {**present, **found}
            self._foreign[kind] = foreign
            if kind is Kind.FORWARD:
                self._forward_problem = ""
        self.dirty.kinds |= unread  # tried again in the next turn

    def _others(self) -> Iterator[HostObject]:
        return chain.from_iterable(self._foreign.values())

    def _nft_tables(self) -> tuple[tuple[str, str], ...]:
        if not self._uses_nft:
            return ()
        # What a predecessor's tables are there for is masquerade: without ours, nothing takes their place.
        theirs = self._predecessor.nft_tables if self._predecessor and self._settings.masquerade else ()
        return ((TABLE_FAMILY, TABLE), *theirs)

    def _adopted_files(self) -> tuple[str, ...]:
        left = self._predecessor
        return tuple(str(self._settings.cni_conf_dir / name) for name in left.conflists) if left else ()

    def _all_observed(self) -> dict[Key, HostObject]:
        everything: dict[Key, HostObject] = {}
        for kind in Kind:
            everything |= self._observed[kind]
        return self._adoption.leftovers | everything

    def _absorb(self, step: Outcome) -> None:
        if self._adoption.unfinished and step.done:
            self.dirty.kinds |= {Kind.LINK, Kind.ROUTE, Kind.POLICY_RULE}
        for change in step.done:
            if change.after is None:
                self._observed[change.key.kind].pop(change.key, None)
            else:
                self._observed[change.key.kind][change.key] = change.after
            if change.key.kind in SHAPES_FACTS:
                self.dirty.facts = True
            if change.key.kind is Kind.ADDRESS and change.after is None:
                self.dirty.kinds.add(Kind.ROUTE)  # the last of a family takes routes along, without a word
            if change.key.kind is Kind.LINK:
                self.dirty.everything()  # a new device starts empty; a lost one took its entries along
        self.dirty.kinds |= {change.key.kind for change, _ in step.failed}
        self._adoption.absorb(step)
        if outdated(step):
            self.dirty.everything()

    def _remember_held(self, held: HostPlan, lists: int) -> None:
        keys = frozenset(change.key for change in held.changes)
        if not keys:
            self._held = frozenset()
        elif keys != self._held:
            self._held, self._held_at_list = keys, lists


def planned(reconciler: Reconciler, snapshot: Snapshot) -> tuple[HostPlan, tuple[Finding, ...]]:
    """What a turn would change, without changing anything (`agent --plan`)."""
    answer, state, findings = reconciler.wish(snapshot)
    plan: HostPlan = diff(state.objects, reconciler.observed().objects)
    at_once = {change.key for change in plan.changes}
    later = (change for change in reconciler.aftermath(snapshot, answer) if change.key not in at_once)
    return Plan(changes=(*plan.changes, *later)), findings


def _gateway(key: Key) -> Key | None:
    """The neighbour that stands in the way of an address of ours, or the other way round."""
    if key.kind is not Kind.ADDRESS:
        return None
    assert isinstance(key.name, tuple)
    return Key(Kind.NEIGHBOUR, key.scope, key.name[0])

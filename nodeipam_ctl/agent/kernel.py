"""What did the kernel just change, and which part of what we know does it touch? Events of rtnetlink, nftables and directories, sorted into `Dirty`."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

from nodeipam_ctl.agent.reconcile import Reconciler, Turn
from nodeipam_ctl.linux import links, rtnl, xtables
from nodeipam_ctl.linux.forwarding import OUR_CHAIN
from nodeipam_ctl.linux.inotify import DirectoryWatch
from nodeipam_ctl.linux.netlink import NETFILTER, Message, Monitor, attributes
from nodeipam_ctl.routing.masquerade import TABLE
from nodeipam_ctl.routing.state import Kind
from nodeipam_ctl.settings import ROUTE_PROTOCOL

log = structlog.get_logger(__name__)

_LINK, _NEIGHBOUR, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 1, 3, 5, 7, 9, 11
_IPV4_SETTINGS, _IPV6_SETTINGS = 24, 25
_NFT_GROUP, _NFT_TABLE_NAME = 7, 1
_OUR_TABLE = TABLE.encode() + b"\0"
_LEGACY_LOOK_S = 1.0
_INDEX = struct.Struct("=xxxxi")  # at the same place in the headers of links, addresses and neighbours
_ON_DEVICE = (
    Kind.LINK,
    Kind.ADDRESS,
    Kind.NEIGHBOUR,
    Kind.FDB,
    Kind.PEER,
    Kind.ALLOWED_IP,
    Kind.ROUTE,
)


def monitor(*, neighbours: bool) -> Monitor:
    """A monitor of what can disturb us; neighbours only for backends that keep some: ARP makes many events."""
    groups = [_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE, _IPV4_SETTINGS, _IPV6_SETTINGS]
    return Monitor([*groups, _NEIGHBOUR] if neighbours else groups)


def nft_monitor() -> Monitor:
    """A monitor of changes to nftables, whoever makes them."""
    return Monitor([_NFT_GROUP], protocol=NETFILTER)


def mark_nft(reconciler: Reconciler, messages: Iterable[Message]) -> bool:
    """Marks our table, or others' forward chains, as doubtful when one of the events is about them; whether one was.

    Every message about a table, chain, set, element or rule carries the table's name as its first attribute. Others change
    their rules all day (kube-proxy): only base chains and the rules of chains that have, or need, our jump matter.
    """
    watched = {OUR_CHAIN.encode() + b"\0", *(c.chain.encode() + b"\0" for c in reconciler.forward_chains)}
    touched = False
    for message in messages:
        found = attributes(message.body[4:])
        name = found.get(_NFT_TABLE_NAME)
        if name is not None and bytes(name) == _OUR_TABLE:
            reconciler.dirty.kinds.add(Kind.NFT_TABLE)
            touched = True
            continue
        match message.type & 0xFF:
            case 3 | 5:  # a chain came, changed or went: its name, and its hook when it has one
                matters = 4 in found or bytes(found.get(3, b"")) in watched
            case 6 | 8:  # a rule: its chain
                matters = bytes(found.get(2, b"")) in watched
            case kind:
                matters = kind == 2 and bool(reconciler.forward_chains)  # a whole table went
        if matters:
            reconciler.dirty.kinds.add(Kind.FORWARD)
            touched = True
    return touched


def watches(directories: Iterable[Path]) -> Iterator[DirectoryWatch]:
    """Watches of directories; where the kernel allows no more of them, the audit finds what changed: not worth failing for."""
    for directory in directories:
        try:
            yield DirectoryWatch(directory)
        except OSError as exc:
            log.warning(
                "directory_not_heard",
                directory=str(directory),
                reason=exc.strerror,
                effect="changes of files are found at the next audit",
            )


class LegacyForward:
    """Looks after the forward chains of legacy iptables, of which there are no events.

    A look takes 0.07 ms of CPU, 4 ms where somebody has 5,000 rules in that table.
    """

    def __init__(self, reconciler: Reconciler, *, touched: Callable[[], None]) -> None:
        self._reconciler = reconciler
        self._touched = touched
        self._known: tuple[str, ...] | None = None

    async def run(self) -> None:
        """Marks the chains as doubtful whenever they are not as they were; for ever."""
        while True:
            found = xtables.fingerprint(OUR_CHAIN)
            if found != self._known:
                self._known = found  # before they are read, so that what changes meanwhile differs
                self._reconciler.dirty.kinds.add(Kind.FORWARD)
                self._touched()
            await asyncio.sleep(_LEGACY_LOOK_S)

    def turn(self, turn: Turn) -> None:
        """A turn is over. What is known is older than what it wrote, and whoever undoes that makes it look unchanged: forgotten."""
        if any(change.key.kind is Kind.FORWARD for change in turn.outcome.done):
            self._known = None


def mark_files(reconciler: Reconciler, names: Iterable[str], *, own: frozenset[str]) -> bool:
    """Marks our files, or what is known of others' beside them, as doubtful when one of the names is theirs; whether one was."""
    touched = False
    for name in names:
        if name in own:
            reconciler.dirty.kinds.add(Kind.FILE)
        elif not name.startswith("."):  # a file that is still being written, ours or somebody's
            reconciler.dirty.facts = True
        else:
            continue
        touched = True
    return touched


def mark(reconciler: Reconciler, messages: Iterable[Message], *, echo_port: int) -> bool:
    """Marks what the events make doubtful; whether anything was.

    A device that goes down takes its IPv4 routes along without a word about them, so an event of a device on which we
    stand makes everything on it doubtful, even if the device looks the same by now.
    """
    ours = _indexes(reconciler)
    dirty = reconciler.dirty
    touched = False
    for message in messages:
        if message.port == echo_port:
            continue
        match message.type:
            case rtnl.RTM_NEWROUTE | rtnl.RTM_DELROUTE:
                foreign = rtnl.route_protocol(message.body) != ROUTE_PROTOCOL
                if foreign and rtnl.route_destination(message.body) not in reconciler.wanted:
                    continue
                dirty.kinds.add(Kind.ROUTE)
            case links.RTM_NEWLINK | links.RTM_DELLINK | rtnl.RTM_NEWADDR | rtnl.RTM_DELADDR:
                dirty.facts = True
                if _INDEX.unpack_from(message.body)[0] in ours:
                    dirty.kinds.update(_ON_DEVICE)
            case rtnl.RTM_NEWNEIGH | rtnl.RTM_DELNEIGH:
                if not reconciler.entries.heard(message):
                    continue
            case 80:  # RTM_NEWNETCONF: forwarding and the like
                dirty.facts = True
                dirty.kinds.add(Kind.SYSCTL)
            case _:
                continue
        touched = True
    return touched


def _indexes(reconciler: Reconciler) -> frozenset[int]:
    """Devices we stand on: all with a subnet, since any may be the way to a peer, and our own."""
    return frozenset(
        link.index
        for link in reconciler.facts.links
        if link.ours or any(not subnet.is_link_local for subnet in link.subnets)
    )

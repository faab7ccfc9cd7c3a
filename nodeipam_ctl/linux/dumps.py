"""What of the kernel's tables concerns us? Addresses, entries, routes and policy rules, out of dumps of all there are."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from nodeipam_ctl.linux import policy_rules as rules
from nodeipam_ctl.linux import rtnl
from nodeipam_ctl.linux.netlink import KernelError, Socket
from nodeipam_ctl.routing.predecessors import Predecessor
from nodeipam_ctl.routing.state import (
    MAIN_TABLE,
    FdbEntry,
    HostObject,
    InterfaceAddress,
    Neighbour,
    PolicyRule,
    Route,
)
from nodeipam_ctl.settings import ROUTE_PROTOCOL

_Entry = TypeVar("_Entry", Neighbour, FdbEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """What of the host concerns us: our devices, our table, and the names of our files and settings.

    Attributes:
        forward: chains that drop forwarded packets matter.
        wanted: destinations of which foreign routes matter to us.
        addresses: on devices of a predecessor, the only ones that are ours.
        left: whose routes matter wherever they go, and whose devices and policy rules; None for nobody's.
    """

    devices: frozenset[str] = frozenset()
    table: int = MAIN_TABLE
    sysctls: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    key_files: tuple[str, ...] = ()
    nft_tables: tuple[tuple[str, str], ...] = ()
    forward: bool = False
    wanted: frozenset[rtnl.PackedDestination] = frozenset()
    addresses: frozenset[InterfaceAddress] = frozenset()
    left: Predecessor | None = None


def addresses(kernel: Socket, name_of: Mapping[int, str]) -> Iterator[InterfaceAddress]:
    """The addresses of some devices, but for link-local ones.

    Args:
        kernel: asked.
        name_of: the devices, by index.
    """
    if not name_of:
        return
    for message in kernel.dump(rtnl.RTM_GETADDR, rtnl.address_dump()):
        found = rtnl.decode_address(message.body)
        if found is not None and found[0] in name_of and not found[1].is_link_local:
            yield InterfaceAddress(dev=name_of[found[0]], address=found[1], prefix_length=found[2])


def neighbours(kernel: Socket, name_of: Mapping[int, str]) -> Iterator[Neighbour | None]:
    """The permanent neighbours of some devices; None for any other neighbour."""
    return _entries(kernel, name_of, socket.AF_UNSPEC, rtnl.decode_neighbour)


def fdb_entries(kernel: Socket, name_of: Mapping[int, str]) -> Iterator[FdbEntry | None]:
    """The permanent FDB entries of some devices; None for any other entry."""
    return _entries(kernel, name_of, rtnl.AF_BRIDGE, rtnl.decode_fdb)


def routes(
    kernel: Socket, name_of: Mapping[int, str], interest: Interest
) -> tuple[list[HostObject], tuple[Route, ...]]:
    """Our routes in our table and the main one, and those of others that concern us."""
    ours: list[HostObject] = []
    foreign: list[Route] = []
    adopted = interest.left.protocol if interest.left else None
    # Our sinks are in the main table, and a predecessor's routes, wherever ours to other nodes are.
    tables = dict.fromkeys((interest.table, MAIN_TABLE))
    for family, table in product((socket.AF_INET, socket.AF_INET6), tables):
        try:
            messages = kernel.dump(rtnl.RTM_GETROUTE, rtnl.route_dump(family, table))
            for message in messages:
                protocol = rtnl.route_protocol(message.body)
                mine = protocol == ROUTE_PROTOCOL
                wanted = table == interest.table and rtnl.route_destination(message.body) in interest.wanted
                if not (mine or protocol == adopted or wanted):
                    continue
                route = rtnl.decode_route(message.body, name_of)
                if route is not None:
                    (ours if mine else foreign).append(route)
        except KernelError as exc:
            if exc.code != errno.ENOENT:  # the table does not exist before its first route
                raise
    return ours, tuple(foreign)


def default_devices(kernel: Socket) -> frozenset[int]:
    """Indexes of the devices by which packets leave for anywhere: those of all default routes of the main table."""
    return frozenset(
        index
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in kernel.dump(rtnl.RTM_GETROUTE, rtnl.route_dump(family, MAIN_TABLE))
        if rtnl.route_destination(message.body) is None
        for index in rtnl.route_devices(message.body)
    )


def policy_rules(kernel: Socket, table: int) -> tuple[PolicyRule, ...]:
    """The rules by source alone that lead to a table."""
    found = (
        rules.decode_rule(message.body)
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in kernel.dump(rules.RTM_GETRULE, rules.rule_dump(family))
    )
    return tuple(rule for rule in found if rule is not None and rule.table == table)


def _entries(
    kernel: Socket,
    name_of: Mapping[int, str],
    family: int,
    decode: Callable[[memoryview, Mapping[int, str]], _Entry | None],
) -> Iterator[_Entry | None]:
    for index in name_of:
        for message in kernel.dump(rtnl.RTM_GETNEIGH, rtnl.neighbour_dump(family, index)):
            yield decode(message.body, name_of)

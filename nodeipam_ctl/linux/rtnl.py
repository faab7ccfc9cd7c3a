"""How does a host object look as an rtnetlink message, and back? Links, addresses, neighbours, FDB entries and routes (RFC 3549, rtnetlink(7)).

Encoding needs device indexes and decoding gives names, so both take a table of devices. Nothing here talks to the kernel.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import assert_never

from nodeipam_ctl.errors import NotFound
from nodeipam_ctl.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
    nested,
)
from nodeipam_ctl.plan import Op
from nodeipam_ctl.prefixes import Address, Network
from nodeipam_ctl.routing.state import FdbEntry, InterfaceAddress, Key, Kind, Neighbour, Route, RouteType
from nodeipam_ctl.routing.tunnels import Encap

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

ROUTE_HEADER = struct.Struct(
    "=BBBBBBBBI"
)  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ADDRESS_HEADER = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_NEXT_HOP = struct.Struct("=Hxxi")
_U16 = struct.Struct("=H")
_BE64 = struct.Struct("!Q")

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 9, 15
_RTA_VIA, _RTA_ENCAP_TYPE, _RTA_ENCAP = 18, 21, 22
_TUNNEL_ID, _TUNNEL_DST, _TUNNEL_SRC, _TUNNEL_TTL, _TUNNEL_TOS, _TUNNEL_FLAGS = 1, 2, 3, 4, 5, 6
_TUNNEL_CSUM = b"\0\1"
_ENCAP_IP, _ENCAP_IP6 = 2, 4
_RTNH_F_ONLINK = 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_ROUTE_TYPES = {RouteType.UNICAST: 1, RouteType.UNREACHABLE: 7}
_ROUTE_TYPE_NAMES = {number: kind for kind, number in _ROUTE_TYPES.items()}
_OTHER_TYPE_NAMES = {6: "blackhole", 8: "prohibit", 9: "throw"}
_MORE_OF_ROUTES = {7: "src", 8: "metrics", 9: "nexthops", 11: "realm", 30: "nexthop group"}
_MORE_OF_ENTRIES = {6: "port", 7: "vni", 8: "via"}

_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_IFA_F_TENTATIVE = 0x40
_NDA_DST, _NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
_NUD_PERMANENT = 0x80
_NTF_SELF = 0x02
AF_BRIDGE = 7

PackedDestination = tuple[int, bytes]
"""Prefix length and address of a route, as cheap to make from a message as from a network."""

_ADD = {Op.ADD: NLM_F_CREATE | NLM_F_EXCL, Op.REPLACE: NLM_F_CREATE | NLM_F_REPLACE, Op.REMOVE: 0}


def encode(
    op: Op, obj: Route | Neighbour | FdbEntry | InterfaceAddress, index_of: Mapping[str, int]
) -> Request:
    """The message that adds, replaces or removes an object.

    An add is exclusive: `ip route replace` would overwrite anybody's route of that destination and metric.

    Raises:
        NotFound: the object's device does not exist now.
    """
    match obj:
        case Route():
            return _encode_route(op, obj, index_of)
        case Neighbour():
            return _encode_neighbour(op, obj, index_of)
        case FdbEntry():
            return _encode_fdb(op, obj, index_of)
        case InterfaceAddress():
            return _encode_address(op, obj, index_of)
    assert_never(obj)


def route_dump(family: int, table: int) -> bytes:
    """Asks for the routes of one table."""
    return ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_TABLE, _U32.pack(table))


def neighbour_dump(family: int, index: int) -> bytes:
    """Asks for the neighbours (or, with AF_BRIDGE, the FDB) of one device; 0 asks for all devices."""
    chosen = attribute(NDA_IFINDEX, _U32.pack(index)) if index else b""
    return _NEIGHBOUR_HEADER.pack(family, 0, 0, 0, 0) + chosen


def address_dump() -> bytes:
    """Asks for every address."""
    return _ADDRESS_HEADER.pack(0, 0, 0, 0, 0)


def route_protocol(body: memoryview) -> int:
    """The protocol of a route message, without reading the rest."""
    return body[5]


def route_destination(body: memoryview) -> PackedDestination | None:
    """Prefix length and packed address of a route message; None for the default route. Cheap: foreign routes may be many."""
    place, end = 12, len(body)
    while place + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, place)
        if kind == _RTA_DST:
            return body[1], bytes(body[place + 4 : place + length])
        if length < 4:
            break
        place += (length + 3) & ~3
    return None


def route_devices(body: memoryview) -> Iterator[int]:
    """Indexes of the devices of a route message: one, or one for each next hop (struct rtnexthop)."""
    found = attributes(body[12:])
    if _RTA_OIF in found:
        yield _U32.unpack(found[_RTA_OIF])[0]
    hops = found.get(_RTA_MULTIPATH, memoryview(b""))
    while len(hops) >= _NEXT_HOP.size:
        length, index = _NEXT_HOP.unpack_from(hops)
        yield index
        hops = hops[max((length + 3) & ~3, _NEXT_HOP.size) :]


def packed_destination(network: Network) -> PackedDestination:
    """A network in the form of `route_destination`."""
    return network.prefixlen, network.network_address.packed


def decode_route(body: memoryview, name_of: Mapping[int, str]) -> Route | None:
    """A route, ours or not; None for those that never collide with ours (local, broadcast, multicast; by source or TOS)."""
    family, prefix_length, sources, tos, table, protocol, _, number, flags = ROUTE_HEADER.unpack_from(body)
    kind = _ROUTE_TYPE_NAMES.get(number)
    if sources or tos:
        return None
    if kind is None:
        # Blackhole, prohibit and throw do collide; they are shown as unreachable, which is what they amount to.
        if number not in _OTHER_TYPE_NAMES:
            return None
        kind = RouteType.UNREACHABLE
    found = attributes(body[12:])
    dst = found.get(_RTA_DST)
    if _RTA_TABLE in found:
        (table,) = _U32.unpack(found[_RTA_TABLE])
    return Route(
        dst=_network(bytes(dst), prefix_length) if dst is not None else _default(family),
        type=kind,
        via=_next_hop(found),
        dev=name_of.get(_U32.unpack(found[_RTA_OIF])[0], "")
        if kind is RouteType.UNICAST and _RTA_OIF in found
        else "",
        onlink=bool(flags & _RTNH_F_ONLINK),
        encap=_encap(found),
        metric=_U32.unpack(found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0,
        table=table,
        protocol=protocol,
        more=_more_of_route(number, found),
    )


def decode_neighbour(body: memoryview, name_of: Mapping[int, str]) -> Neighbour | None:
    """A permanent neighbour; None for one that the kernel learned or is looking for."""
    _, index, state, _, _ = _NEIGHBOUR_HEADER.unpack_from(body)
    found = attributes(body[12:])
    if not state & _NUD_PERMANENT or _NDA_DST not in found or index not in name_of:
        return None
    return Neighbour(
        dev=name_of[index], address=address(bytes(found[_NDA_DST])), mac=_mac(found.get(_NDA_LLADDR))
    )


def decode_fdb(body: memoryview, name_of: Mapping[int, str]) -> FdbEntry | None:
    """A permanent FDB entry with a destination, of a VXLAN device; None for any other."""
    _, index, state, _, _ = _NEIGHBOUR_HEADER.unpack_from(body)
    found = attributes(body[12:])
    if (
        not state & _NUD_PERMANENT
        or _NDA_DST not in found
        or _NDA_LLADDR not in found
        or index not in name_of
    ):
        return None
    return FdbEntry(
        dev=name_of[index],
        mac=_mac(found[_NDA_LLADDR]),
        dst=address(bytes(found[_NDA_DST])),
        # The kernel names what differs from the device's own.
        more=" ".join(word for number, word in _MORE_OF_ENTRIES.items() if number in found),
    )


def decode_address(body: memoryview) -> tuple[int, Address, int] | None:
    """Device index, address and prefix length; None for one that is still being checked for duplicates."""
    _, prefix_length, flags, _, index = _ADDRESS_HEADER.unpack_from(body)
    found = attributes(body[8:])
    mine = found.get(
        _IFA_LOCAL, found.get(_IFA_ADDRESS)
    )  # IFA_ADDRESS is the far end of a point-to-point link
    if mine is None or flags & _IFA_F_TENTATIVE:
        return None
    return index, address(bytes(mine)), prefix_length


def decode_entry(
    body: memoryview, name_of: Mapping[int, str]
) -> tuple[Kind, Key | None, Neighbour | FdbEntry | None]:
    """What a neighbour or FDB message is about: the key that an entry of ours would have, and the entry if it is one we would make.

    The key is None for a device that is not in `name_of`, or where nothing of ours could stand.
    """
    family, index, _, _, _ = _NEIGHBOUR_HEADER.unpack_from(body)
    kind = Kind.FDB if family == AF_BRIDGE else Kind.NEIGHBOUR
    if index not in name_of:
        return kind, None, None
    found = attributes(body[12:])
    if kind is Kind.FDB:
        if found.keys() == {_NDA_LLADDR}:
            return kind, None, None  # said again without the destination, by older kernels (6.1)
        mac = _mac(found.get(_NDA_LLADDR))
        return kind, Key(kind, name_of[index], mac) if mac else None, decode_fdb(body, name_of)
    dst = found.get(_NDA_DST)
    key = Key(kind, name_of[index], bytes(dst)) if dst is not None else None
    return kind, key, decode_neighbour(body, name_of)


def address(packed: bytes) -> Address:
    """An address from its bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _network(packed: bytes, prefix_length: int) -> Network:
    return (IPv4Network if len(packed) == 4 else IPv6Network)((packed, prefix_length))


def _default(family: int) -> Network:
    return _network(bytes(4) if family == socket.AF_INET else bytes(16), 0)


def _next_hop(found: Mapping[int, memoryview]) -> Address | None:
    if _RTA_GATEWAY in found:
        return address(bytes(found[_RTA_GATEWAY]))
    if _RTA_VIA in found:  # two bytes of family, then the address
        return address(bytes(found[_RTA_VIA][2:]))
    return None


def _encap(found: Mapping[int, memoryview]) -> Encap | None:
    if _RTA_ENCAP_TYPE not in found or _RTA_ENCAP not in found:
        return None
    if _U16.unpack(found[_RTA_ENCAP_TYPE])[0] not in (_ENCAP_IP, _ENCAP_IP6):
        return None
    tunnel = attributes(found[_RTA_ENCAP])
    (vni,) = _BE64.unpack(tunnel[_TUNNEL_ID])
    return Encap(vni=vni, dst=address(bytes(tunnel[_TUNNEL_DST])))


def _more_of_route(number: int, found: Mapping[int, memoryview]) -> str:
    """What a route has that ours never have: each of these sends packets another way or drops some."""
    words = [_OTHER_TYPE_NAMES[number]] if number in _OTHER_TYPE_NAMES else []
    words += [word for kind, word in _MORE_OF_ROUTES.items() if kind in found]
    if _RTA_ENCAP in found:
        tunnel = attributes(found[_RTA_ENCAP])
        for kind, word in ((_TUNNEL_SRC, "source"), (_TUNNEL_TTL, "ttl"), (_TUNNEL_TOS, "tos")):
            if any(tunnel.get(kind, b"")):
                words.append(word)
        # Both families number these alike; without its checksum IPv6 is dropped at the far end.
        if len(tunnel.get(_TUNNEL_DST, b"")) == 16 and not bytes(tunnel.get(_TUNNEL_FLAGS, b"\0\0"))[1] & 1:
            words.append("nocsum")
    return " ".join(words)


def _mac(packed: memoryview | None) -> str:
    return packed.hex(":") if packed is not None else ""


def _index(dev: str, index_of: Mapping[str, int]) -> int:
    if dev not in index_of:
        raise NotFound(
            f"device {dev} does not exist now; it is tried again when a device of that name appears"
        )
    return index_of[dev]


def _family(value: Network | Address) -> int:
    return socket.AF_INET if value.version == 4 else socket.AF_INET6


def _encode_route(op: Op, route: Route, index_of: Mapping[str, int]) -> Request:
    scope = _SCOPE_UNIVERSE
    if op is Op.REMOVE:
        scope = _SCOPE_NOWHERE
    elif route.type is RouteType.UNICAST and route.via is None:
        scope = _SCOPE_LINK
    parts = [
        ROUTE_HEADER.pack(
            _family(route.dst),
            route.dst.prefixlen,
            0,
            0,
            route.table if route.table < 256 else 0,
            route.protocol,  # also when removing: the kernel then refuses to remove anybody else's
            scope,
            # What somebody made of ours may be of another type (throw).
            0 if op is Op.REMOVE and route.more else _ROUTE_TYPES[route.type],
            _RTNH_F_ONLINK if route.onlink else 0,
        ),
        attribute(_RTA_DST, route.dst.network_address.packed),
        attribute(_RTA_PRIORITY, _U32.pack(route.metric)),
        attribute(_RTA_TABLE, _U32.pack(route.table)),
    ]
    if route.via is not None:
        if route.via.version == route.dst.version:
            parts.append(attribute(_RTA_GATEWAY, route.via.packed))
        else:
            parts.append(attribute(_RTA_VIA, _U16.pack(_family(route.via)) + route.via.packed))
    if route.dev:
        parts.append(attribute(_RTA_OIF, _U32.pack(_index(route.dev, index_of))))
    if route.encap is not None and op is not Op.REMOVE:
        kind = _ENCAP_IP if route.encap.dst.version == 4 else _ENCAP_IP6
        parts.append(attribute(_RTA_ENCAP_TYPE, _U16.pack(kind)))
        tunnel = [
            attribute(_TUNNEL_ID, _BE64.pack(route.encap.vni)),
            attribute(_TUNNEL_DST, route.encap.dst.packed),
        ]
        if route.encap.dst.version == 6:
            # Without its UDP checksum the far end drops the packet: IPv6 has no header checksum (RFC 8200, section 8.1).
            tunnel.append(attribute(_TUNNEL_FLAGS, _TUNNEL_CSUM))
        parts.append(nested(_RTA_ENCAP, *tunnel))
    return Request(RTM_DELROUTE if op is Op.REMOVE else RTM_NEWROUTE, _ADD[op], b"".join(parts))


def _encode_neighbour(op: Op, entry: Neighbour, index_of: Mapping[str, int]) -> Request:
    header = _NEIGHBOUR_HEADER.pack(_family(entry.address), _index(entry.dev, index_of), _NUD_PERMANENT, 0, 0)
    body = header + attribute(_NDA_DST, entry.address.packed) + attribute(_NDA_LLADDR, _packed_mac(entry.mac))
    # The kernel may have an entry of its own for the address (it asked and nobody answered): replacing is the add.
    flags = NLM_F_CREATE | NLM_F_REPLACE if op is not Op.REMOVE else 0
    return Request(RTM_DELNEIGH if op is Op.REMOVE else RTM_NEWNEIGH, flags, body)


def _encode_fdb(op: Op, entry: FdbEntry, index_of: Mapping[str, int]) -> Request:
    header = _NEIGHBOUR_HEADER.pack(AF_BRIDGE, _index(entry.dev, index_of), _NUD_PERMANENT, _NTF_SELF, 0)
    body = header + attribute(_NDA_LLADDR, _packed_mac(entry.mac))
    if (
        op is not Op.REMOVE or not entry.more
    ):  # else the kernel looks for our port and VNI with it, and finds nothing
        body += attribute(_NDA_DST, entry.dst.packed)
    flags = NLM_F_CREATE | NLM_F_REPLACE if op is not Op.REMOVE else 0
    return Request(RTM_DELNEIGH if op is Op.REMOVE else RTM_NEWNEIGH, flags, body)


def _encode_address(op: Op, entry: InterfaceAddress, index_of: Mapping[str, int]) -> Request:
    header = _ADDRESS_HEADER.pack(
        _family(entry.address), entry.prefix_length, _IFA_F_NODAD, 0, _index(entry.dev, index_of)
    )
    body = (
        header + attribute(_IFA_LOCAL, entry.address.packed) + attribute(_IFA_ADDRESS, entry.address.packed)
    )
    return Request(RTM_DELADDR if op is Op.REMOVE else RTM_NEWADDR, _ADD[op], body)


def _packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))

"""How does a policy rule (`ip rule`) look as an rtnetlink message, and back? As far as others' rules concern us: by source, to a table."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network, IPv6Network

from nodeipam_ctl.linux.netlink import Request, attribute, attributes
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.state import PolicyRule

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

_HEADER = struct.Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags
_U32 = struct.Struct("=I")
_TO_TABLE = 1
_INVERTED = 2
_SOURCE, _PRIORITY, _SUPPRESS, _TABLE, _PAD, _PROTOCOL = 2, 6, 14, 15, 18, 21
_PLAIN = {_SOURCE, _PRIORITY, _SUPPRESS, _TABLE, _PAD, _PROTOCOL}
"""Attributes of a rule about nothing but its source; any other makes it somebody's own affair."""
_NO_SUPPRESSION = 0xFFFFFFFF


def rule_dump(family: int) -> bytes:
    """Asks for the rules of one family."""
    return _HEADER.pack(family, 0, 0, 0, 0, 0, 0)


def decode_rule(body: memoryview) -> PolicyRule | None:
    """A rule by source alone that leads to a table; None for any other."""
    family, _, source_length, tos, table, action, flags = _HEADER.unpack_from(body)
    found = attributes(body[_HEADER.size :])
    if action != _TO_TABLE or flags & _INVERTED or tos or _SOURCE not in found or found.keys() - _PLAIN:
        return None
    if _SUPPRESS in found and _U32.unpack(found[_SUPPRESS])[0] != _NO_SUPPRESSION:
        return None
    packed = bytes(found[_SOURCE])
    source: Network = (IPv4Network if family == socket.AF_INET else IPv6Network)((packed, source_length))
    return PolicyRule(
        source=source,
        table=_U32.unpack(found[_TABLE])[0] if _TABLE in found else table,
        priority=_U32.unpack(found[_PRIORITY])[0] if _PRIORITY in found else 0,
    )


def removal(rule: PolicyRule) -> Request:
    """Removes a rule of that source, table and priority."""
    family = socket.AF_INET if rule.source.version == 4 else socket.AF_INET6
    table = rule.table if rule.table < 256 else 0
    return Request(
        RTM_DELRULE,
        0,
        _HEADER.pack(family, 0, rule.source.prefixlen, 0, table, _TO_TABLE, 0)
        + attribute(_SOURCE, rule.source.network_address.packed)
        + attribute(_PRIORITY, _U32.pack(rule.priority))
        + attribute(_TABLE, _U32.pack(rule.table)),
    )

"""How is an ipset seen and removed? Over nfnetlink (subsystem 6, linux/netfilter/ipset/ip_set.h): two messages, no program."""

from __future__ import annotations

import errno
import socket
import struct

from nodeipam_ctl.linux.netlink import NETFILTER, KernelError, Request, Socket, attribute

_DESTROY, _HEADER = 6 << 8 | 3, 6 << 8 | 12
_PROTOCOL, _SETNAME = 1, 2
_PROTOCOL_VERSION = b"\6"  # spoken by every kernel since 2.6.39
_NFGENMSG = struct.Struct("=BBH")


def exists(name: str) -> bool:
    """Whether the kernel has a set of this name in this network namespace; not where it knows no sets at all."""
    return _asked(_HEADER, name) is None


def destroy(name: str) -> bool:
    """Removes a set, whatever is in it; whether it is gone. What a rule still uses stays."""
    refused = _asked(_DESTROY, name)
    return refused is None or refused.code == errno.ENOENT


def _asked(command: int, name: str) -> KernelError | None:
    body = _NFGENMSG.pack(socket.AF_INET, 0, 0)
    body += attribute(_PROTOCOL, _PROTOCOL_VERSION) + attribute(_SETNAME, name.encode() + b"\0")
    try:
        with Socket(NETFILTER) as kernel:
            kernel.request(Request(command, 0, body))
    except KernelError as exc:
        return exc
    return None

"""An ipset as kube-router makes it, without the program."""

from __future__ import annotations

import struct

from nodeipam_ctl.linux.netlink import NETFILTER, NLM_F_CREATE, NLM_F_EXCL, Request, Socket, attribute, nested
from tests.linux.namespaces import Namespace


def make_set(host: Namespace, name: str, family: int) -> None:
    """One of type hash:net, empty (nfnetlink, subsystem 6, command 2)."""
    with host.entered(), Socket(NETFILTER) as kernel:
        body = struct.pack("=BBH", family, 0, 0) + b"".join(
            (
                attribute(1, b"\7"),
                attribute(2, name.encode() + b"\0"),
                attribute(3, b"hash:net\0"),
                attribute(4, b"\0"),
                attribute(5, bytes([family])),
                nested(7),
            )
        )
        kernel.request(Request(6 << 8 | 2, NLM_F_CREATE | NLM_F_EXCL, body))

"""How does a network device look as an rtnetlink message, and back? Creation, changes, removal, and what the kernel says of it."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    KernelError,
    Request,
    Socket,
    attribute,
    attributes,
    nested,
)
from nodeipam_ctl.linux.rtnl import address
from nodeipam_ctl.prefixes import Address
from nodeipam_ctl.routing.state import Link
from nodeipam_ctl.routing.tunnels import Vxlan

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19

_HEADER = struct.Struct("=BxHiII")  # family, type, index, flags, change
_U32 = struct.Struct("=I")
_U16 = struct.Struct("=H")
_BE16 = struct.Struct("!H")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 1, 3, 4, 18
_INFO_KIND, _INFO_DATA = 1, 2
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 3, 4, 7, 15
_VXLAN_LOCAL6, _VXLAN_EXTERNAL, _VXLAN_GPE = 17, 25, 27
_IPTUN_REMOTE = 3
_IFF_UP, _IFF_LOOPBACK, _IFF_LOWER_UP = 0x1, 0x8, 0x10000
_IP_IN_IP = ("ipip", "ip6tnl")
_ARPHRD_NONE = 0xFFFE
_EPERM = 1
_NO_DEVICE = 0x7FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as the kernel has it.

    Attributes:
        link: what a `Link` of ours would say of it; kind is empty for a physical device.
        carrier: it can send now.
    """

    index: int
    link: Link
    carrier: bool
    loopback: bool


def link_dump() -> bytes:
    """Asks for every device."""
    return _HEADER.pack(0, 0, 0, 0, 0)


def decode_link(body: memoryview) -> Device | None:
    """A device; None for a message without a name (bridge port details)."""
    _, hardware, index, flags, _ = _HEADER.unpack_from(body)
    found = attributes(body[16:])
    if _IFLA_IFNAME not in found or _IFLA_MTU not in found:
        return None
    info = attributes(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
    kind = _text(info[_INFO_KIND]) if _INFO_KIND in info else ""
    mac = found.get(_IFLA_ADDRESS)
    return Device(
        index=index,
        link=Link(
            name=_text(found[_IFLA_IFNAME]),
            kind=kind,
            mtu_bytes=_U32.unpack(found[_IFLA_MTU])[0],
            mac=mac.hex(":") if mac is not None and len(mac) == 6 and hardware != _ARPHRD_NONE else None,
            up=bool(flags & _IFF_UP),
            vxlan=_vxlan(attributes(info[_INFO_DATA])) if kind == "vxlan" and _INFO_DATA in info else None,
            far_end=_far_end(attributes(info[_INFO_DATA]))
            if kind in _IP_IN_IP and _INFO_DATA in info
            else None,
        ),
        carrier=bool(flags & _IFF_LOWER_UP),
        loopback=bool(flags & _IFF_LOOPBACK),
    )


def create(link: Link) -> Request:
    """Creates a device, up, with its MTU and MAC; without a lower device, so that it survives the NIC."""
    data = b""
    if link.vxlan is not None:
        data = _vxlan_data(link.vxlan)
    body = (
        _HEADER.pack(0, 0, 0, _IFF_UP if link.up else 0, _IFF_UP)
        + attribute(_IFLA_IFNAME, link.name.encode() + b"\0")
        + attribute(_IFLA_MTU, _U32.pack(link.mtu_bytes))
        + (attribute(_IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", ""))) if link.mac else b"")
        + nested(_IFLA_LINKINFO, attribute(_INFO_KIND, link.kind.encode()), nested(_INFO_DATA, data))
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def change(link: Link, index: int) -> Request:
    """Sets what can be set on a living device: MTU, MAC, up or down."""
    body = _HEADER.pack(0, 0, index, _IFF_UP if link.up else 0, _IFF_UP) + attribute(
        _IFLA_MTU, _U32.pack(link.mtu_bytes)
    )
    if link.mac:
        body += attribute(_IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
    return Request(RTM_NEWLINK, 0, body)


def delete(index: int) -> Request:
    """Removes a device, and with it whatever stands on it."""
    return Request(RTM_DELLINK, 0, _HEADER.pack(0, 0, index, 0, 0))


def require_privileges(without: str = "no route can be changed") -> None:
    """Asks the kernel itself, by removing a device that cannot exist: root may lack the capability, or have it elsewhere.

    Args:
        without: what is not possible otherwise, for the message.

    Raises:
        UsageError: we may not change this network namespace.
    """
    with Socket() as kernel:
        try:
            kernel.request(delete(_NO_DEVICE))
        except KernelError as exc:
            if exc.code == _EPERM:
                raise UsageError(
                    f"CAP_NET_ADMIN is missing in this network namespace, and without it {without}: "
                    "run as root, or in a Pod with hostNetwork and that capability"
                ) from exc


def explained(link: Link, error: KernelError) -> KernelError:
    """The kernel's refusal of a device, with what it means for this one; the error itself where it says enough."""
    port = link.vxlan.port if link.vxlan is not None else 0
    match error.code:
        case errno.EOPNOTSUPP if link.kind:
            text = f"this kernel makes no {link.kind} devices ({error}): load its module, or use another --backend"
        case errno.EADDRINUSE if port:
            text = (
                f"UDP port {port} is taken by another VXLAN device or a program ({error}): see `ip -d link show type vxlan` and "
                f"`ss -lunp sport = :{port}`; remove it, or choose another --vxlan-port on all nodes"
            )
        case errno.EEXIST if port and "VNI" in str(error):
            text = (
                f"another VXLAN device has this VNI and UDP port ({error}): see `ip -d link show type vxlan`; remove it, take over "
                "flannel's with --adopt flannel, or choose another --vxlan-vni on all nodes"
            )
        case _:
            return error
    return KernelError(error.code, text)


def must_recreate(before: Link, after: Link) -> bool:
    """Whether the kernel cannot turn one into the other."""
    if before.vxlan and after.vxlan:
        return not after.vxlan.served_by(before.vxlan)
    return before.kind != after.kind or before.vxlan != after.vxlan


def _text(value: memoryview) -> str:
    return bytes(value).rstrip(b"\0").decode(errors="replace")


def _far_end(data: dict[int, memoryview]) -> Address | None:
    remote = data.get(_IPTUN_REMOTE)
    found = address(bytes(remote)) if remote is not None else None
    return None if found is None or found.is_unspecified else found


def _vxlan(data: dict[int, memoryview]) -> Vxlan:
    external = _VXLAN_EXTERNAL in data and data[_VXLAN_EXTERNAL][0] == 1
    local = data.get(_VXLAN_LOCAL, data.get(_VXLAN_LOCAL6))
    found = address(bytes(local)) if local is not None else None
    return Vxlan(
        vni=None if external else _U32.unpack(data[_VXLAN_ID])[0],
        port=_BE16.unpack(data[_VXLAN_PORT])[0],
        local=None if found is None or found.is_unspecified else found,
        external=external,
        gpe=_VXLAN_GPE in data,
        learning=_VXLAN_LEARNING in data and data[_VXLAN_LEARNING][0] == 1,
        lower_device=_U32.unpack(data[_VXLAN_LINK])[0] if _VXLAN_LINK in data else 0,
    )


def _vxlan_data(vxlan: Vxlan) -> bytes:
    parts = [
        attribute(_VXLAN_LEARNING, bytes([vxlan.learning])),
        attribute(_VXLAN_PORT, _BE16.pack(vxlan.port)),
    ]
    if vxlan.external:
        parts.append(attribute(_VXLAN_EXTERNAL, b"\1"))
    elif vxlan.vni is not None:
        parts.append(attribute(_VXLAN_ID, _U32.pack(vxlan.vni)))
    if vxlan.local is not None:
        kind = _VXLAN_LOCAL if vxlan.local.version == 4 else _VXLAN_LOCAL6
        parts.append(attribute(kind, vxlan.local.packed))
    if vxlan.gpe:
        parts.append(attribute(_VXLAN_GPE, b""))
    return b"".join(parts)

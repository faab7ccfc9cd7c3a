"""What do flanneld's Node annotations say, and what must ours say so that flanneld's nodes reach us?

flanneld's vxlan backend learns from annotations what we derive from the uid: VTEP MAC and underlay address. With --flannel-compat
both are read and written, so a cluster can be migrated node by node (flannel, pkg/subnet/kube and pkg/backend/vxlan).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from nodeipam_ctl.prefixes import Address, Family, family_of, parse_address
from nodeipam_ctl.routing.view import Peer

PREFIX = "flannel.alpha.coreos.com/"
UNREADABLE = "unreadable"
"""The backend of a peer whose annotations cannot be understood: it is skipped, not guessed at."""

BACKEND_DATA = {Family.IPV4: f"{PREFIX}backend-data", Family.IPV6: f"{PREFIX}backend-v6-data"}
"""Where a VTEP MAC is published, by family of the underlay."""

_PUBLIC = {Family.IPV4: "public-ip", Family.IPV6: "public-ipv6"}
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def read(peer: Peer, annotations: Mapping[str, str]) -> Peer:
    """The peer with what its flannel annotations add; unchanged when it has none."""
    backend = annotations.get(f"{PREFIX}backend-type")
    if backend is None:
        return peer
    if backend != "vxlan":
        return replace(peer, backend=backend)
    macs: list[tuple[Family, str]] = []
    addresses: list[Address] = []
    problems: list[str] = []
    for family in Family:
        text = annotations.get(BACKEND_DATA[family])
        if text is None:
            continue
        mac = _vtep_mac(text)
        if mac is None:
            problems.append(f"annotation {BACKEND_DATA[family]}: no usable VtepMAC in {text!r}")
            continue
        address = _public_address(annotations, family, problems)
        if address is None:
            address = next((known for known in peer.addresses if family_of(known) is family), None)
        if address is not None:
            macs.append((family, mac))
            addresses.append(address)
    if not macs and not problems:
        problems.append(f"annotation {BACKEND_DATA[Family.IPV4]} is missing")
    return replace(
        peer,
        backend="vxlan" if macs else UNREADABLE,
        vtep_macs=tuple(macs),
        tunnel_addresses=tuple(addresses),
        problems=(*peer.problems, *problems),
    )


def published(
    *,
    vni: int,
    tunnels: Mapping[Family, tuple[str, Address]],
    present: Mapping[str, str],
) -> dict[str, str]:
    """What our Node must carry for flanneld's peers.

    Args:
        vni: our VXLAN network identifier.
        tunnels: VTEP MAC and underlay address by underlay family.
        present: the Node's annotations; `public-ip-overwrite` among them is honoured, as flanneld does for itself.
    """
    wanted = {f"{PREFIX}kube-subnet-manager": "true", f"{PREFIX}backend-type": "vxlan"}
    for family, (mac, address) in tunnels.items():
        # No spaces, VNI first: flanneld splits this text at a restart instead of decoding it.
        wanted[BACKEND_DATA[family]] = f'{{"VNI":{vni},"VtepMAC":"{mac}"}}'
        public = _PUBLIC[family]
        wanted[PREFIX + public] = present.get(f"{PREFIX}{public}-overwrite") or str(address)
    return wanted


def _vtep_mac(text: str) -> str | None:
    """The MAC in backend data; None when there is none that a unicast frame can go to."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        return None
    mac = data.get("VtepMAC") if isinstance(data, dict) else None
    if not isinstance(mac, str) or not _MAC.fullmatch(mac.lower()):
        return None
    if int(mac[:2], 16) & 1 or set(mac) <= {"0", ":"}:
        return None
    return mac.lower()


def _public_address(annotations: Mapping[str, str], family: Family, problems: list[str]) -> Address | None:
    text = annotations.get(PREFIX + _PUBLIC[family])
    if text is None:
        return None
    try:
        address = parse_address(text)
    except ValueError as exc:
        problems.append(f"annotation {PREFIX}{_PUBLIC[family]}: {exc}")
        return None
    if family_of(address) is not family:
        problems.append(f"annotation {PREFIX}{_PUBLIC[family]}: {text} is not {family}")
        return None
    return address

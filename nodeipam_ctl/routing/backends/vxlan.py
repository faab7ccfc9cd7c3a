"""vxlan: across subnets, pods' packets travel in UDP (RFC 7348), on the wire as flanneld's vxlan backend sends them.

One device for each underlay family. Nothing is learned or asked: for each podCIDR of a peer there is a permanent neighbour (the
podCIDR's network address answers with the peer's VTEP MAC), a permanent FDB entry (that MAC lives behind the peer's underlay
address) and a route through that neighbour, on-link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

from nodeipam_ctl.model import NodeUID
from nodeipam_ctl.prefixes import Address, Family, Network, family_of
from nodeipam_ctl.routing.backends import (
    Backend,
    Toward,
    Vantage,
    direct_route,
    no_common_underlay,
    quiet_device,
    route_metric,
    tunnel_mtu_bytes,
    unroutable,
)
from nodeipam_ctl.routing.flannel import UNREADABLE
from nodeipam_ctl.routing.state import (
    FdbEntry,
    HostObject,
    InterfaceAddress,
    Link,
    Neighbour,
    Route,
)
from nodeipam_ctl.routing.tunnels import Vxlan
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

FLANNEL_PORT = 8472
OVERHEAD_BYTES = {Family.IPV4: 50, Family.IPV6: 70}
"""Outer Ethernet 14 (as inner), IP 20 or 40, UDP 8, VXLAN 8 (RFC 7348, section 5)."""


class VxlanBackend:
    """Classic VXLAN with static entries."""

    def own(self, vantage: Vantage) -> Toward:
        """One device for each underlay family that this node has, and our podCIDRs' network addresses on them."""
        own = vantage.view.own
        if own is None:
            return Toward()
        return Toward(objects=tuple(self._devices(own, vantage)))

    def toward(self, peer: Peer, cidr: Network, vantage: Vantage) -> Toward:
        """Neighbour, FDB entry and on-link route; or a plain route to a peer on our own subnet, with direct routing."""
        settings = vantage.settings
        if settings.direct_routing and (route := direct_route(peer, cidr, vantage)) is not None:
            return Toward(objects=(route,))
        if peer.backend not in ("", "vxlan"):
            return _of_another_kind(peer, cidr, vantage)
        found = vantage.underlay(cidr, peer)
        if found is None:
            return no_common_underlay(peer, cidr)
        family, address = found
        mac = dict(peer.vtep_macs).get(family) or vtep_mac(peer.uid, family)
        dev = device(settings, family)
        gateway = cidr.network_address
        return Toward(
            objects=(
                Neighbour(dev=dev, address=gateway, mac=mac),
                FdbEntry(dev=dev, mac=mac, dst=address),
                Route(
                    dst=cidr,
                    via=gateway,
                    dev=dev,
                    onlink=True,
                    metric=route_metric(settings, cidr),
                    table=settings.route_table,
                ),
            )
        )

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """What fits every tunnel of this node."""
        return tunnel_mtu_bytes(vantage, OVERHEAD_BYTES)

    def devices(self, settings: AgentSettings) -> frozenset[str]:
        """Both families' devices; flannel's only when we take its place."""
        plain = replace(settings, flannel_compat=False)
        return frozenset(device(known, family) for known in (settings, plain) for family in Family)

    def _devices(self, own: Peer, vantage: Vantage) -> Iterator[HostObject]:
        settings = vantage.settings
        for family, (mac, local) in tunnels(own, vantage).items():
            underlay = vantage.local[family]
            assert underlay is not None
            name = device(settings, family)
            yield Link(
                name=name,
                kind="vxlan",
                mtu_bytes=underlay[0].mtu_bytes - OVERHEAD_BYTES[family],
                mac=mac,
                vxlan=Vxlan(
                    vni=settings.vxlan_vni,
                    port=settings.vxlan_port or FLANNEL_PORT,
                    local=local,
                    may_stand_on=underlay[0].index if settings.flannel_compat else 0,
                ),
            )
            for cidr in own.pod_cidrs:
                carrier = family_of(cidr) if vantage.local[family_of(cidr)] is not None else family
                if carrier is family:
                    yield InterfaceAddress(
                        dev=name, address=cidr.network_address, prefix_length=cidr.max_prefixlen
                    )
            yield from quiet_device(name, vantage)


def device(settings: AgentSettings, family: Family) -> str:
    """The device for one underlay family; with flannel's name where it would fight flanneld's for the port."""
    name = "flannel" if settings.flannel_compat else "nictl"
    return f"{name}.{settings.vxlan_vni}" if family is Family.IPV4 else f"{name}-v6.{settings.vxlan_vni}"


def tunnels(own: Peer, vantage: Vantage) -> dict[Family, tuple[str, Address]]:
    """Our VTEP MAC and underlay address by underlay family; a MAC that we published earlier is kept."""
    return {
        family: (dict(own.vtep_macs).get(family) or vtep_mac(own.uid, family), found[1])
        for family, found in vantage.local.items()
        if found is not None
    }


def vtep_mac(uid: NodeUID, family: Family) -> str:
    """A node's VTEP MAC: the same on every node that knows its uid, so nobody has to publish it.

    Locally administered and unicast (IEEE 802-2014, section 8.4); 46 bits of a hash, so that 5,000 nodes collide with
    a probability below one in five million.
    """
    digest = sha256(f"nodeipam.dev/vtep/{family}/{uid}".encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":")


def _of_another_kind(peer: Peer, cidr: Network, vantage: Vantage) -> Toward:
    """A peer that says it runs something else: reached directly or not at all."""
    route = direct_route(peer, cidr, vantage) if peer.backend != UNREADABLE else None
    if route is not None:
        return Toward(objects=(route,))
    why = (
        "its annotations cannot be read"
        if peer.backend == UNREADABLE
        else f"it runs flannel's {peer.backend} backend"
    )
    return unroutable(peer, cidr, why, "run vxlan on it, or correct its flannel annotations")


backend: Backend = VxlanBackend()

"""wireguard: pods' packets travel encrypted in UDP, each node with a key of its own (wireguard.com, "cryptokey routing").

One device for both families, inside and outside. For each podCIDR of a peer there is a route into the device, and the device
knows to which peer's key the podCIDR belongs: it encrypts to that key, and takes packets from the podCIDR only under it. A podCIDR
whose node has no key gets an unreachable route: a pod's packet never leaves this host in clear.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nodeipam_ctl.prefixes import Address, Family, Network, family_of
from nodeipam_ctl.routing.backends import (
    Backend,
    Toward,
    Vantage,
    no_common_underlay,
    quiet_device,
    route_metric,
    tunnel_mtu_bytes,
    unroutable,
)
from nodeipam_ctl.routing.peers import bare_claims, held, refusal
from nodeipam_ctl.routing.state import (
    AllowedIP,
    HostObject,
    InterfaceAddress,
    KeyFile,
    Link,
    Route,
    RouteType,
    WireguardPeer,
)
from nodeipam_ctl.routing.tunnels import Wireguard
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

DEVICE = "nictl-wg"
OVERHEAD_BYTES = {Family.IPV4: 60, Family.IPV6: 80}
"""IP 20 or 40, UDP 8, WireGuard's data message 32: header 16 and authentication tag 16."""


class WireguardBackend:
    """Cryptokey routing with keys from Node annotations."""

    def own(self, vantage: Vantage) -> Toward:
        """The key file, the device, and our podCIDRs' network addresses as sources of the host's own packets.

        Peers take packets from our podCIDRs only, so the host must not speak through the tunnel with its InternalIP.
        """
        own = vantage.view.own
        mtu_bytes = self.pod_mtu_bytes(vantage)
        if own is None or mtu_bytes is None:
            return Toward()
        settings = vantage.settings
        wireguard = Wireguard(port=settings.wireguard_port, public_key=vantage.view.facts.wireguard_key)
        objects: list[HostObject] = [
            KeyFile(path=str(key_file(settings))),
            Link(name=DEVICE, kind="wireguard", mtu_bytes=mtu_bytes, wireguard=wireguard),
        ]
        objects += [
            InterfaceAddress(dev=DEVICE, address=cidr.network_address, prefix_length=cidr.max_prefixlen)
            for cidr in own.pod_cidrs
        ]
        objects += quiet_device(DEVICE, vantage)
        if settings.backend != "wireguard":
            objects += _receiving(vantage)
        return Toward(objects=tuple(objects))

    def toward(self, peer: Peer, cidr: Network, vantage: Vantage) -> Toward:
        """The peer, the podCIDR as its own, and the route; an unreachable one while the peer cannot be encrypted to."""
        settings = vantage.settings
        tunnel = _tunnel(peer, cidr, vantage)
        if isinstance(tunnel, Toward):
            closed = Route(
                dst=cidr,
                type=RouteType.UNREACHABLE,
                metric=route_metric(settings, cidr),
                table=settings.route_table,
            )
            return Toward(objects=(closed,), findings=tunnel.findings)
        route = Route(dst=cidr, dev=DEVICE, metric=route_metric(settings, cidr), table=settings.route_table)
        return Toward(objects=(*tunnel, route))

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """What fits the tunnel over any underlay of this node."""
        return tunnel_mtu_bytes(vantage, OVERHEAD_BYTES)

    def devices(self, settings: AgentSettings) -> frozenset[str]:  # noqa: ARG002 - the contract's signature
        """The one device."""
        return frozenset({DEVICE})


def key_file(settings: AgentSettings) -> Path:
    """Where this node's private key is; removing the file makes the agent change to a new key."""
    return settings.state_dir / "wireguard.key"


def _tunnel(peer: Peer, cidr: Network, vantage: Vantage) -> tuple[WireguardPeer, AllowedIP] | Toward:
    if not peer.public_key:
        return unroutable(
            peer,
            cidr,
            "it publishes no WireGuard key that can be used",
            "run the agent on it with --backend wireguard or --also-accept wireguard",
        )
    address = _endpoint(peer, vantage)
    if address is None:
        return no_common_underlay(peer, cidr)
    settings = vantage.settings
    return (
        WireguardPeer(
            dev=DEVICE,
            public_key=peer.public_key,
            address=address,
            port=settings.wireguard_port,
            keepalive_s=settings.wireguard_keepalive_s,
        ),
        AllowedIP(dev=DEVICE, cidr=cidr, public_key=peer.public_key),
    )


def _endpoint(peer: Peer, vantage: Vantage) -> Address | None:
    """One address for all podCIDRs of a peer; IPv4 where both have it, so that both sides choose alike."""
    for family in Family:
        if vantage.local[family] is not None:
            for address in peer.tunnel_addresses or peer.addresses:
                if family_of(address) is family and vantage.is_host(address):
                    return address
    return None


def _receiving(vantage: Vantage) -> Iterator[HostObject]:
    """Peers without routes, where another backend sends: what arrives can be decrypted only with the sender's key known."""
    for peer, cidr, _ in held(bare_claims(vantage.view.peers))[0].values():
        if refusal(cidr, peer, vantage.view) is None:
            tunnel = _tunnel(peer, cidr, vantage)
            if not isinstance(tunnel, Toward):
                yield from tunnel


backend: Backend = WireguardBackend()

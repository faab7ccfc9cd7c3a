"""What makes a link or a route a tunnel? The details by which the kernel tells one from another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nodeipam_ctl.prefixes import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Encap:
    """Lightweight-tunnel encapsulation of a route (LWTUNNEL_ENCAP_IP, _IP6): the tunnel's id and its far end."""

    vni: int
    dst: Address

    def __str__(self) -> str:
        return f"encap ip{'6' if self.dst.version == 6 else ''} id {self.vni} dst {self.dst}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """What makes a link a VXLAN device.

    Attributes:
        vni: None for an `external` device, whose routes carry the id.
        local: underlay address; the device has no lower device, so that it survives the NIC.
        gpe: VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe): packets without an inner Ethernet header.
        learning: the device learns from what it receives; ours never do.
        lower_device: index of the NIC that the device dies with; ours have none.
        may_stand_on: index of the NIC with which one that was found may stay as it is: to make it anew would lose packets.
    """

    vni: int | None
    port: int
    local: Address | None
    external: bool = False
    gpe: bool = False
    learning: bool = False
    lower_device: int = 0
    may_stand_on: int = field(default=0, compare=False)

    def served_by(self, found: Vxlan) -> bool:
        """Whether a device that was found will do."""
        if found.lower_device and found.lower_device == self.may_stand_on:
            return replace(found, lower_device=0) == self
        return found == self

    def __str__(self) -> str:
        words = ["vxlan", "external" if self.external else f"id {self.vni}", f"dstport {self.port}"]
        if self.local:
            words.append(f"local {self.local}")
        if self.gpe:
            words.append("gpe")
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wireguard:
    """What makes a link a WireGuard device.

    Attributes:
        public_key: of the private key that the device has; empty where none is made yet, so any will do.
    """

    port: int
    public_key: str

    def __str__(self) -> str:
        return f"wireguard port {self.port} public key {self.public_key or '(of a key to be made)'}"

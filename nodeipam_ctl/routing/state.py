"""What is on a host, or should be: links, addresses, neighbours, FDB entries, WireGuard peers, routes and their rules, sysctls, nft tables, files.

Desired and observed share these types, so a plan is `plan.diff` of two mappings. Every object has a `key`, which says what
the kernel calls the same object, and a text form, which is what `--plan` prints. The order of the kinds is the order of
adding; removals run in reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nodeipam_ctl.plan import Change, Plan
from nodeipam_ctl.prefixes import Address, Network
from nodeipam_ctl.routing.tunnels import Encap, Vxlan, Wireguard
from nodeipam_ctl.settings import ROUTE_PROTOCOL

MAIN_TABLE = 254
SINK_METRIC = 4278198272
"""Worse than any metric of a connected route, so the sink never wins over the bridge or veth of a local pod."""


class Kind(StrEnum):
    """The kinds of host objects, in the order in which they are added: what is pointed at before what points at it."""

    KEY_FILE = "key file"
    LINK = "link"
    SYSCTL = "sysctl"
    ADDRESS = "address"
    FDB = "fdb"
    NEIGHBOUR = "neighbour"
    PEER = "peer"
    ALLOWED_IP = "allowed ip"
    ROUTE = "route"
    POLICY_RULE = "policy rule"
    NFT_TABLE = "nft table"
    FORWARD = "forward accept"
    FILE = "file"


OF_PEERS = (Kind.NEIGHBOUR, Kind.FDB, Kind.PEER, Kind.ALLOWED_IP, Kind.ROUTE)
"""The kinds of which there are some for every other node."""


class Key(NamedTuple):
    """What the kernel calls the same object: two objects with one key cannot both exist.

    Made of texts, numbers and packed addresses: there are thousands, and the standard library hashes its networks slowly.

    Attributes:
        scope: the device, table, directory or family the name is unique in.
    """

    kind: Kind
    scope: str | int
    name: object

    def apart(self, number: int) -> Key:
        """A key for a second object that somebody has put beside the one of this key (`append`): nobody wants it, so it goes."""
        return Key(
            self.kind, self.scope, (*(self.name if isinstance(self.name, tuple) else (self.name,)), number)
        )


class RouteType(StrEnum):
    """The route types we use (rtnetlink's RTN_*)."""

    UNICAST = "unicast"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route; ours carry rtnetlink protocol 112, which is the mark of ownership.

    Attributes:
        via: next hop; of the other family for IPv4 over IPv6 (RFC 5549).
        dev: output device by name; empty for an unreachable route.
        onlink: the next hop counts as on-link whatever the addresses say.
        more: words for what a route that was found has besides (`src`, `metrics`, ...); ours have nothing.
    """

    dst: Network
    type: RouteType = RouteType.UNICAST
    via: Address | None = None
    dev: str = ""
    onlink: bool = False
    encap: Encap | None = None
    metric: int = 0
    table: int = MAIN_TABLE
    protocol: int = ROUTE_PROTOCOL
    more: str = ""

    @property
    def key(self) -> Key:
        """Destination, metric and table: what `ip route replace` matches, whatever the protocol."""
        return Key(Kind.ROUTE, self.table, (self.dst.network_address.packed, self.dst.prefixlen, self.metric))

    def __str__(self) -> str:
        words = [str(self.dst)] if self.type is RouteType.UNICAST else [self.type.value, str(self.dst)]
        if self.encap:
            words.append(str(self.encap))
        if self.via:
            words += ["via", f"inet6 {self.via}" if self.via.version != self.dst.version else str(self.via)]
        if self.dev:
            words += ["dev", self.dev]
        words += ["proto", str(self.protocol), "metric", str(self.metric)]
        if self.table != MAIN_TABLE:
            words += ["table", str(self.table)]
        if self.onlink:
            words.append("onlink")
        if self.more:
            words.append(f"({self.more})")
        return "route " + " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """A rule that sends packets from some sources by another table (`ip rule`). We make none, and remove a predecessor's."""

    source: Network
    table: int
    priority: int

    @property
    def key(self) -> Key:
        """All of it: the kernel takes the first that matches what it is told to remove."""
        return Key(
            Kind.POLICY_RULE,
            self.table,
            (self.source.network_address.packed, self.source.prefixlen, self.priority),
        )

    def __str__(self) -> str:
        return f"policy rule {self.priority}: from {self.source} lookup {self.table}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network device of ours: its name is the mark of ownership.

    Attributes:
        mac: None when the device has none (GPE) or any will do.
        vxlan: None for a device that is not VXLAN.
        wireguard: None for a device that is not WireGuard, or whose userspace process does not answer.
        far_end: where a tunnel of IP in IP leads, when it leads to one address; ours are none.
    """

    name: str
    kind: str
    mtu_bytes: int
    mac: str | None = None
    up: bool = True
    vxlan: Vxlan | None = None
    wireguard: Wireguard | None = None
    far_end: Address | None = None

    @property
    def key(self) -> Key:
        """The device's name."""
        return Key(Kind.LINK, "", self.name)

    def __str__(self) -> str:
        mac = f" address {self.mac}" if self.mac else ""
        return f"link {self.name} {self.vxlan or self.wireguard or self.kind}{mac} mtu {self.mtu_bytes}{' up' if self.up else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceAddress:
    """An address on a device of ours."""

    dev: str
    address: Address
    prefix_length: int

    @property
    def key(self) -> Key:
        """Address and prefix length on the device."""
        return Key(Kind.ADDRESS, self.dev, (self.address.packed, self.prefix_length))

    def __str__(self) -> str:
        return f"address {self.address}/{self.prefix_length} dev {self.dev}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A permanent neighbour entry on a device of ours: which MAC answers for an inner address."""

    dev: str
    address: Address
    mac: str

    @property
    def key(self) -> Key:
        """The inner address on the device."""
        return Key(Kind.NEIGHBOUR, self.dev, self.address.packed)

    def __str__(self) -> str:
        return f"neighbour {self.address} lladdr {self.mac} dev {self.dev} permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbEntry:
    """A permanent forwarding entry of a VXLAN device: behind which underlay address a MAC lives.

    Attributes:
        more: words for what an entry that was found has besides (`port`, `vni`, `via`); ours have nothing.
    """

    dev: str
    mac: str
    dst: Address
    more: str = ""

    @property
    def key(self) -> Key:
        """The MAC on the device: we keep one destination for each."""
        return Key(Kind.FDB, self.dev, self.mac)

    def __str__(self) -> str:
        return f"fdb {self.mac} dev {self.dev} dst {self.dst} self permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireguardPeer:
    """Another node on our WireGuard device: its key and where it is reached.

    Attributes:
        address: None for a peer of which the device knows no address.
        keepalive_s: how often an idle tunnel sends something, in seconds; 0 never.
        alive: it has proved its key lately, from the address that the device has.
    """

    dev: str
    public_key: str
    address: Address | None
    port: int
    keepalive_s: int = 0
    alive: bool = field(default=False, compare=False)

    @property
    def key(self) -> Key:
        """The public key on the device."""
        return Key(Kind.PEER, self.dev, self.public_key)

    @property
    def endpoint(self) -> str:
        """Address and port as `wg` writes them."""
        if self.address is None:
            return "(none)"
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"

    def __str__(self) -> str:
        keepalive = f" keepalive {self.keepalive_s}" if self.keepalive_s else ""
        return f"peer {self.public_key} dev {self.dev} endpoint {self.endpoint}{keepalive}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedIP:
    """Whose a network is on our WireGuard device: packets to it are encrypted to that peer, and only that peer may send from it."""

    dev: str
    cidr: Network
    public_key: str

    @property
    def key(self) -> Key:
        """The network on the device: it belongs to one peer at a time, and moves in place."""
        return Key(Kind.ALLOWED_IP, self.dev, (self.cidr.network_address.packed, self.cidr.prefixlen))

    def __str__(self) -> str:
        return f"allowed ip {self.cidr} dev {self.dev} peer {self.public_key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A private key made on this host; what it is stays in the file."""

    path: str
    mode: int = 0o600

    @property
    def key(self) -> Key:
        """The path."""
        return Key(Kind.KEY_FILE, "", self.path)

    def __str__(self) -> str:
        return f"key file {self.path} (mode {self.mode:o})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A kernel setting below /proc/sys; written when it differs, never put back."""

    name: str
    value: str

    @property
    def key(self) -> Key:
        """The path below /proc/sys."""
        return Key(Kind.SYSCTL, "", self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name.replace('/', '.')} = {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NftTable:
    """An nftables table of ours, replaced whole.

    Attributes:
        digest: of the text that was wanted; two tables are equal when it is.
        text: a table block for `nft -f`, or what `nft list table` printed.
    """

    family: str
    name: str
    digest: str
    text: str = field(compare=False)

    @property
    def key(self) -> Key:
        """Family and name."""
        return Key(Kind.NFT_TABLE, self.family, self.name)

    def __str__(self) -> str:
        return f"nft table {self.family} {self.name} ({self.text.count(chr(10))} lines)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardAccept:
    """What somebody else's forward chain accepts by a jump to a chain of ours, which is the mark of ownership.

    Attributes:
        tool: `nft`, or the legacy program that the chain was made with.
        cidrs: accepted as source and as destination; none when our chain is not as we left it.
        ours: our chain or the jump to it is there.
    """

    tool: str
    family: str
    table: str
    chain: str
    cidrs: tuple[Network, ...] = ()
    ours: bool = False

    @property
    def key(self) -> Key:
        """The foreign chain, and the program that shows it."""
        return Key(Kind.FORWARD, self.tool, (self.family, self.table, self.chain))

    def __str__(self) -> str:
        place = " ".join((self.tool, self.family, self.table, self.chain))
        return f"forward accept in {place} of {', '.join(map(str, self.cidrs)) or 'nothing'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """A file of ours: its path is the mark of ownership; mode as in chmod."""

    path: str
    text: str
    mode: int = 0o644

    @property
    def key(self) -> Key:
        """The path."""
        return Key(Kind.FILE, "", self.path)

    def __str__(self) -> str:
        return f"file {self.path} ({len(self.text)} bytes, mode {self.mode:o})"


HostObject = (
    KeyFile
    | Link
    | Sysctl
    | InterfaceAddress
    | Neighbour
    | FdbEntry
    | WireguardPeer
    | AllowedIP
    | Route
    | PolicyRule
    | NftTable
    | ForwardAccept
    | HostFile
)
HostPlan = Plan[Key, HostObject]
HostChange = Change[Key, HostObject]

"""What is on this host now, and how does a plan take effect? Observation and application over netlink, /proc/sys and files."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from itertools import groupby
from pathlib import Path

from nodeipam_ctl.errors import NodeIPAMError, Permanent
from nodeipam_ctl.linux import batch, dumps, files, forwarding, links, nftables, policy_rules, rtnl, wireguard
from nodeipam_ctl.linux.dumps import Interest
from nodeipam_ctl.linux.netlink import KernelError, Request, Socket
from nodeipam_ctl.plan import Op
from nodeipam_ctl.prefixes import Address, Network
from nodeipam_ctl.routing.desired import FORWARDING
from nodeipam_ctl.routing.predecessors import Predecessor
from nodeipam_ctl.routing.state import (
    ForwardAccept,
    HostChange,
    HostFile,
    HostObject,
    HostPlan,
    Key,
    KeyFile,
    Kind,
    Link,
    NftTable,
    PolicyRule,
    Sysctl,
)
from nodeipam_ctl.routing.view import HostFacts, UnderlayLink

_ETHERNET_MTU_BYTES = 1500


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a plan: changes that took effect, and those that did not with their reason."""

    done: list[HostChange] = field(default_factory=list)
    failed: list[tuple[HostChange, NodeIPAMError]] = field(default_factory=list)


class Host:
    """One network namespace, its /proc/sys and its files. Calls block for as long as the kernel takes; one thread at a time.

    Args:
        wireguard_key: where the private key is, on a host with a WireGuard device.

    Attributes:
        port: the netlink port of our writes: events with this number are our own echo.
    """

    def __init__(
        self,
        *,
        cni_conf_dir: Path,
        proc_sys_dir: Path = Path("/proc/sys"),
        wireguard_key: Path | None = None,
    ) -> None:
        self._socket = Socket()
        self._cni_conf_dir = cni_conf_dir
        self._proc_sys_dir = proc_sys_dir
        self._key = wireguard.HostKey(wireguard_key) if wireguard_key is not None else None
        self._devices: dict[str, links.Device] = {}
        self.port = self._socket.port

    @property
    def messages(self) -> int:
        """How many rtnetlink messages have been sent to the kernel."""
        return self._socket.sent

    def close(self) -> None:
        """Gives the socket back; nothing on the host changes."""
        self._socket.close()

    def facts(
        self, *, ours: frozenset[str], own_files: frozenset[str], left: Predecessor | None = None
    ) -> HostFacts:
        """Devices, addresses and settings as they are.

        Args:
            ours: names of our devices.
            own_files: our files.
            left: whose devices are no underlay either.

        Raises:
            KernelBusy: the kernel's tables never stood still.
            Permanent: there is no key in the WireGuard key file.
        """
        self._read_devices()
        theirs = {
            name for name, device in self._devices.items() if left is not None and left.owns(device.link)
        }
        held: dict[int, list[tuple[Address, int]]] = {}
        for message in self._socket.dump(rtnl.RTM_GETADDR, rtnl.address_dump()):
            found = rtnl.decode_address(message.body)
            if found is not None:
                held.setdefault(found[0], []).append(found[1:])
        links = tuple(
            UnderlayLink(
                name=name,
                index=device.index,
                mtu_bytes=device.link.mtu_bytes,
                up=device.link.up and device.carrier,
                addresses=tuple(address for address, _ in held.get(device.index, ())),
                subnets=_subnets(held.get(device.index, ())),
                ours=name in ours or name in theirs,
                left=name in theirs - ours,
            )
            for name, device in self._devices.items()
            if not device.loopback
        )
        return HostFacts(
            links=(*links, *self._everywhere(links, held)),
            forwarding=frozenset(
                family for family, name in FORWARDING.items() if self._value(name) not in ("", "0")
            ),
            foreign_conflists=tuple(
                name
                for name in files.names_in(self._cni_conf_dir)
                if name.endswith((".conf", ".conflist", ".json"))
                and str(self._cni_conf_dir / name) not in own_files
            ),
            strict_devices=self._strict_devices(),
            neighbour_limit=_number(self._value("net/ipv4/neigh/default/gc_thresh3")),
            accept_ra_devices=tuple(
                name
                for name, device in self._devices.items()
                if name not in ours
                and held.get(device.index)
                and not device.loopback
                and self._value(f"net/ipv6/conf/{name}/accept_ra") in ("1", "2")
            ),
            wireguard_key=self._key.public() if self._key is not None else "",
        )

    def _everywhere(
        self, links: tuple[UnderlayLink, ...], held: Mapping[int, Iterable[tuple[Address, int]]]
    ) -> Iterator[UnderlayLink]:
        """The loopback device where the host's own addresses stand on it (BGP without numbered links): as wide as its ways out."""
        for name, device in self._devices.items():
            addresses = tuple(
                a for a, _ in held.get(device.index, ()) if not (a.is_loopback or a.is_link_local)
            )
            if not (device.loopback and addresses):
                continue
            ways = dumps.default_devices(self._socket)
            widths = [link.mtu_bytes for link in links if link.index in ways and not link.ours]
            mtu_bytes = min(widths, default=_ETHERNET_MTU_BYTES)
            yield UnderlayLink(name=name, index=device.index, mtu_bytes=mtu_bytes, addresses=addresses)

    def _strict_devices(self) -> tuple[str, ...]:
        everywhere = self._value("net/ipv4/conf/all/rp_filter") == "1"
        return tuple(
            name
            for name, device in self._devices.items()
            if device.link.kind != "vxlan"
            and (
                (own := self._value(f"net/ipv4/conf/{name}/rp_filter")) in ("1", "2")
                or (everywhere and own == "0")
            )
        )

    def read(self, kind: Kind, interest: Interest) -> tuple[dict[Key, HostObject], tuple[HostObject, ...]]:
        """The objects of one kind that are ours, and those of others that concern us.

        Raises:
            NodeIPAMError: the kernel or a file cannot be read.
        """
        foreign: tuple[HostObject, ...] = ()
        found: Iterable[HostObject | None]
        match kind:
            case Kind.SYSCTL:
                found = (files.read_sysctl(self._proc_sys_dir, name) for name in interest.sysctls)
            case Kind.LINK:
                self._read_devices()
                found = (
                    wireguard.as_link(device)
                    for name, device in self._devices.items()
                    if name in interest.devices
                )
                foreign = tuple(
                    device.link
                    for name, device in self._devices.items()
                    if name not in interest.devices and interest.left and interest.left.owns(device.link)
                )
            case Kind.ADDRESS:
                theirs = frozenset(held.dev for held in interest.addresses) - interest.devices
                found = (
                    held
                    for held in dumps.addresses(self._socket, self.indexes(interest.devices | theirs))
                    if held.dev in interest.devices or held in interest.addresses
                )
            case Kind.NEIGHBOUR:
                found = dumps.neighbours(self._socket, self.indexes(interest.devices))
            case Kind.FDB:
                found = dumps.fdb_entries(self._socket, self.indexes(interest.devices))
            case Kind.PEER:
                found = (peer for name in self._wireguards(interest) for peer in wireguard.peers(name))
            case Kind.ALLOWED_IP:
                found = (ip for name in self._wireguards(interest) for ip in wireguard.allowed_ips(name))
            case Kind.KEY_FILE:
                found = (wireguard.read_key_file(Path(path)) for path in interest.key_files)
            case Kind.ROUTE:
                found, foreign = dumps.routes(self._socket, self._names(), interest)
            case Kind.POLICY_RULE:
                found = ()
                if interest.left and interest.left.policy_table is not None:
                    foreign = dumps.policy_rules(self._socket, interest.left.policy_table)
            case Kind.FILE:
                found = (files.read_file(Path(path)) for path in interest.files)
            case Kind.NFT_TABLE:
                found = (nftables.read_table(family, name) for family, name in interest.nft_tables)
            case Kind.FORWARD:
                found = forwarding.chains() if interest.forward else ()
        objects: dict[Key, HostObject] = {}
        for obj in found:
            if obj is not None:
                key = obj.key
                objects[key.apart(len(objects)) if key in objects else key] = obj
        return objects, foreign

    def apply(self, plan: HostPlan) -> Outcome:
        """Runs a plan in its order; routes, neighbours and FDB entries in batches, with a result for each.

        A file (the CNI configuration) is written only when everything before it took effect, sysctls included: a runtime
        starts pods as soon as it sees the file.
        """
        outcome = Outcome()
        for kind, group in groupby(plan.changes, key=lambda change: change.key.kind):
            changes = list(group)
            if kind in (Kind.ROUTE, Kind.NEIGHBOUR, Kind.FDB, Kind.ADDRESS):
                self._apply_batch(changes, outcome)
            elif kind in (Kind.PEER, Kind.ALLOWED_IP):
                try:
                    wireguard.apply(changes)
                    outcome.done += changes
                except NodeIPAMError as exc:
                    outcome.failed += [(change, exc) for change in changes]
            else:
                for change in changes:
                    self._apply_one(change, outcome)
        return outcome

    def _apply_one(self, change: HostChange, outcome: Outcome) -> None:
        try:
            match change.after or change.before:
                case Sysctl() as setting:
                    if change.op is not Op.REMOVE:
                        files.write_sysctl(self._proc_sys_dir, setting)
                case Link() as link:
                    try:
                        self._apply_link(change, link)
                    except KernelError as exc:
                        raise links.explained(link, exc) from exc
                case KeyFile() as key_file:
                    if change.op is Op.REMOVE:
                        files.remove_file(Path(key_file.path))
                    else:
                        wireguard.write_key_file(key_file)
                case HostFile() as file:
                    if change.op is Op.REMOVE:
                        files.remove_file(Path(file.path))
                    else:
                        _require_essentials(outcome, file)
                        files.write_file(file)
                case PolicyRule() as rule:
                    assert change.op is Op.REMOVE, "we make no policy rules"
                    try:
                        self._request([policy_rules.removal(rule)])
                    except KernelError as exc:
                        if exc.code != errno.ENOENT:  # somebody else was faster
                            raise
                case NftTable() as table:
                    if change.op is Op.REMOVE:
                        nftables.delete_table(table.family, table.name)
                    else:
                        nftables.replace_table(table)
                case ForwardAccept() as chain:
                    if change.op is Op.REMOVE:
                        forwarding.withdraw(chain)
                    else:
                        forwarding.accept(chain)
                case _:
                    raise AssertionError(change)
            outcome.done.append(change)
        except NodeIPAMError as exc:
            outcome.failed.append((change, exc))

    def _apply_link(self, change: HostChange, link: Link) -> None:
        present = self._devices.get(link.name)
        if change.op is Op.REMOVE:
            if present is not None:
                self._request([links.delete(present.index)])
        elif link.wireguard is not None:
            self._apply_wireguard(link, link.wireguard.port)
        elif present is None:
            self._request([links.create(link)])
        elif links.must_recreate(present.link, link):
            self._request([links.delete(present.index), links.create(link)])
        else:
            self._request([links.change(link, present.index)])
        self._read_devices()

    def _apply_wireguard(self, link: Link, port: int) -> None:
        """A device of the kernel's, or a process where the kernel has none; its key, port and size."""
        assert self._key is not None, "a WireGuard device is only wanted with a key file"
        present = self._devices.get(link.name)
        if present is None or wireguard.as_link(present).wireguard is None:
            self._make_wireguard(link, present)
        wireguard.configure(link.name, self._key.path, port)
        self._read_devices()
        # After the process: it gives its device a size of its own.
        self._request([links.change(link, self._devices[link.name].index)])

    def _make_wireguard(self, link: Link, present: links.Device | None) -> None:
        if present is not None and (present.link.kind != "tun" or present.carrier):
            # Not what a dead process leaves: another kind of device, or a process that does not answer and ends without it.
            self._request([links.delete(present.index)])
            present = None
        if present is None:
            try:
                return self._request([links.create(replace(link, up=False))])
            except KernelError as exc:
                if exc.code != errno.EOPNOTSUPP:
                    raise
        return wireguard.start_userspace(link.name)

    def _wireguards(self, interest: Interest) -> list[str]:
        return [
            name
            for name, device in self._devices.items()
            if name in interest.devices and device.link.kind in ("wireguard", "tun")
        ]

    def _request(self, requests: list[Request]) -> None:
        for request in requests:
            self._socket.request(request)

    def _apply_batch(self, changes: list[HostChange], outcome: Outcome) -> None:
        index_of = {name: device.index for name, device in self._devices.items()}
        for change, error in batch.send(self._socket, changes, index_of):
            if error is None:
                outcome.done.append(change)
            else:
                outcome.failed.append((change, error))

    def _read_devices(self) -> None:
        found = (links.decode_link(m.body) for m in self._socket.dump(links.RTM_GETLINK, links.link_dump()))
        self._devices = {device.link.name: device for device in found if device is not None}

    def _value(self, sysctl: str) -> str:
        found = files.read_sysctl(self._proc_sys_dir, sysctl)
        return found.value if found else ""

    def indexes(self, devices: frozenset[str]) -> dict[int, str]:
        """Those of the devices that exist, by index, as they were read last."""
        return {device.index: name for name, device in self._devices.items() if name in devices}

    def _names(self) -> dict[int, str]:
        return {device.index: name for name, device in self._devices.items()}


def _require_essentials(outcome: Outcome, file: HostFile) -> None:
    for change, error in outcome.failed:
        if change.key.kind in (Kind.KEY_FILE, Kind.SYSCTL, Kind.LINK, Kind.ADDRESS, Kind.NFT_TABLE):
            raise Permanent(f"file {file.path}: not written, because {change.key.kind} failed: {error}")


def _subnets(held: Iterable[tuple[Address, int]]) -> tuple[Network, ...]:
    """The subnets that addresses make on-link; a /32 or /128 makes none."""
    return tuple(
        ip_network((address.packed, length), strict=False)
        for address, length in held
        if length < address.max_prefixlen
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None

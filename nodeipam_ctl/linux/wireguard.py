"""What does a WireGuard device know, and how does it learn? Through `wg`, for the kernel's devices and wireguard-go's alike.

The private key stays between its file and `wg`, which makes it, derives the public key from it and hands it to the device: it is
never in this process, in a command line or in a log (docs/adr/0020).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import IO

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import programs
from nodeipam_ctl.linux.links import Device
from nodeipam_ctl.plan import Op
from nodeipam_ctl.prefixes import Address
from nodeipam_ctl.routing.state import AllowedIP, HostChange, KeyFile, Kind, Link, WireguardPeer
from nodeipam_ctl.routing.tunnels import Wireguard

_ALIVE_S = 180.0
"""After so long without a handshake a session is over (REJECT_AFTER_TIME of the WireGuard paper, section 6)."""

_PEERS_A_CALL = 500
_TUN = Path("/dev/net/tun")
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFREQ = struct.Struct("16sH22x")


class HostKey:
    """This host's key: derived from its file, again only when the file is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._public = ""

    def public(self) -> str:
        """The public key; empty when there is no file.

        Raises:
            Permanent: there is one, but no key in it, or `wg` is missing.
        """
        try:
            with self.path.open("rb") as stream:
                found = os.fstat(stream.fileno())
                seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                if seen != self._seen:
                    self._public = _checked(_wg("pubkey", stdin=stream), f"file {self.path}").strip()
                    self._seen = seen
        except FileNotFoundError:
            self._seen, self._public = None, ""
        except OSError as exc:
            raise Permanent(
                f"file {self.path}: cannot be read: {exc.strerror}; check owner and mount"
            ) from exc
        return self._public


def read_key_file(path: Path) -> KeyFile | None:
    """A key file and who may read it; None when there is none."""
    try:
        return KeyFile(path=str(path), mode=path.stat().st_mode & 0o777)
    except OSError:
        return None


def write_key_file(file: KeyFile) -> None:
    """Makes a key that only we may read; of one that is there, only the mode is corrected.

    Raises:
        Permanent: the directory does not allow it, or `wg` is missing.
    """
    path = Path(file.path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            path.chmod(file.mode)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
        with os.fdopen(descriptor, "wb") as stream:
            _checked(_wg("genkey", stdout=stream), "wg genkey")
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as exc:
        raise Permanent(
            f"file {path}: cannot be written: {exc.strerror}; check the directory and the mount, or --state-dir"
        ) from exc
    finally:
        fresh.unlink(missing_ok=True)


def as_link(device: Device) -> Link:
    """A device as a link of ours: a tun device with wireguard-go behind it is as good as the kernel's own kind."""
    link = device.link
    # Without a carrier no process of this namespace is behind it, whoever may answer to its name.
    if link.kind != "wireguard" and not (link.kind == "tun" and (device.carrier or not link.up)):
        return link
    found = _details(link.name)
    return link if found is None else replace(link, kind="wireguard", wireguard=found)


def _details(device: str) -> Wireguard | None:
    """Port and public key of a device; None when it is none, or its process does not answer."""
    key = _wg("show", device, "public-key")
    port = _wg("show", device, "listen-port")
    if key.code or port.code:
        return None
    return Wireguard(port=int(port.stdout), public_key=key.stdout.strip())


def configure(device: str, key_file: Path, port: int) -> None:
    """Gives a device its key and port; sessions end if the key is another one, peers stay.

    Raises:
        Permanent: the device does not take them.
    """
    ended = _wg("set", device, "listen-port", str(port), "private-key", str(key_file))
    # It quotes a file in which there is no key, which may be a key all but for one character.
    _checked(replace(ended, stderr=ended.stderr.partition(": `")[0]), f"link {device}")


def start_userspace(device: str) -> None:
    """Starts wireguard-go, which outlives us, on a tun device that outlives wireguard-go.

    While no process is behind the device its routes stay and packets end in it, instead of following the default route in clear.

    Raises:
        Permanent: wireguard-go or /dev/net/tun is missing, or another process has the device.
    """
    missing = (
        f"link {device}: this kernel has no WireGuard and wireguard-go is not installed: "
        "load the kernel's module wireguard, install wireguard-go, or use another --backend"
    )
    if shutil.which("wireguard-go") is None:
        raise Permanent(missing)
    _make_tun(device)
    ended = programs.run(["wireguard-go", device], missing=missing)
    if ended.code:
        raise Permanent(f"link {device}: wireguard-go: {_without_banner(ended).complaint}")


def peers(device: str) -> Iterator[WireguardPeer]:
    """The peers of a device; none when it does not answer."""
    keepalives = dict(_table(device, "persistent-keepalive"))
    handshakes = dict(_table(device, "latest-handshakes"))
    now_s = time.time()
    for key, endpoint in _table(device, "endpoints"):
        address, port = _endpoint(endpoint)
        keepalive = keepalives.get(key, "off")
        handshake = handshakes.get(key, "0")
        yield WireguardPeer(
            dev=device,
            public_key=key,
            address=address,
            port=port,
            keepalive_s=int(keepalive) if keepalive.isdigit() else 0,
            alive=address is not None and handshake.isdigit() and now_s - int(handshake) < _ALIVE_S,
        )


def allowed_ips(device: str) -> Iterator[AllowedIP]:
    """Which network belongs to which peer of a device; nothing when it does not answer."""
    for key, networks in _allowed(device):
        for text in networks.split():
            if text != "(none)":
                yield AllowedIP(dev=device, cidr=ip_network(text), public_key=key)


def apply(changes: Sequence[HostChange]) -> None:
    """All changes of peers, or of whose the networks are, in few calls: they succeed or fail together.

    Raises:
        Permanent: the device does not take them.
    """
    key = changes[0].key
    if key.kind is Kind.PEER:
        _apply_peers(str(key.scope), changes)
    else:
        _apply_allowed_ips(str(key.scope), changes)


def _apply_peers(device: str, changes: Sequence[HostChange]) -> None:
    """Adds, changes and removes peers; whose the networks are stays as it is."""
    words = []
    for change in changes:
        peer = change.after or change.before
        assert isinstance(peer, WireguardPeer)
        rest = (
            ["remove"]
            if change.op is Op.REMOVE
            else ["endpoint", peer.endpoint, "persistent-keepalive", str(peer.keepalive_s)]
        )
        words.append(["peer", peer.public_key, *rest])
    _set(device, words)


def _apply_allowed_ips(device: str, changes: Sequence[HostChange]) -> None:
    """Gives networks to peers, takes them from others, and takes away; a network that moves is never nobody's.

    `wg` replaces a peer's whole list, so each peer that gains or loses something gets its new one.
    """
    # As texts: reading thousands of networks for one that changes would take a tenth of a second.
    lists = {key: {cidr for cidr in text.split() if cidr != "(none)"} for key, text in _allowed(device)}
    holder = {cidr: key for key, cidrs in lists.items() for cidr in cidrs}
    touched: dict[str, None] = {}  # in order: who gains comes before who only loses
    for change in changes:
        wanted = change.after
        gone = change.before
        if isinstance(wanted, AllowedIP):
            cidr = str(wanted.cidr)
            lists.setdefault(wanted.public_key, set()).add(cidr)
            touched[wanted.public_key] = None
            if holder.get(cidr, wanted.public_key) != wanted.public_key:
                lists[holder[cidr]].discard(cidr)  # the device takes it from there by itself
        elif isinstance(gone, AllowedIP) and holder.get(cidr := str(gone.cidr)) == gone.public_key:
            lists[gone.public_key].discard(cidr)
            touched[gone.public_key] = None
    _set(device, [["peer", key, "allowed-ips", ",".join(sorted(lists[key]))] for key in touched])


def _set(device: str, words: Iterable[list[str]]) -> None:
    peers_words = list(words)
    for start in range(0, len(peers_words), _PEERS_A_CALL):
        some = peers_words[start : start + _PEERS_A_CALL]
        ended = _wg("set", device, *(word for peer in some for word in peer))
        _checked(ended, f"link {device}")


def _make_tun(device: str) -> None:
    """A persistent tun device of that name; of one that is there, nothing changes."""
    try:
        descriptor = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(device.encode(), _IFF_TUN | _IFF_NO_PI))
            fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise Permanent(
            f"link {device}: this kernel has no WireGuard, and {_TUN} gives no tun device for wireguard-go: {exc.strerror}; "
            "load the kernel's module wireguard, or give the agent's Pod that device"
        ) from exc


def _table(device: str, column: str) -> list[tuple[str, str]]:
    """One line a peer: its key and a value."""
    ended = _wg("show", device, column)
    pairs = (line.partition("\t") for line in ended.stdout.splitlines())
    return [] if ended.code else [(key, value) for key, _, value in pairs if value]


def _allowed(device: str) -> list[tuple[str, str]]:
    return _table(device, "allowed-ips")


def _endpoint(text: str) -> tuple[Address | None, int]:
    host, _, port = text.rpartition(":")
    try:
        return ip_address(host.strip("[]")), int(port)
    except ValueError:
        return None, 0


def _checked(ended: programs.Ended, subject: str) -> str:
    if ended.code:
        raise Permanent(f"{subject}: wg: {ended.complaint}")
    return ended.stdout


def _wg(*arguments: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> programs.Ended:
    missing = "wg is not installed: install wireguard-tools, or use another --backend"
    return programs.run(["wg", *arguments], missing=missing, stdin=stdin, stdout=stdout)


def _without_banner(ended: programs.Ended) -> programs.Ended:
    """wireguard-go prints its errors to standard output, and to standard error a box of advice, on every Linux."""
    lines = (line.strip() for line in (*ended.stderr.splitlines(), *ended.stdout.splitlines()))
    return replace(ended, stderr="\n".join(line for line in lines if line[:1] not in ("┌", "│", "└")))

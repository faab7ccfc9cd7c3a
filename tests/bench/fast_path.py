"""What does the kernel do with a packet on its way from pod to pod? Its settings as lines, so that two hosts can be compared.

Throughput is a property of this state: equal lines, equal work for each packet. Left out is what costs nothing on the way: names,
numbers, MAC addresses, a route's protocol and metric, and what stands in tables without being the answer for this packet.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

from tests.bench.twins import TUNNELS, Pair, pod_address
from tests.linux.namespaces import Namespace

_MAC = re.compile(r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b")
_NAMES = re.compile("|".join(re.escape(name) for pair in TUNNELS.values() for name in pair))
_LINK_NUMBERS = (
    "ifindex",
    "link_index",
    "link_netnsid",
    "ifname",
    "address",
    "broadcast",
    "stats64",
    "stats",
)
_DEVICES = ("pod", "eth0")
_SYSCTLS = "sysctl -a --pattern '^net[.](ipv4|ipv6|core|netfilter|bridge)[.]' 2>/dev/null"
_SIOCETHTOOL, _ETHTOOL_GFEATURES, _WORDS = 0x8946, 0x3A, 4
_COUNTS = ("nf_conntrack_count",)


def lines(pair: Pair, number: int) -> set[str]:
    """The settings of a node that a packet to the other node's pod, or its answer, meets."""
    host = pair.hosts[number]
    tunnel = next(
        (name for name in TUNNELS.get(pair.backend, ()) if host.run("ip", "link", "show", name, check=False)),
        "",
    )
    found = {
        *_links(host, [*_DEVICES, *([tunnel] if tunnel else [])]),
        *_ways(host, number, tunnel),
        *_hooks(host),
        *(f"rule {line}" for line in host.run("ip", "rule").splitlines()),
        *(f"xfrm {line}" for line in host.run("ip", "xfrm", "policy").splitlines()),
        *_settings(host),
    }
    return {_NAMES.sub("TUNNEL", _MAC.sub("MAC", line)) for line in found}


def differences(ours: Pair, manual: Pair) -> list[str]:
    """What only one of two pairs has: `+` ours, `-` the one by hand."""
    mine, theirs = (
        {f"n{n} {line}" for n in pair.hosts for line in lines(pair, n)} for pair in (ours, manual)
    )
    return [
        *(f"+ {line}" for line in sorted(mine - theirs)),
        *(f"- {line}" for line in sorted(theirs - mine)),
    ]


def _links(host: Namespace, names: list[str]) -> Iterator[str]:
    for link in host.ip("link"):
        name = link["ifname"]
        if name in names:
            kept = {key: value for key, value in link.items() if key not in _LINK_NUMBERS}
            yield from (f"link {name} {path} {value}" for path, value in _leaves(kept))
            yield f"offloads {name} {_offloads(host, name)}"
    for queue in json.loads(host.run("tc", "-j", "qdisc")):
        if queue["dev"] in names:
            yield f"qdisc {queue['dev']} {queue['kind']}"


def _offloads(host: Namespace, name: str) -> str:
    """A device's active features as the words of the kernel's bit mask (linux/ethtool.h, struct ethtool_gfeatures)."""
    answer = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_GFEATURES, _WORDS) + bytes(16 * _WORDS))
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        fcntl.ioctl(kernel, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(answer)))
    _, words = struct.unpack_from("II", answer)
    active = [struct.unpack_from("IIII", answer, 8 + 16 * n)[2] for n in range(words)]
    return " ".join(f"{word:08x}" for word in active)


def _ways(host: Namespace, number: int, tunnel: str) -> Iterator[str]:
    """The kernel's own answer for this packet, there and back, and the neighbour and FDB entry that it leads to."""
    own, other = pod_address(number), pod_address(3 - number)
    for source, target, device in ((own, other, "pod"), (other, own, tunnel or "eth0")):
        (way,) = host.ip("route", "get", target, "from", source, "iif", device)
        yield f"way {json.dumps({key: way[key] for key in sorted(way) if key != 'cache'})}"
        for entry in host.ip("neighbour", "show", way.get("gateway", target)):
            yield f"neighbour {entry['dst']} {entry['dev']} {'PERMANENT' in entry['state']}"
    if tunnel:
        text = host.run("bridge", "-j", "fdb", "show", "dev", tunnel)
        for entry in json.loads(text or "[]"):
            yield f"fdb {entry['mac']} {entry.get('dst')} {sorted(entry['flags'])} {entry['state']}"


def _hooks(host: Namespace) -> Iterator[str]:
    """Chains that see every packet, with each rule; of those that see a connection's first packet only, the hook."""
    ruleset: list[dict[str, Any]] = json.loads(host.run("nft", "-j", "list", "ruleset"))["nftables"]
    every = set()
    for chain in (item["chain"] for item in ruleset if "chain" in item):
        if chain.get("type") == "nat":
            yield f"hook nat {chain['hook']}, first packets only"
        elif "type" in chain:
            every.add((chain["family"], chain["table"]))
            yield f"hook {chain['type']} {chain['hook']} {chain['prio']} policy {chain['policy']}"
    for rule in (item["rule"] for item in ruleset if "rule" in item):
        if (rule["family"], rule["table"]) in every:
            yield f"rule of {rule['table']} {rule['chain']}: {json.dumps(rule['expr'])}"
    for item in ruleset:
        if "flowtable" in item:
            yield f"flowtable {item['flowtable']['name']}"


def _settings(host: Namespace) -> Iterator[str]:
    """All of the namespace; of an address that the kernel drew at random, nothing."""
    for line in host.sh(_SYSCTLS).splitlines():
        if not any(word in line for word in (*_COUNTS, "stable_secret")):
            yield line.replace("/", ".")


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}".strip("."))
    else:
        yield path, value

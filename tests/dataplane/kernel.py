"""What is on a host, by the words of iproute2 and nft and nobody else's? And what happened there meanwhile?"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.agent.cluster import Agent, until
from tests.linux.namespaces import Namespace

_PARTS = {
    "link": "ip -j -d link",
    "address": "ip -j address",
    "route": "ip -j -d route show table all proto 112",
    "route6": "ip -j -6 -d route show table all proto 112",
    "neighbour": "ip -j neighbour show nud permanent",
    "fdb": "bridge -j fdb",
}
_TEXTS = {
    "nft": "nft -s list table inet nodeipam || true",
    "sysctl": "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
}
_SCRIPT = "; echo '#'; ".join([*(f"{c} || true" for c in _PARTS.values()), *_TEXTS.values()])
_OUR_DEVICE = re.compile(r"(nictl|flannel)")
_MARKER = "203.0.113.77"


def state(host: Namespace, agent: Agent | None = None) -> dict[str, Any]:
    """Everything that an agent keeps on its host, without what the kernel numbers as it likes."""
    texts = host.run("sh", "-c", _SCRIPT + " 2>/dev/null", check=False).split("#\n")
    found = {name: json.loads(text or "[]") for name, text in zip(_PARTS, texts, strict=False)}
    kept: dict[str, Any] = {
        "link": sorted(_link(link) for link in found["link"] if _OUR_DEVICE.match(link["ifname"])),
        "address": sorted(
            f"{link['ifname']} {a['local']}/{a['prefixlen']}"
            for link in found["address"]
            if _OUR_DEVICE.match(link.get("ifname", ""))
            for a in link["addr_info"]
            if a["scope"] != "link"
        ),
        "route": sorted(_route(r) for r in found["route"]),
        "route6": sorted(_route(r) for r in found["route6"]),
        "neighbour": sorted(
            f"{n['dst']} {n.get('lladdr')} {n['dev']}"
            for n in found["neighbour"]
            if _OUR_DEVICE.match(n["dev"])
        ),
        "fdb": sorted(
            f"{e['mac']} {e['dst']} {e['ifname']} {e['state']}"
            for e in found["fdb"]
            if "dst" in e and _OUR_DEVICE.match(e["ifname"])
        ),
        **dict(zip(_TEXTS, texts[len(_PARTS) :], strict=True)),
    }
    if agent is not None:
        kept["conflist"] = agent.conflist.read_text() if agent.conflist.exists() else ""
    return kept


def back(host: Namespace, agent: Agent, wanted: dict[str, Any], what: str, *, timeout_s: float = 3.0) -> None:
    """Waits until a host is exactly as it was."""

    def differs() -> list[str]:
        now = state(host, agent)
        return [
            f"{part}: {now[part]!r}, not {wanted[part]!r}" for part in wanted if now[part] != wanted[part]
        ]

    try:
        until(lambda: not differs(), what, timeout_s=timeout_s)
    except AssertionError as exc:
        raise AssertionError(f"{exc}; {differs()}") from exc


def heal_seconds(agent: Agent) -> tuple[float, float]:
    """Sum and number of the times from a kernel event to the repair."""
    return agent.metric("nodeipam_heal_seconds_sum"), agent.metric("nodeipam_heal_seconds_count")


@contextmanager
def heard(host: Namespace, directory: Path, *, what: str = "all") -> Iterator[list[str]]:
    """Every rtnetlink event of the block, filled in when it ends: `Deleted 10.244.2.0/24 via ...`."""
    log = directory / f"monitor-{host.pid}"
    lines: list[str] = []
    with log.open("w") as stream:
        monitor = subprocess.Popen(
            host.inside("stdbuf", "-oL", "ip", "-o", "-d", "monitor", *([what] if what != "all" else [])),
            stdout=stream,
            stderr=subprocess.DEVNULL,
        )
        try:
            _mark(host, log, 1)
            yield lines
            _mark(host, log, 2)
        finally:
            monitor.kill()
            monitor.wait()
    lines += [" ".join(line.split()) for line in log.read_text().splitlines() if _MARKER not in line]


def _mark(host: Namespace, log: Path, number: int) -> None:
    """Nothing says that a monitor listens, or has come this far, but an event of our own in its log."""

    def seen() -> bool:
        host.run("ip", "route", "replace", f"{_MARKER}/32", "dev", "lo", "metric", str(number))
        host.run("ip", "route", "del", f"{_MARKER}/32", "dev", "lo", "metric", str(number))
        return f"metric {number}" in log.read_text()

    until(seen, "the monitor listens")


def ours(lines: list[str]) -> list[str]:
    """Of heard events those about objects that an agent keeps."""
    return [line for line in lines if "proto 112" in line or _OUR_DEVICE.search(line)]


def _link(link: dict[str, Any]) -> str:
    data = link["linkinfo"]["info_data"]
    facts = {key: data.get(key) for key in ("id", "port", "local", "local6", "learning", "external", "gpe")}
    return f"{link['ifname']} {link.get('address')} mtu {link['mtu']} up {'UP' in link['flags']} lower {link.get('link')} {facts}"


def _route(route: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in route.items() if key != "flags"}, sort_keys=True)

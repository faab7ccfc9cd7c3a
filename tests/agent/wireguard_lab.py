"""Nodes that encrypt to each other: machines on one segment, with an agent each, and what their WireGuard devices know."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from nodeipam_ctl.routing.wireguard_keys import ANNOTATION
from tests.agent.cluster import Agent, Cluster, until
from tests.linux.machine import Machine
from tests.linux.namespaces import Namespace

DEVICE = "nictl-wg"
ADDRESSES = {name: (f"192.0.2.1{name[1]}", f"fd00:10::1{name[1]}") for name in ("n1", "n2", "n3")}
SECRET = b"nodeipam-secret!"  # as long as `ping -p` takes


class Lab:
    """Nodes on one segment, some of them with a machine and an agent."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.machines: dict[str, Machine] = {}
        self.agents: dict[str, Agent] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def register(self, name: str, key: str = "", **fields: Any) -> None:
        """Puts a Node into the API, or changes it."""
        number = name[1]
        annotations = {ANNOTATION: key} if key else {}
        given = {
            "pod_cidrs": (f"10.244.{number}.0/24", f"fd00:244:0:{number}::/64"),
            "addresses": ADDRESSES[name],
        } | fields
        self.cluster.add(name, annotations=annotations, **given)

    def start(self, *names: str, flags: tuple[str, ...] = (), userspace: bool = False) -> None:
        """Registers nodes, boots their machines, and starts agents; each "pod" is an address on the loopback.

        With `userspace` wireguard-go has the device already, as after an agent's restart on a kernel without WireGuard.
        """
        for name in names:
            self.register(name)
        for name in names:
            machine = self.machines[name] = self._stack.enter_context(Machine())
            four, six = ADDRESSES[name]
            self.cluster.segment.attach(machine, "eth0", f"{four}/24", f"{six}/64")
            for address in pod(name):
                machine.run(
                    "ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])
                )
            if userspace:
                machine.sh(f"ip tuntap add dev {DEVICE} mode tun; wireguard-go {DEVICE}")
            self.agent(name, *flags)
        for name in names:
            until(self.agents[name].conflist.exists, f"{name} is ready")
            until(partial(self.key, name), f"{name} publishes its key")

    def agent(self, name: str, *flags: str) -> Agent:
        state = self.cluster.directory(name) / "state"
        self.agents[name] = self.cluster.start_agent(
            self.machines[name],
            name,
            "--backend",
            "wireguard",
            "--state-dir",
            str(state),
            *flags,
        )
        return self.agents[name]

    def key(self, name: str) -> str:
        """What the Node publishes."""
        key: str = self.cluster.read(name)["metadata"].get("annotations", {}).get(ANNOTATION, "")
        return key

    def key_file(self, name: str) -> Path:
        return self.cluster.directory(name) / "state" / "wireguard.key"

    def peers(self, name: str) -> dict[str, str]:
        """Networks of each peer of a device, as `wg` prints them."""
        text = self.machines[name].run("wg", "show", DEVICE, "allowed-ips", check=False)
        return dict(line.split("\t") for line in text.splitlines())

    def kind(self, name: str) -> str:
        """What makes the device: `wireguard` is the kernel, `tun` wireguard-go; empty while there is none."""
        shown = self.machines[name].run("ip", "-j", "-d", "link", "show", DEVICE, check=False)
        kind: str = json.loads(shown)[0]["linkinfo"]["info_kind"] if shown.strip() else ""
        return kind

    def process(self, name: str) -> int:
        """wireguard-go's pid on its machine; 0 when it is dead."""
        found = self.machines[name].run("pidof", "wireguard-go", check=False).split()
        return int(found[0]) if found else 0

    def connected(self, *names: str) -> None:
        """Waits until the nodes know each other's keys, and have routes to each other."""
        keys = {name: self.key(name) for name in names}
        until(
            lambda: all(set(keys.values()) - {keys[name]} <= set(self.peers(name)) for name in names),
            "the nodes know each other",
        )
        for name in names:
            blocks = {
                block
                for n in set(names) - {name}
                for block in (f"10.244.{n[1:]}.0/24", f"fd00:244:0:{n[1:]}::/64")
            }
            until(
                lambda: blocks <= {r.split()[0] for r in self.machines[name].routes()},  # noqa: B023
                f"{name} has routes to the others",
            )


def pod(name: str) -> tuple[str, str]:
    return f"10.244.{name[1]}.10", f"fd00:244:0:{name[1]}::10"


def pings(host: Namespace, source: str, target: str, *more: str) -> bool:
    return " 0% packet loss" in host.run(
        "ping", "-c", "1", "-W", "2", "-p", SECRET.hex(), "-I", source, *more, target, check=False
    )

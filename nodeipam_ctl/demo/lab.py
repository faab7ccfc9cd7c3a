"""What is a node of the demo, and how does it come and go? A machine with kubelet, agent and pods."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeipam_ctl.demo import machines, segment
from nodeipam_ctl.demo.cni import Runtime
from nodeipam_ctl.demo.control import LOGS, NODE_KUBECONFIG, ControlPlane, write_private
from nodeipam_ctl.demo.kubelet import Kubelet
from nodeipam_ctl.demo.machines import Machine
from nodeipam_ctl.demo.pods import Pod, attach, detach, ping
from nodeipam_ctl.demo.processes import Daemon, LabError, run, start
from nodeipam_ctl.demo.segment import Place
from nodeipam_ctl.prefixes import Address, Network, parse_address, parse_network
from nodeipam_ctl.settings import ROUTE_PROTOCOL


@dataclass(slots=True, kw_only=True)
class LabNode:
    """One node.

    Attributes:
        to_pod_cidr_s: from its registration to the event with its podCIDRs, in seconds.
        to_first_ping_s: from its registration until a pod on another node had answered in every family, in seconds.
    """

    name: str
    at: Place
    machine: Machine = field(repr=False)
    kubelet: Kubelet = field(repr=False)
    renewing: asyncio.Task[None] = field(repr=False)
    agent: Daemon = field(repr=False)
    pod_cidrs: tuple[Network, ...] = ()
    pods: list[Pod] = field(default_factory=list)
    to_pod_cidr_s: float | None = None
    to_first_ping_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Lab:
    """The nodes that are there now, and what runs beside them."""

    control: ControlPlane
    plugin_dir: Path
    nodes: dict[str, LabNode] = field(default_factory=dict)
    daemons: list[Daemon] = field(default_factory=list)
    background: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    async def boot(self, number: int) -> Machine:
        """A machine on the segment, that nobody knows yet."""
        machine = await machines.boot(f"node-{number}")
        await segment.plug_in(machine, segment.place(number))
        return machine

    async def join(self, number: int, machine: Machine) -> LabNode:
        """A machine becomes a node: it registers, starts its agent, and has podCIDRs when this returns.

        Raises:
            LabError: it did not get podCIDRs in time, or one of our programs ended.
        """
        name, at = machine.name, segment.place(number)
        runtime = Runtime(inside=machine.inside, plugin_dir=self.plugin_dir, conf_dir=machine.cni_conf_dir)
        kubelet = Kubelet(name=name, at=at, client=self.control.client, runtime=runtime)
        await kubelet.register()
        assigned = asyncio.create_task(kubelet.pod_cidrs())
        node = LabNode(
            name=name,
            at=at,
            machine=machine,
            kubelet=kubelet,
            renewing=self._in_background(kubelet.keep_renewing()),
            agent=await self._start_agent(machine),
        )
        self.nodes[name] = node
        await self.until(f"{name} has podCIDRs", assigned.done, timeout_s=20)
        node.pod_cidrs = tuple(parse_network(text) for text in assigned.result())
        node.to_pod_cidr_s = kubelet.assigned_s - kubelet.registered_s
        return node

    async def run_pods(self, node: LabNode, count: int) -> None:
        """Attaches pods as soon as the node has a conflist.

        Raises:
            LabError: there is no conflist in time, or a plug-in refused.
        """
        await self.until(
            f"the agent of {node.name} wrote a conflist", node.kubelet.runtime.ready, timeout_s=20
        )
        for number in range(1, count + 1):
            node.pods.append(await attach(node.machine, node.kubelet.runtime, f"pod-{number}"))

    async def first_ping(self, node: LabNode) -> None:
        """Pings until a pod on another node has answered in every family.

        Raises:
            LabError: none did in time.
        """

        async def answered() -> bool:
            for other in [n for n in self.nodes.values() if n is not node and n.pods]:
                if all(
                    [await ping(node.pods[0], address, timeout_s=1) for address in other.pods[0].addresses]
                ):
                    return True
            return False

        await self.until(f"a pod of {node.name} reached one on another node", answered, timeout_s=20)
        node.to_first_ping_s = time.monotonic() - node.kubelet.registered_s

    async def leave(self, node: LabNode) -> None:
        """Drains a node, switches it off and deletes its Node.

        Raises:
            LabError: its agent did not end cleanly, or a plug-in refused.
        """
        del self.nodes[node.name]
        for pod in node.pods:
            await detach(pod, node.kubelet.runtime)
        self.daemons.remove(node.agent)
        self.background.discard(node.renewing)
        node.renewing.cancel()
        code = await node.agent.stop(timeout_s=5)
        if code != 0:
            raise LabError(f"the agent of {node.name} ended with {code} on SIGTERM")
        await node.machine.off()
        await self.control.delete_node(node.name)

    async def routes(self, node: LabNode) -> dict[Network, Address]:
        """The node's routes to other nodes that carry our mark, by destination: the next hop."""
        found: dict[Network, Address] = {}
        for family in ("-4", "-6"):
            text = await run(
                node.machine.inside("ip", "-j", family, "route", "show", "proto", str(ROUTE_PROTOCOL))
            )
            for route in json.loads(text or "[]"):
                if "gateway" in route:
                    found[parse_network(route["dst"])] = parse_address(route["gateway"])
        return found

    async def converged(self) -> bool:
        """Whether every node has exactly one route to every podCIDR of every other node."""
        for node in self.nodes.values():
            wanted = {cidr for other in self.nodes.values() if other is not node for cidr in other.pod_cidrs}
            if set(await self.routes(node)) != wanted:
                return False
        return True

    async def until(
        self, what: str, probe: Callable[[], bool] | Callable[[], Awaitable[bool]], *, timeout_s: float
    ) -> float:
        """Waits until a probe says yes; how long it took, in seconds.

        Raises:
            LabError: it did not in time, or one of our programs ended meanwhile.
        """
        began_s = time.monotonic()
        while True:
            answer = probe()
            if answer if isinstance(answer, bool) else await answer:
                return time.monotonic() - began_s
            for daemon in self.daemons:
                if daemon.ended is not None:
                    raise LabError(f"{daemon.name} ended with {daemon.ended}")
            for task in self.background:
                if task.done():
                    task.result()  # it never ends but by an error
            if time.monotonic() - began_s > timeout_s:
                raise LabError(f"waited {timeout_s:.0f} s in vain until {what}")
            await asyncio.sleep(0.02)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.background.add(task)
        return task

    async def _start_agent(self, machine: Machine) -> Daemon:
        # Its /run is its own, so is its copy of the kubeconfig.
        write_private(machine.disk / "kubeconfig", NODE_KUBECONFIG.read_text())
        agent = await start(
            f"the agent of {machine.name}",
            machine.inside(
                *(sys.executable, "-m", "nodeipam_ctl", "agent"),
                *("--node-name", machine.name),
                *("--kubeconfig", "/run/kubeconfig"),
                *("--backend", "host-gw"),
            ),
            log=LOGS / f"agent-{machine.name}.log",
        )
        self.daemons.append(agent)
        return agent

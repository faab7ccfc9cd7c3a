"""What does the demo show? Nodes come, get podCIDRs and routes, pods ping; a node goes, another comes, and nothing is lost."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

from nodeipam_ctl.demo import control, machines, segment
from nodeipam_ctl.demo.inside import main
from nodeipam_ctl.demo.kubeconfigfile import KubeconfigFile
from nodeipam_ctl.demo.lab import Lab, LabNode
from nodeipam_ctl.demo.machines import Machine
from nodeipam_ctl.demo.mesh import Mesh, ping_all
from nodeipam_ctl.demo.pods import Loss, SteadyPing, ping_steadily
from nodeipam_ctl.demo.report import Report, milliseconds
from nodeipam_ctl.demo.sandbox import plugin_dir
from nodeipam_ctl.errors import NodeIPAMError

_HEADING = ("NODE", "PODCIDRS", "NEXT HOP", "ROUTES", "PINGS", "TO PODCIDR", "TO FIRST PING")


@dataclass(slots=True, kw_only=True)
class Story:
    """One performance, from an empty lab to the table."""

    lab: Lab
    report: Report
    node_count: int
    pod_count: int
    losses: list[Loss] = field(default_factory=list)

    async def tell(self) -> bool:
        """Plays it all; whether every ping arrived.

        Raises:
            LabError: a step did not happen in time.
        """
        booted = [await self.lab.boot(number) for number in range(1, self.node_count + 1)]
        self.report.step("machines", f"{len(booted)} of them, with a cable each to one layer 2 segment")
        await asyncio.gather(*(self._join(number, machine) for number, machine in enumerate(booted, start=1)))
        first = await self._ping_all()
        await self._exchange_a_node()
        last = await self._ping_all()
        await self._table(last)
        return self._verdict([*first.lost, *last.lost])

    async def _join(self, number: int, machine: Machine) -> LabNode:
        node = await self.lab.join(number, machine)
        cidrs = " and ".join(map(str, node.pod_cidrs))
        self.report.step(node.name, f"registered, has {cidrs} after {milliseconds(node.to_pod_cidr_s)}")
        await self.lab.run_pods(node, self.pod_count)
        addresses = ", ".join(str(pod.addresses[0]) for pod in node.pods)
        self.report.step(
            node.name, f"its agent wrote the conflist; ptp, host-local, portmap attached {addresses}"
        )
        await self.lab.first_ping(node)
        return node

    async def _ping_all(self) -> Mesh:
        took_s = await self.lab.until(
            "every node has a route to every other", self.lab.converged, timeout_s=20
        )
        self.report.step(
            "routes", f"each of {len(self.lab.nodes)} nodes reaches all others ({milliseconds(took_s)})"
        )
        mesh = await ping_all(pod for node in self.lab.nodes.values() for pod in node.pods)
        self.report.step(
            "pings",
            f"between pods on different nodes: IPv4 {mesh.count(version=4)}, IPv6 {mesh.count(version=6)} answered",
        )
        return mesh

    async def _exchange_a_node(self) -> None:
        leaving = list(self.lab.nodes.values())[1]
        survivors = [node for node in self.lab.nodes.values() if node is not leaving]
        steady = await self._ping_between(survivors)
        await self.lab.leave(leaving)
        took_s = await self.lab.until(
            f"no node has a route to {leaving.name}", self.lab.converged, timeout_s=20
        )
        self.report.step(
            leaving.name, f"deleted; its routes are gone from every node after {milliseconds(took_s)}"
        )
        number = self.node_count + 1
        joined = await self._join(number, await self.lab.boot(number))
        await self.lab.until(f"every node has a route to {joined.name}", self.lab.converged, timeout_s=20)
        self.losses = [await ping.stop() for ping in steady]
        sent, lost = sum(loss.sent for loss in self.losses), sum(loss.lost for loss in self.losses)
        self.report.step("survivors", f"pinged each other all the while: {sent - lost}/{sent} answered")

    async def _ping_between(self, survivors: list[LabNode]) -> list[SteadyPing]:
        pairs = zip(survivors, survivors[1:] + survivors[:1], strict=True)
        return [
            await ping_steadily(source.pods[0], address)
            for source, target in pairs
            if source is not target
            for address in target.pods[0].addresses
        ]

    async def _table(self, mesh: Mesh) -> None:
        routes = {node.name: await self.lab.routes(node) for node in self.lab.nodes.values()}
        rows = []
        for node in self.lab.nodes.values():
            hops = [
                sorted({str(seen[cidr]) for name, seen in routes.items() if name != node.name})
                for cidr in node.pod_cidrs
            ]
            rows.append(
                (
                    node.name,
                    "\n".join(map(str, node.pod_cidrs)),
                    "\n".join(", ".join(hop) for hop in hops),
                    str(len(routes[node.name])),
                    mesh.count(node=node.name),
                    milliseconds(node.to_pod_cidr_s),
                    milliseconds(node.to_first_ping_s),
                )
            )
        self.report.table(_HEADING, rows)

    def _verdict(self, lost: list[Any]) -> bool:
        interrupted = [loss for loss in self.losses if loss.lost]
        if not lost and not interrupted:
            self.report.passed("every ping arrived")
            return True
        for ping in lost:
            self.report.plain(f"  no answer: {ping}")
        for loss in interrupted:
            self.report.plain(
                f"  {loss.lost} of {loss.sent} lost while nodes changed: {loss.pod} to {loss.target}"
            )
        self.report.failed(f"{len(lost) + sum(loss.lost for loss in interrupted)} pings were lost")
        return False


async def play(request: dict[str, Any]) -> int:
    """The demo from inside its namespaces: sets the lab up, tells the story, and stays there when asked to keep it."""
    report = Report()
    who = "root" if request["as_root"] else "root of a user namespace"
    report.step("sandbox", f"own network, mount and process namespaces ({who}); this host stays as it is")
    machines.lay_entrance()
    await segment.lay()
    plane = await control.start_api_server(socket.socket(fileno=request["socket"]))
    if request["kubeconfig_out"]:
        KubeconfigFile.handed_over(request["kubeconfig_out"]).write(control.KUBECONFIG.read_text())
    report.step("API server", f"{plane.host_url} on this host, {plane.segment_url} on the nodes' segment")
    plugins = plugin_dir()
    assert plugins is not None, "sandbox.require_tools looked for it"
    lab = Lab(control=plane, plugin_dir=plugins)
    story = Story(lab=lab, report=report, node_count=request["nodes"], pod_count=request["pods"])
    try:
        await _start_controller(lab, report)
        passed = await story.tell()
    except NodeIPAMError as exc:
        report.failed(str(exc))
        _show_logs(lab, report)
        return 1
    if passed and request["keep"]:
        _invite(request["host_pid"], lab, report, as_root=request["as_root"])
        await asyncio.Event().wait()
    return 0 if passed else 1


async def _start_controller(lab: Lab, report: Report) -> None:
    spec = await lab.control.apply_cluster_cidr()
    ranges = ", ".join(f"{family['cidrs'][0]} (a /{family['nodeMaskSize']} each)" for family in spec.values())
    report.step("ClusterCIDR", f"demo: {ranges}")
    lab.daemons.append(await control.start_controller())
    took_s = await lab.until("the controller is ready", control.controller_is_ready, timeout_s=30)
    report.step("controller", f"leads and is ready after {milliseconds(took_s)}")


def _show_logs(lab: Lab, report: Report) -> None:
    for daemon in lab.daemons:
        report.plain(f"\nlast lines of {daemon.name}:\n{daemon.tail(6)}")


def _invite(host_pid: int, lab: Lab, report: Report, *, as_root: bool) -> None:
    entering = (
        f"nsenter -t {host_pid} -m -n -u -r"
        if as_root
        else f"nsenter -t {host_pid} -U -m -n -u -r --preserve-credentials"
    )
    one, other = list(lab.nodes.values())[:2]
    report.plain(f"""
It stays until Ctrl-C. In another terminal, on this host:

  kubectl --kubeconfig /proc/{host_pid}/root{control.KUBECONFIG} get nodes,ccidr
  {entering} {machines.ENTER} {one.name} ip route show proto 112
  {entering} {machines.ENTER} {one.name}/{one.pods[0].name} ping -c 3 {other.pods[0].addresses[0]}
  less /proc/{host_pid}/root{control.LOGS}/controller.log
""")


if __name__ == "__main__":
    main(play)

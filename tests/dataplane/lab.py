"""How does a scenario's topology stand up? Hosts on a segment, Nodes in the API server, agents and pods on demand."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, Self

from nodeipam_ctl.demo.cni import Attachment, Runtime
from nodeipam_ctl.demo.sandbox import plugin_dir
from tests.agent.cluster import Agent, Cluster, until
from tests.dataplane.cases import document
from tests.linux.namespaces import Namespace, Segment

# Nobody else is on these wires: duplicate address detection would only delay every address by a second or two.
_NO_DAD = "for d in all default; do echo 0 >/proc/sys/net/ipv6/conf/$d/accept_dad; done"
_V6_POD_CIDR = "fd00:244:0:{}::/64"


class Lab:
    """One topology of the data: `hosts` are real, the topology's other nodes exist in the API server only.

    Args:
        dual: the nodes have IPv6 podCIDRs and InternalIPs as well.
        pools: the cluster has the ClusterCIDRs of the data.
    """

    def __init__(
        self,
        directory: Path,
        segment: Segment,
        hosts: Iterable[str],
        *,
        topology: str,
        dual: bool,
        pools: bool,
    ) -> None:
        self._stack = ExitStack()
        self._directory = directory
        self.segment = segment
        self.cluster = Cluster(directory, segment)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.hosts: dict[str, Namespace] = {}
        self.agents: dict[str, Agent] = {}
        self._was_ready: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._pools = pools
        places = _places(topology)
        for name, place in places.items():
            known = document()["defaults"]["nodes"][name]
            addresses = [a for a in (place.get("v4"), place.get("v6") if dual else None) if a]
            self.nodes[name] = {
                "pod_cidrs": (*known["podCIDRs"], *([_V6_POD_CIDR.format(name[1])] if dual else ())),
                "addresses": tuple(addresses or [place["v6"]]),
            }
            if name in hosts:
                self.hosts[name] = segment.host(
                    *(f"{a}/{64 if ':' in a else 24}" for a in (place.get("v4"), place.get("v6")) if a)
                )
                self.hosts[name].sh(_NO_DAD)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cluster)
        if self._pools:
            self.cluster.install_crds()
            self.pool("default", *document()["defaults"]["clusterCIDRs"])
        for name, fields in self.nodes.items():
            self.cluster.add(name, **fields)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start(self, name: str, *flags: str) -> Agent:
        """Starts a node's agent, or starts it anew."""
        if name in self.agents and self.agents[name].process.poll() is None:
            self.agents[name].stop()
        if name in self.agents:
            self._was_ready[name] = len(self.agents[name].lines("node_ready"))
        self.agents[name] = self.cluster.start_agent(self.hosts[name], name, *flags)
        return self.agents[name]

    def settle(self, *flags: str) -> None:
        """Starts every host's agent and waits until all have what they want."""
        for name in self.hosts:
            self.start(name, *flags)
        self.ready()

    def ready(self) -> None:
        """Waits until every agent, as it was started last, serves its node."""
        for name, agent in self.agents.items():

            def serves(agent: Agent = agent, before: int = self._was_ready.get(name, 0)) -> bool:
                assert agent.process.poll() is None, f"it ended: {agent.log()[-2000:]}"
                return len(agent.lines("node_ready")) > before

            until(serves, f"{name} is ready", timeout_s=20)

    def planned(self, name: str) -> list[str]:
        """What `agent --plan` would change on a node now."""
        arguments = [str(part) for part in self.agents[name].process.args]  # type: ignore[union-attr]
        done = subprocess.run([*arguments, "--plan"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines, "the plan says something in any case"
        return [line for line in lines if line[0] in "+~-"]

    def pool(self, name: str, *cidrs: str) -> None:
        """Makes a ClusterCIDR, or changes its ranges."""
        self.cluster.apply(
            {
                "apiVersion": "nodeipam.dev/v1alpha1",
                "kind": "ClusterCIDR",
                "metadata": {"name": name},
                "spec": {"ipv4": {"cidrs": list(cidrs), "nodeMaskSize": 24}},
            }
        )

    def forget(self, kind: str, name: str) -> None:
        """Deletes one of our own objects."""
        cluster = self.cluster.api.cluster
        resource = cluster.registry.by_kind("nodeipam.dev", kind)
        assert resource is not None

        async def delete() -> None:
            cluster.deletions.delete(resource, "", name, {})

        self.cluster.do(delete())

    def pod(self, node: str) -> Pod:
        """A pod, attached by the CNI plug-ins of the node's conflist."""
        agent = self.agents[node]
        space = self._stack.enter_context(Namespace())
        space.sh(_NO_DAD)
        plugins = plugin_dir()
        assert plugins is not None, "the CNI plug-ins are not installed"
        runtime = Runtime(inside=self.hosts[node].inside, plugin_dir=plugins, conf_dir=agent.conflist.parent)
        attachment = Attachment(
            container_id=f"{node}-{next(self._numbers)}",
            netns=Path(f"/proc/{space.pid}/ns/net"),
            capabilities={},
        )
        return Pod(space, runtime, attachment)


class Pod:
    """A pod's namespace and how it was attached."""

    def __init__(self, space: Namespace, runtime: Runtime, attachment: Attachment) -> None:
        self.space = space
        self._runtime = runtime
        self._attachment = attachment
        got: tuple[IPv4Interface | IPv6Interface, ...] = asyncio.run(runtime.add(attachment))
        self.addresses = tuple(str(interface.ip) for interface in got)

    @property
    def address(self) -> str:
        """Its first address."""
        return self.addresses[0]

    def detach(self) -> None:
        """The plug-ins' DEL."""
        asyncio.run(self._runtime.delete(self._attachment))

    def reaches(self, target: str, *more: str) -> bool:
        """Whether a ping is answered."""
        return pings(self.space, target, *more)


def pings(space: Namespace, target: str, *more: str) -> bool:
    """Whether one ping from a namespace is answered within two seconds."""
    return " 0% packet loss" in space.run("ping", "-n", "-c", "1", "-W", "2", *more, target, check=False)


def _places(topology: str) -> dict[str, dict[str, Any]]:
    """Each node's eth0 in a topology; what a topology extends counts as its own."""
    described = document()["topologies"][topology]
    base = document()["topologies"][described.get("extends", "lan3")]
    nodes = described.get("nodes") or base["nodes"]
    segment = described.get("segments", {}).get("lan0", base["segments"]["lan0"])
    families = [family for family in ("v4", "v6") if family in segment]
    return {
        name: {family: ports["eth0"][family] for family in families if family in ports["eth0"]}
        for name, ports in nodes.items()
        if name in document()["defaults"]["nodes"]
    }

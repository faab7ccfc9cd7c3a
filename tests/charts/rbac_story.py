"""Does the demo's story still pass when its programs may do only what the chart grants? Run in the demo's sandbox.

The API server enforces the rendered roles; controller and agents hold the tokens of the chart's two ServiceAccounts. After
the story come the effects that it does not look at (ledger, status, events, conditions, the Lease), because a permission
may serve any of them. Every decision is written down.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nodeipam_ctl.demo import control, machines, segment
from nodeipam_ctl.demo.apiserver import Effect, Fault
from nodeipam_ctl.demo.apiserver.auth import User
from nodeipam_ctl.demo.apiserver.rbac import Attributes, Authorizer
from nodeipam_ctl.demo.inside import main
from nodeipam_ctl.demo.lab import Lab
from nodeipam_ctl.demo.machines import Machine
from nodeipam_ctl.demo.processes import Daemon, LabError
from nodeipam_ctl.demo.report import Report
from nodeipam_ctl.demo.sandbox import plugin_dir
from nodeipam_ctl.demo.story import Story
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.prefixes import parse_network
from tests.charts.chart import NAMESPACE, ROOT

_TAINT = "node.kubernetes.io/network-unavailable"
_POOLS = "/apis/nodeipam.dev/v1alpha1/clustercidrs"
_PATIENCE_S = 1.5
"""How long a story may go on after the first refusal before it counts as failed, in seconds."""


@dataclass(slots=True)
class RecordingAuthorizer(Authorizer):
    """Decides as ever, and remembers what the ServiceAccounts of our namespace asked for."""

    asked: dict[tuple[str, Attributes], bool] = field(default_factory=dict)
    refused_s: float | None = None

    def allows(self, user: User, asked: Attributes) -> bool:
        allowed = Authorizer.allows(self, user, asked)
        if user.name.startswith(f"system:serviceaccount:{NAMESPACE}:") and not asked.path:
            self.asked[user.name, asked] = allowed
            if not allowed and self.refused_s is None:
                self.refused_s = time.monotonic()
        return allowed


@dataclass(slots=True, kw_only=True)
class ImpatientLab(Lab):
    """Waits as the demo does, but not for long once something was refused."""

    authorizer: RecordingAuthorizer

    async def _start_agent(self, machine: Machine) -> Daemon:
        # As by a kubelet with --register-with-taints: whose agent keeps the taint must remove it.
        taint = {"key": _TAINT, "effect": "NoSchedule"}
        body = json.dumps({"spec": {"taints": [taint] if "NODEIPAM_TAINT" in os.environ else None}})
        await self.control.client.patch(f"/api/v1/nodes/{machine.name}", body.encode())
        return await Lab._start_agent(self, machine)

    async def until(
        self, what: str, probe: Callable[[], bool] | Callable[[], Awaitable[bool]], *, timeout_s: float
    ) -> float:
        def refused_long_ago() -> bool:
            refused_s = self.authorizer.refused_s
            return refused_s is not None and time.monotonic() - refused_s > _PATIENCE_S

        async def probed() -> bool:
            answer = probe()
            if answer if isinstance(answer, bool) else await answer:
                return True
            if refused_long_ago():
                raise LabError(f"something was refused, and in vain until {what}")
            return False

        return await Lab.until(self, what, probed, timeout_s=timeout_s)


async def play(request: dict[str, Any]) -> int:
    """Tells the story under the roles in `request` and writes what was asked to its file."""
    outcome = await _outcome(request)
    await asyncio.to_thread(Path(request["outcome"]).write_text, json.dumps(outcome))
    return 1 if outcome["failure"] else 0


async def _outcome(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(request["flags"])  # the lab gives its agents no such flags
    machines.lay_entrance()
    await segment.lay()
    plane = await control.start_api_server(socket.socket(fileno=request["socket"]))
    server = plane.server
    for name in ("networking.x-k8s.io_clustercidrs.yaml",):
        server.apply(yaml.safe_load((ROOT / "tests" / "data" / name).read_text()))
    for manifest in request["manifests"]:
        server.apply(manifest)
    recording = RecordingAuthorizer(server.store, True)
    server.cluster.authorizer = recording
    plugins = plugin_dir()
    assert plugins is not None
    report, failure = Report(), ""
    lab = ImpatientLab(control=plane, plugin_dir=plugins, authorizer=recording)
    try:
        await _tell(lab, report, request)
    except NodeIPAMError as exc:
        failure = "\n".join([str(exc), *(f"{daemon.name} said:\n{daemon.tail(5)}" for daemon in lab.daemons)])
    return {
        "failure": failure,
        "asked": [[user, asdict(asked), allowed] for (user, asked), allowed in recording.asked.items()],
    }


async def _tell(lab: ImpatientLab, report: Report, request: dict[str, Any]) -> None:
    await lab.control.apply_cluster_cidr()
    control.write_private(control.NODE_KUBECONFIG, await _kubeconfig(lab, request["accounts"]["controller"]))
    lab.daemons.append(await control.start_controller())
    await lab.until("the controller is ready", control.controller_is_ready, timeout_s=30)
    control.write_private(control.NODE_KUBECONFIG, await _kubeconfig(lab, request["accounts"]["agent"]))
    story = Story(lab=lab, report=report, node_count=2, pod_count=1)
    if not await story.tell():
        raise LabError("pings were lost")
    await _effects(lab)


async def _kubeconfig(lab: Lab, account: str) -> str:
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    asking = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = json.loads(await lab.control.client.create(path, json.dumps(asking).encode()))
    return lab.control.server.kubeconfig(token=answer["status"]["token"])


async def _effects(lab: ImpatientLab) -> None:
    """What the programs leave in the API, piece by piece; none of it shows in a ping."""
    see = _Sight(lab.control.client)
    for what, probe in (
        ("the pool counts its nodes", see.pool_counts_its_nodes),
        ("the pool has a finalizer", see.pool_is_held),
        ("nodes were told of their podCIDRs", see.assignment_was_told),
        ("no node says that its network is unavailable", see.network_is_available),
        ("no node is tainted for it", see.nothing_is_tainted),
    ):
        await lab.until(what, probe, timeout_s=10)
    await _refusals(lab, see)
    await _lost_replies(lab, see)
    await _claims(lab)
    await _unreachable(lab, see)
    await _renewal(lab, see)


async def _refusals(lab: ImpatientLab, see: _Sight) -> None:
    """A node that no pool serves is told so, and told again when there is another reason."""
    client = lab.control.client
    await client.patch(f"{_POOLS}/demo", b'{"spec": {"disabled": true}}')
    # Pools and nodes come on two watches: a node that is heard of first would still be served.
    await lab.until("the controller knows that the pool is closed", see.pool_is_known_as_it_is, timeout_s=10)
    waiting = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "waiting"}}
    await client.create("/api/v1/nodes", json.dumps(waiting).encode())
    await lab.until("the node was told that there is no podCIDR", see.refusals_told(1), timeout_s=10)
    elsewhere = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "elsewhere", "operator": "Exists"}]}]}
    changed = {"spec": {"disabled": False, "nodeSelector": elsewhere}}
    await client.patch(f"{_POOLS}/demo", json.dumps(changed).encode())
    await lab.until("the node was told again, in the same Event", see.refusals_told(2), timeout_s=20)


async def _lost_replies(lab: ImpatientLab, see: _Sight) -> None:
    """The node is served at last, although both writes for it get no answer: the controller reads again."""
    for effect, verb, resource in (
        (Effect.CUT_AFTER, "update", "podcidrslices"),
        (Effect.CUT_BEFORE, "patch", "nodes"),
    ):
        lab.control.server.faults.add(
            Fault(effect=effect, verb=verb, resource=resource, subresource="", times=1)
        )
    await lab.control.client.patch(f"{_POOLS}/demo", b'{"spec": {"nodeSelector": null}}')
    await lab.until("the node was told of its podCIDR", see.was_told_of_its_pod_cidr("waiting"), timeout_s=20)


async def _claims(lab: ImpatientLab) -> None:
    """A node that claims a part of the Service range gets no route, one that comes after it does."""
    for name, address, pod_cidr in (
        ("greedy", "192.0.2.201", "10.96.5.0/24"),
        ("honest", "192.0.2.202", "10.250.0.0/24"),
    ):
        manifest = _node(name, address, pod_cidr)
        await lab.control.client.create("/api/v1/nodes", json.dumps(manifest).encode())
    node = next(iter(lab.nodes.values()))

    async def routed() -> bool:
        return parse_network("10.250.0.0/24") in await lab.routes(node)

    await lab.until(f"{node.name} has a route to the honest node", routed, timeout_s=10)
    if parse_network("10.96.5.0/24") in await lab.routes(node):
        raise LabError(f"{node.name} has a route to a part of the Service range")


async def _unreachable(lab: ImpatientLab, see: _Sight) -> None:
    """Agents tell of a peer that they cannot reach, and of the next one in the same Event."""
    for count, (address, pod_cidr) in enumerate(
        (("203.0.113.1", "10.251.0.0/24"), ("203.0.113.2", "10.252.0.0/24")), start=1
    ):
        manifest = _node(f"remote-{count}", address, pod_cidr)
        await lab.control.client.create("/api/v1/nodes", json.dumps(manifest).encode())
        what = f"{count} nodes that cannot be reached were told of"
        await lab.until(what, see.told("PeerUnroutable", f"remote-{count}"), timeout_s=15)


def _node(name: str, address: str, pod_cidr: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


async def _renewal(lab: ImpatientLab, see: _Sight) -> None:
    """The leader stays the leader."""
    before = await see.renewed()

    async def again() -> bool:
        return await see.renewed() != before

    await lab.until("the leader renewed its Lease", again, timeout_s=10)


@dataclass(slots=True)
class _Sight:
    """An administrator's look at the cluster."""

    client: Client

    async def get(self, path: str) -> Any:
        return json.loads(await self.client.get(path))

    async def pool_counts_its_nodes(self) -> bool:
        return bool((await self.get(f"{_POOLS}/demo")).get("status", {}).get("nodes") == 2)

    async def pool_is_known_as_it_is(self) -> bool:
        pool = await self.get(f"{_POOLS}/demo")
        seen = {c["type"]: c.get("observedGeneration") for c in pool["status"]["conditions"]}
        return bool(seen["Ready"] == pool["metadata"]["generation"])

    async def pool_is_held(self) -> bool:
        return bool((await self.get(f"{_POOLS}/demo"))["metadata"].get("finalizers"))

    async def assignment_was_told(self) -> bool:
        return "CIDRAssigned" in await self._events()

    def was_told_of_its_pod_cidr(self, node: str) -> Callable[[], Awaitable[bool]]:
        async def told() -> bool:
            events = (await self.get("/api/v1/namespaces/default/events"))["items"]
            return any((e["reason"], e["involvedObject"]["name"]) == ("CIDRAssigned", node) for e in events)

        return told

    def told(self, reason: str, word: str) -> Callable[[], Awaitable[bool]]:
        async def told() -> bool:
            events = (await self.get("/api/v1/namespaces/default/events"))["items"]
            return any(e["reason"] == reason and word in e["message"] for e in events)

        return told

    async def network_is_available(self) -> bool:
        nodes = (await self.get("/api/v1/nodes"))["items"]
        conditions = [{c["type"]: c["status"] for c in node["status"]["conditions"]} for node in nodes]
        return all(found.get("NetworkUnavailable") == "False" for found in conditions)

    async def nothing_is_tainted(self) -> bool:
        nodes = (await self.get("/api/v1/nodes"))["items"]
        return all(taint["key"] != _TAINT for node in nodes for taint in node["spec"].get("taints") or [])

    def refusals_told(self, least: int) -> Callable[[], Awaitable[bool]]:
        async def told() -> bool:
            return (await self._events()).get("CIDRNotAvailable", 0) >= least

        return told

    async def renewed(self) -> str:
        leases = (await self.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"))["items"]
        return "".join(str(lease["spec"].get("renewTime")) for lease in leases)

    async def _events(self) -> dict[str, int]:
        """How often each reason was told, by reason: the largest count of one Event."""
        found: dict[str, int] = {}
        for event in (await self.get("/api/v1/namespaces/default/events"))["items"]:
            found[event["reason"]] = max(found.get(event["reason"], 0), event.get("count", 1))
        return found


if __name__ == "__main__":
    main(play)

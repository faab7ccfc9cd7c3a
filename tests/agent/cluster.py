"""A cluster for agents under test: the embedded API server on the segment's switch, hosts beside it, real agent processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.errors import ApiError
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.writes import WriteOptions
from tests.linux.namespaces import Namespace, Segment, python
from tests.patience import PATIENCE

T = TypeVar("T")

API_ADDRESS = "192.0.2.1"
_BY_TYPE = "application/strategic-merge-patch+json"  # as kubelet: other conditions stay
_WRITE = WriteOptions(manager="test")
API_ADDRESSES = (f"{API_ADDRESS}/24", "fd00:10::1/64")


def node(
    name: str,
    *,
    pod_cidrs: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
    uid: str | None = None,
    annotations: dict[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
) -> dict[str, Any]:
    """A Node object as a kubelet would have it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address} for address in addresses]
            + [{"type": "Hostname", "address": name}]
        },
    }


class Agent:
    """A running agent process in a host's namespace."""

    def __init__(self, host: Namespace, process: subprocess.Popen[str], directory: Path, log: Path) -> None:
        self.host = host
        self.process = process
        self.directory = directory
        self.log_file = log

    @property
    def conflist(self) -> Path:
        return self.directory / "net.d" / "10-nodeipam.conflist"

    def log(self) -> str:
        return self.log_file.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = []
        for line in self.log().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):  # the last one may still be on its way
                entry = json.loads(line)
                if entry["event"] == event:
                    found.append(entry)
        return found

    def get(self, path: str) -> tuple[int, str]:
        """One of the agent's own endpoints; code 0 while nobody listens."""
        text = self.host.run(
            "curl", "-s", "-w", "\n%{http_code}", f"http://127.0.0.1:9412{path}", check=False
        )
        body, _, code = text.rpartition("\n")
        return int(code), body

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        _, text = self.get("/metrics")
        values = [
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.split("{")[0].split(" ")[0] == name
        ]
        assert f"# TYPE {name.removesuffix('_sum').removesuffix('_count')} " in text, f"no metric {name}"
        return sum(values)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 5.0) -> int:
        """Ends it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s * PATIENCE)


class Cluster:
    """API server and agents; everything ends with the context.

    The server has a thread and an event loop of its own, inside the switch's namespace.
    """

    def __init__(self, directory: Path, segment: Segment) -> None:
        self.segment = segment
        self.api = ApiServer(host=API_ADDRESS, allow_nonloopback=True, bookmark_every_s=1.0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="api-server")
        self._directory = directory
        self._agents: list[Agent] = []
        self._beats = 0
        for address in API_ADDRESSES:
            extra = ["nodad"] if ":" in address else []
            segment.switch.run("ip", "address", "add", address, "dev", "br0", *extra)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.api.start())
        return self

    def __exit__(self, *_exc: object) -> None:
        for agent in self._agents:
            if agent.process.poll() is None:
                agent.process.kill()
            agent.process.wait()
        self.do(self.api.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine of the server's in its loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def _serve(self) -> None:
        with self.segment.switch.entered():
            self._loop.run_forever()

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)

    def add(self, name: str, **fields: Any) -> None:
        """Puts a Node into the API, or changes what it says."""
        self.do(self._call(self._add, name, fields))

    def _add(self, name: str, fields: dict[str, Any]) -> None:
        wanted = node(name, **fields)
        objects = self.api.cluster.objects
        try:
            objects.find(self._nodes, "", name)
        except ApiError:
            objects.create(self._nodes, "", wanted, _WRITE)
        for part, subresource in (("metadata", ""), ("spec", ""), ("status", "status")):
            body = json.dumps({part: wanted[part]}).encode()
            objects.patch(self._nodes, "", name, subresource, "application/merge-patch+json", body, _WRITE)

    def add_many(self, nodes: list[dict[str, Any]]) -> None:
        """Puts new Nodes into the API, as they are."""

        def create() -> None:
            for wanted in nodes:
                self.api.cluster.objects.create(self._nodes, "", wanted, _WRITE)

        self.do(self._call(create))

    def heartbeat(self, name: str) -> None:
        """What kubelet writes every few minutes: a condition's time, and nothing else."""
        self._beats += 1
        beat = f"2026-01-01T00:{self._beats // 60 % 60:02}:{self._beats % 60:02}Z"
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": beat}
        body = json.dumps({"status": {"conditions": [condition]}}).encode()
        patch = self.api.cluster.objects.patch
        self.do(self._call(patch, self._nodes, "", name, "status", _BY_TYPE, body, _WRITE))

    def install_crds(self, *, lax: str = "") -> None:
        """ClusterCIDR and PodCIDRSlice as the product ships them; one kind as in a cluster whose CRD lets anything in."""
        directory = Path(__file__).parents[2] / "crds"
        self.do(self._call(self.api.apply_crds, directory))
        for file in directory.glob("*.yaml"):
            for crd in yaml.safe_load_all(file.read_text()):
                if crd["spec"]["names"]["kind"] == lax:
                    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
                    self.apply(crd)

    def apply(self, obj: dict[str, Any]) -> None:
        """Any object that is not a Node."""
        self.do(self._call(self.api.apply, obj))

    def remove(self, name: str) -> None:
        """Deletes a Node."""
        self.do(self._call(self.api.cluster.deletions.delete, self._nodes, "", name, {}))

    def replace_history_by_an_empty_list(self) -> None:
        """Every Node is gone, no watch has heard of it, and none can continue: 410, then an empty list."""

        def lose() -> None:
            self.api.faults.stall_watches()
            for stored in list(self.api.store.bucket(self._nodes.bucket).objects.values()):
                self.api.cluster.deletions.delete(self._nodes, "", stored.name, {})
            self.api.store.compact()
            self.api.faults.cut_watches()
            self.api.faults.resume_watches()

        self.do(self._call(lose))

    def read(self, name: str) -> dict[str, Any]:
        """A Node as the API has it."""
        objects = self.api.cluster.objects
        stored = objects.find(self._nodes, "", name)
        found: dict[str, Any] = self.do(self._call(objects.read, self._nodes, stored))
        return found

    def condition(self, name: str) -> tuple[str, str] | None:
        """Status and reason of a Node's NetworkUnavailable condition."""
        conditions = self.read(name)["status"].get("conditions", [])
        return next(
            ((c["status"], c["reason"]) for c in conditions if c["type"] == "NetworkUnavailable"), None
        )

    def resource_version(self, name: str) -> str:
        """Changes with every write to a Node."""
        version: str = self.read(name)["metadata"]["resourceVersion"]
        return version

    @property
    def _nodes(self) -> Resource:
        return next(r for r in self.api.cluster.registry if r.kind == "Node")

    def directory(self, name: str) -> Path:
        """What a host keeps; its CNI directory is `net.d` in it."""
        made = self._directory / name
        made.mkdir(exist_ok=True)
        return made

    def start_agent(self, host: Namespace, name: str, *flags: str) -> Agent:
        """A real agent process on a host."""
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        config = directory / "kubeconfig"
        self.api.write_kubeconfig(config)
        log = directory / "log"
        with log.open("a") as stream:
            process = python(
                host,
                *("-m", "nodeipam_ctl", "agent", "--node-name", name, "--kubeconfig", str(config)),
                *("--cni-conf-dir", str(directory / "net.d"), "--cni-data-dir", str(directory / "leases")),
                # Most tests write Nodes only; those with a ledger say so.
                *("--log-format", "json", "--feed", "nodes"),
                *flags,
                stdout=stream,
                stderr=stream,
            )
        agent = Agent(host, process, directory, log)
        self._agents.append(agent)
        return agent


def until(condition: Callable[[], object], what: str, *, timeout_s: float = 10.0) -> float:
    """Waits for a real kernel and a real process; the seconds it took."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < timeout_s * PATIENCE, f"waited in vain until {what}"
        time.sleep(0.01)
    return time.monotonic() - began_s

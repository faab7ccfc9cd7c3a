"""A real controller in this process against a real (embedded) API server over HTTP, and the few verbs tests are written in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nodeipam_ctl.controller.app import Controller
from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.kube.auth import Access, load
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.settings import ControllerSettings
from nodeipam_ctl.telemetry.metrics import Metrics
from nodeipam_ctl.telemetry.readiness import Readiness

CRDS = Path(__file__).parents[2] / "crds"
POOLS = "/apis/nodeipam.dev/v1alpha1/clustercidrs"
PAGES = "/apis/nodeipam.dev/v1alpha1/podcidrslices"

Object = dict[str, Any]


async def eventually(
    check: Callable[[], Awaitable[Any]] | Callable[[], Any], *, within_s: float = 10.0, what: str = ""
) -> Any:
    """The first true answer of `check`; other processes and threads are real, so it is asked again until a deadline."""
    end_s = time.monotonic() + within_s
    while True:
        answer = check()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {within_s} s: {what or check}; last answer {answer!r}")
        await asyncio.sleep(0.005)


class Running:
    """A controller that runs."""

    def __init__(
        self, controller: Controller, readiness: Readiness, metrics: Metrics, task: asyncio.Task[None]
    ) -> None:
        self.controller = controller
        self.readiness = readiness
        self.metrics = metrics
        self.task = task

    async def stop(self) -> None:
        """Cancels it, as SIGTERM does."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def metric(self, name: str, **labels: str) -> float:
        """One sample; 0 when it does not exist."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class Cluster:
    """An API server with our CRDs, and an administrator's client."""

    def __init__(self, folder: Path, *, crds: Path | None = CRDS, **server: Any) -> None:
        self.api = ApiServer(crd_dir=crds, **server)
        self.kubeconfig = folder / "kubeconfig"
        self.access: Access
        self.client: Client
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.api)
        self.api.write_kubeconfig(self.kubeconfig)
        self.access = await load(self.kubeconfig)
        self.client = await self._stack.enter_async_context(Client(self.access, component="test"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def controller(
        self,
        *,
        clock: Callable[[], float] = time.time,
        wait: bool = True,
        identity: str = "test",
        leading: Callable[[], bool] = lambda: True,
        client_type: Callable[..., Client] = Client,
        **settings: Any,
    ) -> AsyncIterator[Running]:
        """A controller without leader election."""
        chosen = replace(
            ControllerSettings(leader_elect=False, metrics_address=None, batch_window_s=0.002), **settings
        )
        metrics, readiness = Metrics("controller"), Readiness()
        async with client_type(self.access, component=identity) as client:
            controller = Controller(
                chosen,
                client,
                self.access,
                metrics,
                readiness,
                identity=identity,
                clock=clock,
                leading=leading,
            )
            running = Running(controller, readiness, metrics, asyncio.create_task(controller.run()))
            try:
                if wait:
                    started = asyncio.create_task(controller.started.wait())
                    await asyncio.wait(
                        {started, running.task}, return_when=asyncio.FIRST_COMPLETED, timeout=20
                    )
                    started.cancel()
                    if running.task.done():
                        running.task.result()
                    assert controller.started.is_set(), readiness.report()
                yield running
            finally:
                await running.stop()

    async def get(self, path: str) -> Object:
        """An object."""
        return json.loads(await self.client.get(path))  # type: ignore[no-any-return]

    async def items(self, path: str) -> list[Object]:
        """A collection."""
        return (await self.get(path))["items"]  # type: ignore[no-any-return]

    async def create(self, path: str, body: Object) -> Object:
        """POST."""
        return json.loads(await self.client.create(path, json.dumps(body).encode()))  # type: ignore[no-any-return]

    async def patch(self, path: str, body: Object) -> Object:
        """Merge PATCH."""
        return json.loads(await self.client.patch(path, json.dumps(body).encode()))  # type: ignore[no-any-return]

    async def delete(self, path: str) -> None:
        """DELETE."""
        await self.client.delete(path)

    async def pool(self, name: str = "default", **spec: Any) -> Object:
        """A ClusterCIDR; dual stack with 256 blocks when nothing else is said."""
        if not spec.keys() & {"ipv4", "ipv6"}:
            spec = {
                "ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24},
                "ipv6": {"cidrs": ["fd00:10:244::/56"], "nodeMaskSize": 64},
                **spec,
            }
        body = {
            "apiVersion": "nodeipam.dev/v1alpha1",
            "kind": "ClusterCIDR",
            "metadata": {"name": name},
            "spec": {"reuseDelay": "0s", **spec},
        }
        return await self.create(POOLS, body)

    async def node(
        self,
        name: str,
        *,
        pod_cidrs: tuple[str, ...] = (),
        addresses: tuple[str, ...] = (),
        **metadata: Any,
    ) -> Object:
        """A Node, as a kubelet would register it."""
        body: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **metadata}}
        if pod_cidrs:
            body["spec"] = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)}
        if addresses:
            body["status"] = {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]}
        return await self.create("/api/v1/nodes", body)

    async def cidrs(self, name: str) -> list[str]:
        """A Node's podCIDRs now."""
        return (await self.get(f"/api/v1/nodes/{name}"))["spec"].get("podCIDRs") or []

    async def all_cidrs(self) -> dict[str, list[str]]:
        """Every Node's podCIDRs now."""
        return {
            n["metadata"]["name"]: n["spec"].get("podCIDRs") or [] for n in await self.items("/api/v1/nodes")
        }

    async def served(self, name: str, *, within_s: float = 10.0) -> list[str]:
        """A Node's podCIDRs, once it has some."""
        found: list[str] = await eventually(
            lambda: self.cidrs(name), within_s=within_s, what=f"podCIDRs of {name}"
        )
        return found

    async def all_served(self, count: int, *, within_s: float = 20.0) -> dict[str, list[str]]:
        """Every Node's podCIDRs, once so many Nodes have some."""

        async def check() -> dict[str, list[str]]:
            found = {name: cidrs for name, cidrs in (await self.all_cidrs()).items() if cidrs}
            return found if len(found) == count else {}

        answer: dict[str, list[str]] = await eventually(
            check, within_s=within_s, what=f"podCIDRs of {count} nodes"
        )
        return answer

    async def events(self, reason: str) -> list[Object]:
        """Events of one reason."""
        found = await self.items("/api/v1/namespaces/default/events")
        return [event for event in found if event.get("reason") == reason]

    async def told(self, reason: str, *, about: str) -> str:
        """The message of an Event, once there is one."""

        async def check() -> str:
            found = [e for e in await self.events(reason) if e["involvedObject"]["name"] == about]
            return found[-1]["message"] if found else ""

        message: str = await eventually(check, what=f"{reason} about {about}")
        return message

    async def status(self, pool: str = "default") -> Object:
        """A ClusterCIDR's status."""
        return (await self.get(f"{POOLS}/{pool}")).get("status") or {}


def condition(status: Object, kind: str) -> Object:
    """One condition."""
    return next((c for c in status.get("conditions", ()) if c["type"] == kind), {})

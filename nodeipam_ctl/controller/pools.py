"""Which ClusterCIDRs exist now? kopf brings each change; a list of our own completes it at the start and every minute.

kopf neither tells when its first list is complete nor what was deleted while it was cut off (`kube/crds.py`), and it is
not told of CRDs that come later. The list answers all three, and costs one small request a minute. It is made at once when
the server was lost and is back; a kopf that waits for a version that the server has not reached any more is then started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog

from nodeipam_ctl.errors import NodeIPAMError, NotFound
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client, query
from nodeipam_ctl.kube.crds import CustomResource, CustomResourceWatch
from nodeipam_ctl.kube.deltas import Delta
from nodeipam_ctl.kube.history import is_behind
from nodeipam_ctl.kube.informer import Informer
from nodeipam_ctl.kube.kind import Resource

log = structlog.get_logger(__name__)

T = TypeVar("T")

LIST_EVERY_S = 60.0

NAME = "clustercidrs"
"""As whom we follow the informers' doubts, and for readiness."""


class CustomResources(Generic[T]):
    """The present objects of some custom resources of one record type, in one store for each.

    Args:
        resources: the first must exist in the end; those that are `optional` may be missing or come later.
        changed: called, in our loop, for each difference.
    """

    def __init__(
        self,
        client: Client,
        access: Access,
        resources: Sequence[Resource[T]],
        changed: Callable[[Delta[T]], None],
        *,
        list_every_s: float | None = None,
    ) -> None:
        self._client = client
        self._access = access
        self._informers: dict[CustomResource, Informer[T]] = {
            _custom(resource): Informer(client, resource, changed) for resource in resources
        }
        self._watch: CustomResourceWatch | None = None
        self._listed: dict[CustomResource, str] = {}
        self._wanted = asyncio.Event()
        self._list_every_s = LIST_EVERY_S if list_every_s is None else list_every_s
        self._backoff = Backoff(first_s=0.2, cap_s=10.0)
        self.synced = asyncio.Event()
        self.problem = "not listed yet"

    def values(self) -> list[T]:
        """The records of all resources."""
        return [record for informer in self._informers.values() for record in informer.store.values()]

    async def run(self) -> None:
        """Lists and watches for ever; ends kopf's thread when cancelled."""
        self._client.reachability.follow(NAME, self._wanted.set)
        try:
            while True:
                wait_s = await self.turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wanted.wait()
        finally:
            await self._stop_watch()

    async def turn(self) -> float:
        """One list of everything, and a kopf that watches what exists; how many seconds to wait until the next turn."""
        self._wanted.clear()
        try:
            present = [resource for resource in self._informers if await self._exists(resource)]
            # kopf starts before the list, so that nothing falls between them.
            if self._watch is None or set(present) != set(self._watch.resources):
                await self._stop_watch()
                self._watch = CustomResourceWatch(self._access, present, self._seen)
                self._watch.start()
            for informer in self._informers.values():
                await informer.list_once()
            if self._set_back():
                log.info(
                    "cluster_cidrs_set_back", effect="kopf starts anew, for it waits for what will not come"
                )
                await self._stop_watch()
                return 0.0
        except NodeIPAMError as exc:
            if self._backoff.attempts == 0:
                log.warning("cluster_cidrs_unreadable", reason=str(exc))
            self.problem = str(exc)
            return self._backoff.next_s()
        if self.problem:
            log.info("cluster_cidrs_listed", objects=len(self.values()))
        self.problem = ""
        self._backoff.reset()
        self.synced.set()
        if (
            not self._wanted.is_set()
        ):  # else somebody came back during our list, and it may be older than that
            self._client.reachability.trust(NAME)
        return self._list_every_s * random.uniform(0.8, 1.2)

    def _set_back(self) -> bool:
        """Whether a list is older than the one before: this server has not seen what kopf has."""
        before, self._listed = (
            self._listed,
            {resource: informer.version for resource, informer in self._informers.items()},
        )
        return any(is_behind(version, before.get(resource, "")) for resource, version in self._listed.items())

    async def _exists(self, resource: CustomResource) -> bool:
        kind = self._informers[resource].resource
        try:
            await self._client.get(query(resource.path, {"limit": 1}))
        except NotFound as exc:
            if not kind.optional:
                raise kind.missing(exc) from exc
            return False
        return True

    def _seen(self, resource: CustomResource, deleted: bool, body: Mapping[str, Any]) -> None:  # noqa: FBT001
        kind = "DELETED" if deleted else "MODIFIED"
        self._informers[resource].apply(json.dumps({"type": kind, "object": body}).encode())

    async def _stop_watch(self) -> None:
        if self._watch is not None:
            watch, self._watch = self._watch, None
            await watch.stop()


def _custom(resource: Resource[Any]) -> CustomResource:
    _, _, group, version, plural = resource.path.split("/")
    return CustomResource(group=group, version=version, plural=plural)

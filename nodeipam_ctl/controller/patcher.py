"""How does a Node get its podCIDRs, and what became of the attempt? PATCH, and a fresh read whenever the answer leaves doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from nodeipam_ctl.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NodeIPAMError,
    NotFound,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client, segment
from nodeipam_ctl.kube.wire.nodes import NODES, decode_node, pod_cidr_patch
from nodeipam_ctl.model import Assignment, Node, NodeUID

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of an assignment."""

    BOUND = "bound"
    GONE = "gone"  # the Node does not exist any more, or its name belongs to another one now
    TAKEN = "taken"  # somebody else gave it podCIDRs first
    REFUSED = "refused"  # the server will not have it: an admission webhook, most likely
    STALE = "stale"  # not sent, or surely in vain, and not what it should get now
    CANCELLED = "cancelled"  # we were told to stop trying


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The certain end of an attempt.

    Attributes:
        node: the Node as last read, where a read was needed.
        attempts: how many requests it took.
        reason: the server's words, one line, where it refused.
        certain: each of them had an end that is known: none can take effect later.
    """

    assignment: Assignment
    outcome: Outcome
    node: Node | None = None
    attempts: int = 1
    reason: str = ""
    certain: bool = True


@dataclass(slots=True, kw_only=True, eq=False)
class _Attempt:
    assignment: Assignment
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.05, cap_s=30.0))
    read_first: bool = False
    requests: int = 0
    closed: bool = False
    timer: asyncio.TimerHandle | None = None


class Patcher:
    """Patches Nodes, so many at a time, until each attempt has a certain end.

    An answer that proves nothing (timeout, cut connection, 5xx) is followed by a read of the Node: only a read that shows the
    same uid decides. Until then the caller keeps the reservation. An attempt that waits for its next try occupies no place.

    Args:
        settled: called once for each attempt, in our loop.
        good: whether an assignment is still what its Node should get; asked before each request, unless an earlier one may
            have taken effect.
        timeout_s: for one request, in seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        in_flight: int,
        settled: Callable[[Settled], None],
        good: Callable[[Assignment], bool],
        timeout_s: float = 5.0,
    ) -> None:
        self._client = client
        self._in_flight = in_flight
        self._settled = settled
        self._good = good
        self._timeout_s = timeout_s
        self._queue: asyncio.Queue[_Attempt] = asyncio.Queue()
        self._open: dict[NodeUID, _Attempt] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, uid: NodeUID) -> bool:
        return uid in self._open

    def submit(self, assignment: Assignment) -> None:
        """Starts an attempt; one at a time for each Node."""
        attempt = _Attempt(assignment=assignment)
        self._open[assignment.uid] = attempt
        self._queue.put_nowait(attempt)

    def seen(self, node: Node) -> None:
        """The informer shows a Node with podCIDRs: an open attempt is settled by that, whatever its request still says."""
        attempt = self._open.get(node.uid)
        if attempt is not None:
            ours = set(node.pod_cidrs) == set(attempt.assignment.pod_cidrs)
            self._stop_timer(attempt)
            self._settle(attempt, Outcome.BOUND if ours else Outcome.TAKEN, node=node)

    def cancel(self, uid: NodeUID) -> None:
        """Stops trying, because the Node is gone; a request under way still runs, and can only meet another uid."""
        attempt = self._open.get(uid)
        if attempt is not None:
            self._stop_timer(attempt)
            self._settle(attempt, Outcome.CANCELLED)

    async def run(self) -> None:
        """Works for ever; cancel it to stop."""
        try:
            async with asyncio.TaskGroup() as workers:
                for number in range(self._in_flight):
                    workers.create_task(self._work(), name=f"patch-{number}")
        finally:
            for attempt in self._open.values():
                self._stop_timer(attempt)

    async def _work(self) -> None:
        while True:
            attempt = await self._queue.get()
            if not attempt.closed:
                await self._try(attempt)

    async def _try(self, attempt: _Attempt) -> None:
        assignment = attempt.assignment
        if not attempt.read_first and not self._good(assignment):
            self._settle(attempt, Outcome.STALE)
            return
        path = f"{NODES}/{segment(assignment.node)}"
        attempt.requests += 1
        try:
            if attempt.read_first and self._judge(
                attempt, await self._client.get(path, timeout_s=self._timeout_s)
            ):
                return
            body = pod_cidr_patch(assignment.uid, assignment.pod_cidrs)
            try:
                await self._client.patch(path, body, timeout_s=self._timeout_s)
            except (Invalid, Conflict, Forbidden) as exc:
                # Another uid, podCIDRs set by somebody else, or a refusal: the Node itself tells which.
                self._judge(attempt, await self._client.get(path, timeout_s=self._timeout_s), refusal=exc)
                return
            self._settle(attempt, Outcome.BOUND)
        except NotFound:
            self._settle(attempt, Outcome.GONE)
        except OutcomeUnknown as exc:
            attempt.read_first = True
            self._again(attempt, exc)
        except Transient as exc:
            self._again(attempt, exc, at_least_s=exc.retry_after_s)
        except Permanent as exc:  # 403 as well: many admission webhooks refuse with it
            self._settle(attempt, Outcome.REFUSED, reason=str(exc))

    def _judge(self, attempt: _Attempt, body: bytes, *, refusal: Permanent | None = None) -> bool:
        """Whether a fresh read of the Node ends the attempt."""
        node = decode_node(body)
        assignment = attempt.assignment
        if node is None or node.uid != assignment.uid:
            return self._settle(attempt, Outcome.GONE)
        if set(node.pod_cidrs) == set(assignment.pod_cidrs):
            return self._settle(attempt, Outcome.BOUND, node=node)
        if node.pod_cidrs or any(problem.startswith("spec.podCIDRs") for problem in node.problems):
            return self._settle(attempt, Outcome.TAKEN, node=node)
        if isinstance(refusal, Conflict):  # the server lost its own race; nothing changed
            self._again(attempt, refusal)
            return True
        if refusal is not None:
            return self._settle(attempt, Outcome.REFUSED, node=node, reason=str(refusal))
        return False

    def _again(self, attempt: _Attempt, exc: NodeIPAMError, *, at_least_s: float | None = None) -> None:
        if attempt.closed:
            return
        wait_s = attempt.backoff.next_s(at_least_s=at_least_s)
        if attempt.backoff.attempts == 1:
            log.warning(
                "node_patch_unsettled",
                node=attempt.assignment.node,
                reason=str(exc),
                kept=[str(cidr) for cidr in attempt.assignment.pod_cidrs],
                retry_in_s=round(wait_s, 2),
            )
        attempt.timer = asyncio.get_running_loop().call_later(wait_s, self._queue.put_nowait, attempt)

    def _stop_timer(self, attempt: _Attempt) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()

    def _settle(
        self, attempt: _Attempt, outcome: Outcome, *, node: Node | None = None, reason: str = ""
    ) -> bool:
        if not attempt.closed:
            attempt.closed = True
            del self._open[attempt.assignment.uid]
            self._settled(
                Settled(
                    assignment=attempt.assignment,
                    outcome=outcome,
                    node=node,
                    attempts=attempt.requests,
                    reason=reason,
                    certain=not attempt.read_first,
                )
            )
        return True

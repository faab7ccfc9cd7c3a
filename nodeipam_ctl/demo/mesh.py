"""Can every pod reach every pod on another node? One ping for each pair and address, and the count by node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from nodeipam_ctl.demo.pods import Pod, ping
from nodeipam_ctl.prefixes import Address

_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """One ping and whether it was answered."""

    source: Pod
    target: Pod
    address: Address
    answered: bool

    def __str__(self) -> str:
        return f"{self.source} to {self.target} ({self.address})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The pings between all pods on different nodes."""

    pings: tuple[Ping, ...]

    @property
    def lost(self) -> tuple[Ping, ...]:
        """Those without an answer."""
        return tuple(p for p in self.pings if not p.answered)

    def count(self, *, node: str | None = None, version: int | None = None) -> str:
        """`answered/sent`, of all or of those sent by one node's pods or over one IP version."""
        chosen = [
            p
            for p in self.pings
            if node in (None, p.source.machine.name) and version in (None, p.address.version)
        ]
        return f"{sum(p.answered for p in chosen)}/{len(chosen)}"


async def ping_all(pods: Iterable[Pod]) -> Mesh:
    """Pings from every pod to every address of every pod on another node, once, and tries nothing twice."""
    pods = list(pods)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(source: Pod, target: Pod, address: Address) -> Ping:
        async with slots:
            return Ping(source=source, target=target, address=address, answered=await ping(source, address))

    return Mesh(
        pings=tuple(
            await asyncio.gather(
                *(
                    one(source, target, address)
                    for source in pods
                    for target in pods
                    if source.machine is not target.machine
                    for address in target.addresses
                )
            )
        )
    )

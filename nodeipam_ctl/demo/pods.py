"""What is a pod here? A network namespace that the CNI plug-ins attached to its node, and from which we ping."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from nodeipam_ctl.demo.cni import Attachment, Runtime
from nodeipam_ctl.demo.machines import Machine
from nodeipam_ctl.demo.processes import attempt, run
from nodeipam_ctl.demo.segment import quiet
from nodeipam_ctl.prefixes import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """An attached pod."""

    name: str
    machine: Machine = field(repr=False)
    attachment: Attachment = field(repr=False)
    addresses: tuple[Address, ...]

    def __str__(self) -> str:
        return f"{self.machine.name}/{self.name}"

    def inside(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in the pod's network."""
        return self.machine.inside(*argv, pod=self.name)


async def attach(
    machine: Machine, runtime: Runtime, name: str, *, port_mappings: Sequence[dict[str, Any]] = ()
) -> Pod:
    """Makes a pod's namespace and attaches it.

    Raises:
        LabError: a plug-in refused, or gave no address.
    """
    await run(machine.inside("ip", "netns", "add", name))
    await run(machine.inside("ip", "link", "set", "lo", "up", pod=name))
    await quiet(machine, pod=name)
    attachment = Attachment(
        container_id=f"{machine.name}-{name}",
        netns=Path("/run/netns") / name,
        capabilities={"portMappings": list(port_mappings)},
    )
    interfaces: tuple[IPv4Interface | IPv6Interface, ...] = await runtime.add(attachment)
    return Pod(name=name, machine=machine, attachment=attachment, addresses=tuple(i.ip for i in interfaces))


async def detach(pod: Pod, runtime: Runtime) -> None:
    """Detaches a pod and takes its namespace away.

    Raises:
        LabError: a plug-in refused.
    """
    await runtime.delete(pod.attachment)
    await run(pod.machine.inside("ip", "netns", "delete", pod.name))


async def ping(pod: Pod, target: Address, *, timeout_s: int = 2) -> bool:
    """Whether one echo request is answered."""
    output = await attempt(pod.inside("ping", "-n", "-q", "-c", "1", "-W", str(timeout_s), str(target)))
    return output.code == 0


@dataclass(slots=True, kw_only=True)
class SteadyPing:
    """A ping that goes on, twenty a second, until it is stopped and says what was lost."""

    pod: Pod
    target: Address
    process: asyncio.subprocess.Process = field(repr=False)

    async def stop(self) -> Loss:
        """Ends it and counts: an answer that never came before one that did is lost.

        The last request may still be on its way when ping is told to stop, so what comes after the last answer does not count.
        """
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        stdout, _ = await self.process.communicate()
        answered = {int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", stdout.decode())}
        last = max(answered, default=1)
        return Loss(pod=self.pod, target=self.target, sent=last, lost=last - len(answered))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a steady ping lost."""

    pod: Pod
    target: Address
    sent: int
    lost: int


async def ping_steadily(pod: Pod, target: Address) -> SteadyPing:
    """Starts a ping that goes on."""
    process = await asyncio.create_subprocess_exec(
        *pod.inside("ping", "-n", "-i", "0.05", str(target)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return SteadyPing(pod=pod, target=target, process=process)

"""What connects the nodes? One layer 2 segment: a bridge in the lab's own network namespace, a cable to each machine.

The lab's namespace is the control plane's host: the bridge itself carries its addresses. Addresses are those reserved for
documentation (RFC 5737, RFC 3849).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from nodeipam_ctl.demo.machines import Machine, sysctl
from nodeipam_ctl.demo.processes import run

NETWORK4 = IPv4Network("192.0.2.0/24")
NETWORK6 = IPv6Network("2001:db8::/64")
CONTROL4 = NETWORK4[1]
CONTROL6 = NETWORK6[1]
MOST_MACHINES = 200
"""How many addresses of the IPv4 network are left for machines."""

# Nobody else is on this wire: duplicate address detection would only delay every address by a second or two.
_NO_DAD = (("net.ipv6.conf.all.accept_dad", "0"), ("net.ipv6.conf.default.accept_dad", "0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A machine's addresses on the segment."""

    ipv4: IPv4Address
    ipv6: IPv6Address


def place(number: int) -> Place:
    """Where machine `number`, counted from 1, is on the segment: 192.0.2.11 and 2001:db8::11 for the first."""
    return Place(ipv4=NETWORK4[10 + number], ipv6=NETWORK6[int(str(10 + number), 16)])


async def lay() -> None:
    """Makes the bridge, with the control plane's addresses, in the namespace of the calling process."""
    await run(["sh", "-ec", "for d in all default; do echo 0 >/proc/sys/net/ipv6/conf/$d/accept_dad; done"])
    commands = f"""\
link set lo up
link add segment type bridge
addr add {CONTROL4}/{NETWORK4.prefixlen} dev segment
addr add {CONTROL6}/{NETWORK6.prefixlen} dev segment nodad
link set segment up
"""
    await run(["ip", "-batch", "-"], stdin=commands)


async def plug_in(machine: Machine, at: Place) -> None:
    """Connects a machine: its eth0 is up with both addresses when this returns."""
    await quiet(machine)
    port = f"to-{machine.name}"
    pid = machine.holder.pid
    commands = f"""\
link add {port} type veth peer name eth0 netns {pid}
link set {port} master segment up
"""
    await run(["ip", "-batch", "-"], stdin=commands)
    commands = f"""\
addr add {at.ipv4}/{NETWORK4.prefixlen} dev eth0
addr add {at.ipv6}/{NETWORK6.prefixlen} dev eth0 nodad
link set eth0 up
"""
    await run(machine.inside("ip", "-batch", "-"), stdin=commands)


async def quiet(machine: Machine, *, pod: str = "") -> None:
    """Switches duplicate address detection off for every device that will be made there."""
    await sysctl(machine, _NO_DAD, pod=pod)

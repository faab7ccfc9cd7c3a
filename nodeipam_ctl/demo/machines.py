"""What is a node made of? A network, mount and host name of its own, held by one sleeping process, as pods are by "pause".

A process holds them because a mount namespace cannot reliably be held by a bind mount: Linux 6.18 refuses it (EINVAL) whenever
the new namespace's number, which comes from a per-CPU counter, happens to be lower than ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nodeipam_ctl.demo.processes import LabError, run

MACHINES = Path("/run/nodeipam/machines")
ENTER = Path("/run/nodeipam/on")

# /run, /etc/cni and /var/lib/cni are the machine's own. A directory that the host does not have cannot be made there: the
# host's files are not ours. So its parent is then replaced by a tmpfs of links to what is really in it.
_BOOT = """
set -eu
own() {  # own DIRECTORY SOURCE: the machine sees SOURCE as DIRECTORY
    if [ ! -d "$1" ]; then
        parent=${1%/*} behind=/run/behind${1%/*}
        mkdir -p "$behind"
        mount --rbind "$parent" "$behind"
        mount -t tmpfs -o mode=0755 tmpfs "$parent"
        find "$behind" -mindepth 1 -maxdepth 1 -exec ln -s -t "$parent" {} +
        mkdir "$1"
    fi
    mount --rbind "$2" "$1"
}
hostname "$2"
mount --rbind "$1" /run
mkdir -p /run/netns
own /etc/cni /run/etc-cni
own /var/lib/cni /run/var-lib-cni
ip link set lo up
echo ready
exec sleep infinity
"""

# `nsenter -t PID -a /run/nodeipam/on node-1 ip route` from the host, and the way everything in the demo gets into a node or pod.
_ENTER = f"""#!/bin/sh
# on NODE[/POD] COMMAND...: runs a command inside a node, or inside a pod of that node
where=$1
shift
node=${{where%%/*}}
case $where in
*/*) exec nsenter -t "$(cat {MACHINES}/"$node"/pid)" -m -n -u -r -- nsenter --net=/run/netns/"${{where#*/}}" -- "$@" ;;
*) exec nsenter -t "$(cat {MACHINES}/"$node"/pid)" -m -n -u -r -- "$@" ;;
esac
"""


@dataclass(slots=True, kw_only=True)
class Machine:
    """A running machine.

    Attributes:
        disk: what it keeps in /etc/cni, /var/lib/cni and /run, as the lab sees it.
    """

    name: str
    disk: Path
    holder: asyncio.subprocess.Process = field(repr=False)

    @property
    def cni_conf_dir(self) -> Path:
        """Its /etc/cni/net.d, as the lab sees it."""
        return self.disk / "etc-cni" / "net.d"

    @property
    def netns(self) -> Path:
        """Its network namespace, as the lab sees it."""
        return Path(f"/proc/{self.holder.pid}/ns/net")

    def inside(self, *argv: str, pod: str = "") -> list[str]:
        """The command line that runs `argv` in this machine, or in the network of one of its pods."""
        return [str(ENTER), f"{self.name}/{pod}" if pod else self.name, *argv]

    async def off(self) -> None:
        """Pulls the plug: its devices, routes and mounts go with the last process in it."""
        if self.holder.returncode is None:
            self.holder.kill()
        await self.holder.wait()


def lay_entrance() -> None:
    """Writes the `on` script; once, before the first machine."""
    MACHINES.mkdir(parents=True, exist_ok=True)
    ENTER.write_text(_ENTER)
    ENTER.chmod(0o755)


async def boot(name: str) -> Machine:
    """A machine with a loopback device and nothing else.

    Raises:
        LabError: it did not come up; the message has the command that failed.
    """
    disk = MACHINES / name
    for directory in ("etc-cni/net.d", "var-lib-cni"):
        (disk / directory).mkdir(parents=True, exist_ok=True)
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--net", "--uts", "--"),
        *("sh", "-c", _BOOT, "boot", str(disk), name),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stderr is not None
    if await holder.stdout.readline() != b"ready\n":
        words = (await holder.stderr.read()).decode(errors="replace")
        await holder.wait()
        raise LabError(f"{name} did not come up: {' '.join(words.split())}")
    (disk / "pid").write_text(f"{holder.pid}\n")
    return Machine(name=name, disk=disk, holder=holder)


async def sysctl(machine: Machine, settings: Sequence[tuple[str, str]], *, pod: str = "") -> None:
    """Writes kernel settings, `net.ipv6.conf.all.accept_dad` style, in order."""
    lines = "".join(f"echo {value} >/proc/sys/{key.replace('.', '/')}\n" for key, value in settings)
    await run(machine.inside("sh", "-ec", lines, pod=pod))

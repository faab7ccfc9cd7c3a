"""How does a container runtime attach a pod? It runs the plug-ins of a conflist, one after the other.

The CNI specification 1.0.0, sections 2-4, as libcni does it: for ADD in order, each plug-in given the result of the one before;
for DEL in reverse, each given the result of the ADD.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from nodeipam_ctl.demo.processes import LabError, attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One interface of one pod.

    Attributes:
        netns: the pod's network namespace, as the plug-ins see it.
        capabilities: what the runtime offers to plug-ins that declare it, by capability: `{"portMappings": [...]}`.
    """

    container_id: str
    netns: Path
    interface: str = "eth0"
    capabilities: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Runs plug-ins on one node.

    Attributes:
        inside: wraps a command line so that it runs on that node.
        plugin_dir: where the node has its plug-ins.
        conf_dir: the node's /etc/cni/net.d, as we see it.
    """

    inside: Callable[..., list[str]]
    plugin_dir: Path
    conf_dir: Path

    async def add(self, attachment: Attachment) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Attaches a pod; the addresses it got.

        Raises:
            LabError: no conflist, or a plug-in refused; the message has its words.
        """
        conflist = self._conflist()
        result: dict[str, Any] | None = None
        for plugin in conflist["plugins"]:
            result = json.loads(await self._run("ADD", conflist, plugin, attachment, result))
        assert result is not None
        self._result_file(attachment).write_text(json.dumps(result))
        return tuple(ip_interface(ip["address"]) for ip in result.get("ips", ()))

    async def delete(self, attachment: Attachment) -> None:
        """Detaches a pod.

        Raises:
            LabError: no conflist, or a plug-in refused; the message has its words.
        """
        conflist = self._conflist()
        file = self._result_file(attachment)
        result = json.loads(file.read_text()) if file.exists() else None
        for plugin in reversed(conflist["plugins"]):
            await self._run("DEL", conflist, plugin, attachment, result)
        file.unlink(missing_ok=True)

    def ready(self) -> bool:
        """Whether there is a conflist: until then a kubelet says NetworkPluginNotReady."""
        return bool(self._candidates())

    def _candidates(self) -> Sequence[Path]:
        return sorted(
            p for p in self.conf_dir.iterdir() if p.suffix == ".conflist" and not p.name.startswith(".")
        )

    def _conflist(self) -> dict[str, Any]:
        candidates = self._candidates()
        if not candidates:
            raise LabError(f"{self.conf_dir} has no conflist: the agent has not written one")
        conflist = json.loads(candidates[0].read_text())  # as containerd: the first in the order of names
        assert isinstance(conflist, dict)
        return conflist

    def _result_file(self, attachment: Attachment) -> Path:
        # libcni keeps it in /var/lib/cni/results; anywhere that survives the runtime's restart is right.
        directory = self.conf_dir.parent / "results"
        directory.mkdir(exist_ok=True)
        return directory / f"{attachment.container_id}-{attachment.interface}.json"

    async def _run(
        self,
        command: str,
        conflist: dict[str, Any],
        plugin: dict[str, Any],
        at: Attachment,
        result: dict[str, Any] | None,
    ) -> str:
        declared = plugin.get("capabilities", {})
        offered = {name: value for name, value in at.capabilities.items() if declared.get(name)}
        config = {k: v for k, v in plugin.items() if k != "capabilities"}
        config |= {"name": conflist["name"], "cniVersion": conflist["cniVersion"]}
        config |= {"runtimeConfig": offered} if offered else {}
        config |= {"prevResult": result} if result is not None else {}
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": at.container_id,
            "CNI_NETNS": str(at.netns),
            "CNI_IFNAME": at.interface,
            "CNI_PATH": str(self.plugin_dir),
        }
        argv = self.inside(
            "env", *(f"{k}={v}" for k, v in variables.items()), str(self.plugin_dir / plugin["type"])
        )
        output = await attempt(argv, stdin=json.dumps(config))
        if output.code != 0:
            raise LabError(
                f"CNI {command} of {at.container_id} by {plugin['type']}: {_words(output.stdout, output.stderr)}"
            )
        return output.stdout


def _words(stdout: str, stderr: str) -> str:
    # A plug-in reports its error as JSON on standard output (section 5 of the specification), if it comes so far.
    try:
        error = json.loads(stdout)
        return f"{error['msg']} {error.get('details', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return " ".join((stderr or stdout).split()) or "no output"

"""What would a container runtime do with a container of the chart? The same, in a Debian root and on one network namespace.

A rendered Pod says it all: image user, arguments, environment, mounts, capabilities, read-only root. seccomp is the one
thing that is not imitated.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.charts.chart import Manifest
from tests.charts.dockerfile import Stage
from tests.linux.namespaces import Namespace

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the kubelet of one node knows.

    Attributes:
        root: the image's files; never written to.
        disk: stands for the host's file system.
        account: files of the ServiceAccount's projected volume, by name.
    """

    name: str
    address: str
    network: Namespace
    image: Stage
    root: Path
    disk: Path
    account: Mapping[str, str] = field(repr=False)
    api_server: tuple[str, int]

    def start(self, pod: Manifest, container: Manifest, **options: Any) -> subprocess.Popen[str]:
        """Starts a container of a Pod's spec; it dies with this process, and with it everything it mounted."""
        script = "\n".join(
            [*self._mounts(pod, container), f"exec {shlex.join(self._command(pod, container))}"]
        )
        spaces = [
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.network.inside(*spaces, "/bin/sh", "-euc", script)],
            text=True,
            env=self._environment(container),
            **options,
        )

    def run(self, pod: Manifest, container: Manifest) -> None:
        """Runs a container to its end, as an init container."""
        process = self.start(pod, container, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said

    def _mounts(self, pod: Manifest, container: Manifest) -> list[str]:
        """The container's file system, on a tmpfs over the image: mount points appear without touching the image."""
        root = shlex.quote(str(self.root))
        sources = {volume["name"]: volume["hostPath"]["path"] for volume in pod.get("volumes", [])}
        lines = [
            "mount -t tmpfs -o mode=0755 tmpfs /mnt",
            "mkdir /mnt/up /mnt/work /mnt/root /mnt/account",
            f"mount -t overlay -o lowerdir={root},upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/root",
            "mount -t proc proc /mnt/root/proc; mount -t sysfs -o ro sysfs /mnt/root/sys",
            # As every runtime does for what is not privileged (`readonlyPaths` of the OCI runtime specification).
            "mount --bind /mnt/root/proc/sys /mnt/root/proc/sys; mount -o remount,bind,ro /mnt/root/proc/sys",
        ]
        for mount in container.get("volumeMounts", []):
            host = sources[mount["name"]]
            source = host if host.startswith("/proc/") else f"{self.disk}{host}"
            lines.append(_bind(source, mount["mountPath"]))
        for name, text in self.account.items():
            lines.append(f"printf %s {shlex.quote(text)} >/mnt/account/{name}")
        lines.append(_bind("/mnt/account", _ACCOUNT))
        if container["securityContext"]["readOnlyRootFilesystem"]:
            lines.append("mount -o remount,ro /mnt/root")
        return lines

    def _command(self, pod: Manifest, container: Manifest) -> list[str]:
        context = {**pod.get("securityContext", {}), **container["securityContext"]}
        user, group = context.get("runAsUser"), context.get("runAsGroup")
        if user is None:
            user, group = self.image.user.split(":")
        added = [name.lower() for name in context["capabilities"].get("add", [])]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["allowPrivilegeEscalation"] is False
        allowed = ",".join(["-all", *(f"+{name}" for name in added)])
        identity = [f"--reuid={user}", f"--regid={group or 0}", "--clear-groups"]
        limits = [f"--bounding-set={allowed}", "--inh-caps=-all", "--no-new-privs"]
        argv = [*container.get("command", self.image.entrypoint), *container.get("args", [])]
        known = self._environment(container)
        expanded = [re.sub(r"\$\(([A-Z_]+)\)", lambda found: known[found[1]], word) for word in argv]
        return ["chroot", "/mnt/root", "setpriv", *identity, *limits, "--", *expanded]

    def _environment(self, container: Manifest) -> dict[str, str]:
        fields = {"spec.nodeName": self.name, "status.hostIP": self.address}
        host, port = self.api_server
        found = {
            **self.image.environment,
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": str(port),
        }
        for entry in container.get("env", []):
            source = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            found[entry["name"]] = fields[source] if source else entry["value"]
        return found


def _bind(source: str, target: str) -> str:
    # The target as the container sees it: /var/run is a link to /run, which from out here would be the machine's own.
    found = (
        f"$(chroot /mnt/root /bin/sh -euc 'mkdir -p {shlex.quote(target)}; cd {shlex.quote(target)}; pwd -P')"
    )
    return f"mkdir -p {shlex.quote(source)}; mount --bind {shlex.quote(source)} /mnt/root{found}"

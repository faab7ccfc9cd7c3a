"""What would the agent change on this host now? The same turn as the agent's, stopped before anything is applied."""

from __future__ import annotations

import asyncio
import contextlib

from nodeipam_ctl.agent.feed import Feed
from nodeipam_ctl.agent.predecessor_rules import PredecessorRules
from nodeipam_ctl.agent.reconcile import Reconciler, Snapshot, planned
from nodeipam_ctl.agent.surroundings import read_template
from nodeipam_ctl.errors import Transient
from nodeipam_ctl.kube.auth import load as load_access
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.linux import links
from nodeipam_ctl.linux.host import Host
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.backends import wireguard
from nodeipam_ctl.routing.state import Kind, Sysctl
from nodeipam_ctl.routing.wireguard_keys import in_use
from nodeipam_ctl.settings import AgentSettings

_LIST_WITHIN_S = 30.0


async def plan_text(settings: AgentSettings) -> str:
    """The plan, one change a line, and the findings; each change as `+`, `~` or `-`.

    Raises:
        UsageError: a flag, the kubeconfig or the CNI template cannot be used, or privileges are missing.
        Transient: the API server did not answer in time.
    """
    reconciler, snapshot = await _observed(settings)
    plan, findings = await asyncio.to_thread(planned, reconciler, snapshot)
    lines = [str(change) for change in plan.changes]
    lines += await asyncio.to_thread(_left_rules, settings)
    lines += [f"! {finding}" for finding in findings]
    return "\n".join(lines) if lines else "nothing would change"


def _left_rules(settings: AgentSettings) -> list[str]:
    rules = PredecessorRules(settings)
    lines = [
        f"- {tool} -t {table} {line}"
        for tool, table, removed in rules.present()
        for line in removed
        if line[0] == "-"
    ]
    return lines + [f"- ipset {name}" for name in rules.sets()]


async def sysctls_text(settings: AgentSettings) -> str:
    """The kernel settings this node needs, in sysctl.conf's form, with the present value of those that differ.

    Raises:
        UsageError: as above.
        Transient: as above.
    """
    reconciler, snapshot = await _observed(settings)
    _, state, _ = await asyncio.to_thread(reconciler.wish, snapshot)
    present = reconciler.observed().objects
    lines = []
    for setting in state.of_kind(Kind.SYSCTL):
        assert isinstance(setting, Sysctl)
        now = present.get(setting.key)
        shown = f"{setting.name.replace('/', '.')} = {setting.value}"
        if now != setting:
            shown += f"  # now: {now.value if isinstance(now, Sysctl) else 'absent'}"
        lines.append(shown)
    return "\n".join(lines)


async def _observed(settings: AgentSettings) -> tuple[Reconciler, Snapshot]:
    # nftables and WireGuard show nothing to others, and what they say instead names no capability.
    links.require_privileges("nftables cannot even be read")
    access = await load_access(settings.kubeconfig)
    template = read_template(settings)
    host = Host(
        cni_conf_dir=settings.cni_conf_dir,
        proc_sys_dir=settings.proc_sys_dir,
        wireguard_key=wireguard.key_file(settings) if in_use(settings) else None,
    )
    reconciler = Reconciler(settings, host, backends.load(settings.backend), template=template)
    async with Client(access, component="nodeipam-ctl-agent", connections=4) as client:
        heard = asyncio.Event()
        feed = Feed(client, settings, changed=heard.set)
        following = asyncio.create_task(feed.run())
        try:
            async with asyncio.timeout(_LIST_WITHIN_S):
                while not (feed.synced and feed.snapshot().pools_known):
                    await heard.wait()
                    heard.clear()
        except TimeoutError as exc:
            raise Transient(
                f"{access.server}: no complete list of nodes within {_LIST_WITHIN_S:.0f} s: {feed.problem}"
            ) from exc
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        return reconciler, feed.snapshot()

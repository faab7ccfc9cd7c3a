"""How does `nodeipam-ctl agent` read its flags?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from nodeipam_ctl.cli import flags
from nodeipam_ctl.cli.flags import flag
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.backends import NAMES
from nodeipam_ctl.routing.predecessors import PREDECESSORS
from nodeipam_ctl.settings import AgentSettings


@click.command("agent")
@flag("--node-name", required=True, help="The Node that this host is.")
@flags.kubeconfig
@flag("--backend", type=click.Choice(NAMES), default="host-gw", help="How packets reach other nodes.")
@flag(
    "--also-accept",
    type=click.Choice(NAMES),
    multiple=True,
    help="Keep another backend's device up to receive, while nodes change their backend one by one.",
)
@flag(
    "--follow-peers/--no-follow-peers",
    default=True,
    help="Send to a node in the form that it says it runs (host-gw, vxlan, vxlan-gpe), and accept that form.",
)
@flag("--direct-routing", is_flag=True, help="Overlays reach peers on our own subnets without encapsulation.")
@flags.vxlan_vni
@flag(
    "--vxlan-port",
    type=click.IntRange(1, 65535),
    help="UDP port; 8472 for vxlan, 4790 for vxlan-gpe by default.",
)
@flag(
    "--wireguard-port",
    type=click.IntRange(1, 65535),
    default=51820,
    help="UDP port of the WireGuard device, the same on every node.",
)
@flag(
    "--wireguard-keepalive",
    type=click.IntRange(0, 65535),
    default=0,
    help="Seconds after which an idle tunnel sends something, for NAT between nodes; 0 never.",
)
@flags.state_dir
@flag(
    "--feed",
    type=click.Choice(["slices", "nodes"]),
    default="slices",
    help="Where other nodes are learned from: the controller's ledger, or Node objects, whoever allocates.",
)
@flags.cni_conf_dir
@flag(
    "--cni-flavour",
    type=click.Choice(["ptp", "bridge"]),
    default="ptp",
    help="Which built-in conflist is written.",
)
@flag(
    "--cni-template",
    type=flags.NamedFile(),
    help="A conflist of your own, with {{ranges}}, {{routes}}, {{mtu}} and {{dataDir}} in it.",
)
@flag(
    "--cni-data-dir",
    type=flags.NamedDirectory(),
    help="host-local's dataDir; without it, the plug-in's own default.",
)
@flag(
    "--proc-sys-dir",
    type=flags.NamedDirectory(),
    default="/proc/sys",
    help="Where the host's /proc/sys is writable for us; in a container, a mount of the host's.",
)
@flag(
    "--metrics-address",
    default="127.0.0.1:9412",
    help="HOST:PORT of /metrics, /healthz and /readyz; empty serves none.",
)
@flag(
    "--audit-period",
    type=flags.FiniteRange(min=1.0),
    default=45.0,
    help="Seconds between full comparisons with the kernel, besides its events.",
)
@flag(
    "--mass-removal-delay",
    type=flags.FiniteRange(min=0.0),
    default=20.0,
    help="Seconds until a second complete list is asked for, which a mass removal waits for.",
)
@flag(
    "--route-metric",
    type=click.IntRange(1, 2**31),
    default=100,
    help="Metric of our routes; for IPv4, 0 to 63 is added, always the same for a podCIDR.",
)
@flags.route_table
@flags.service_cidr
@flag(
    "--masquerade/--no-masquerade",
    default=True,
    help="Give packets of our pods that leave the pod network the node's address.",
)
@flags.network_flag(
    "--non-masquerade-cidr",
    help="Where pods keep their address, besides the pod network; may be repeated.",
)
@flag(
    "--masquerade-nodes/--no-masquerade-nodes",
    default=True,
    help="The same towards other nodes' own addresses; without, pods reach nodes under their own address.",
)
@flag(
    "--masquerade-host/--no-masquerade-host",
    default=False,
    help="Give what this host itself sends to other nodes' pods the address of the device it leaves by.",
)
@flag(
    "--forward-accept/--no-forward-accept",
    default=True,
    help="Where somebody's forward chain has policy drop, accept the pod network by one jump at its end.",
)
@flag(
    "--adopt",
    type=click.Choice(sorted(PREDECESSORS)),
    help="Take over what another agent left here: its routes, devices, CNI file, nft tables. Stop it first.",
)
@flag(
    "--flannel-compat",
    is_flag=True,
    help="Read and write flanneld's annotations: nodes of both kinds reach each other over vxlan.",
)
@flags.subnet_env
@flags.docker_opts
@flag("--plan", is_flag=True, help="Print what would change on this host now, and change nothing.")
@flag("--print-sysctls", is_flag=True, help="Print the kernel settings this node needs, and change nothing.")
@flag(
    "--probe",
    type=click.Choice(["off", "icmp", "udp"]),
    default="off",
    help="Ask a few peers now and then whether packets reach their pod network; no route depends on it.",
)
@flag(
    "--probe-interval",
    type=flags.FiniteRange(min=0.1),
    default=30.0,
    help="Seconds between rounds of probes; below 3, kernels' own limits on ICMP look like loss.",
)
@flag("--probe-peers", type=click.IntRange(min=1, max=1000), default=10, help="Peers asked in one round.")
@flag(
    "--network-unavailable/--no-network-unavailable",
    default=True,
    help="Keep the Node's NetworkUnavailable condition true to what is so.",
)
@flag(
    "--taint/--no-taint",
    default=False,
    help="Keep the taint node.kubernetes.io/network-unavailable:NoSchedule as well: for clusters whose node lifecycle "
    "controller does not make it from the condition.",
)
@flags.log_format
@flags.log_level
def command(
    *,
    node_name: str,
    kubeconfig: Path | None,
    backend: str,
    also_accept: tuple[str, ...],
    follow_peers: bool,
    direct_routing: bool,
    vxlan_vni: int,
    vxlan_port: int | None,
    wireguard_port: int,
    wireguard_keepalive: int,
    state_dir: Path,
    feed: str,
    cni_conf_dir: Path,
    cni_flavour: str,
    cni_template: Path | None,
    cni_data_dir: Path | None,
    proc_sys_dir: Path,
    metrics_address: str,
    audit_period: float,
    mass_removal_delay: float,
    route_metric: int,
    route_table: int,
    service_cidr: tuple[Network, ...],
    masquerade: bool,
    non_masquerade_cidr: tuple[Network, ...],
    masquerade_nodes: bool,
    masquerade_host: bool,
    forward_accept: bool,
    adopt: str | None,
    flannel_compat: bool,
    subnet_env: Path | None,
    docker_opts: Path | None,
    plan: bool,
    print_sysctls: bool,
    probe: str,
    probe_interval: float,
    probe_peers: int,
    network_unavailable: bool,
    taint: bool,
    log_format: str,
    log_level: str,
) -> int:
    """Program this node: routes to other nodes' pods, kernel settings and CNI configuration."""
    from nodeipam_ctl.agent import app  # aiohttp: not for --help
    from nodeipam_ctl.telemetry import logs

    logs.set_up(log_format=log_format, log_level=log_level)
    if not proc_sys_dir.is_dir():
        raise UsageError(
            f"--proc-sys-dir {proc_sys_dir}: no such directory; mount the host's /proc/sys there"
        )
    settings = AgentSettings(
        node_name=flags.object_name("--node-name", node_name),
        kubeconfig=kubeconfig,
        backend=backend,
        also_accept=also_accept,
        follow_peers=follow_peers,
        direct_routing=direct_routing,
        vxlan_vni=vxlan_vni,
        vxlan_port=vxlan_port,
        wireguard_port=wireguard_port,
        wireguard_keepalive_s=wireguard_keepalive,
        state_dir=state_dir,
        feed=feed,
        cni_conf_dir=cni_conf_dir,
        cni_flavour=cni_flavour,
        cni_template=cni_template,
        cni_data_dir=cni_data_dir,
        proc_sys_dir=proc_sys_dir,
        metrics_address=metrics_address or None,
        audit_period_s=audit_period,
        mass_removal_delay_s=mass_removal_delay,
        route_metric=route_metric,
        route_table=route_table,
        service_cidrs=service_cidr,
        masquerade=masquerade,
        non_masquerade_cidrs=non_masquerade_cidr,
        masquerade_nodes=masquerade_nodes,
        masquerade_host=masquerade_host,
        forward_accept=forward_accept,
        adopt=adopt or "",
        flannel_compat=flannel_compat,
        subnet_env=subnet_env,
        docker_opts=docker_opts,
        probe=probe,
        probe_interval_s=probe_interval,
        probe_peers=probe_peers,
        network_unavailable=network_unavailable,
        taint=taint,
        log_format=log_format,
        log_level=log_level,
    )
    if plan or print_sysctls:
        from nodeipam_ctl.agent import preview

        print(asyncio.run(preview.plan_text(settings) if plan else preview.sysctls_text(settings)))
        return 0
    asyncio.run(app.run(settings))
    return 0

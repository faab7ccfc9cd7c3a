"""What can be set, and to what by default? One frozen record per program, filled by the command line and nothing else.

Every flag has an environment variable: `--node-name` is `NODEIPAM_NODE_NAME`. `cli/flags.py` reads both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

ENVIRONMENT_PREFIX = "NODEIPAM"

ROUTE_PROTOCOL = 112
"""rtnetlink protocol number of our routes: our mark of ownership (free in iproute2's rt_protos)."""

API_GROUP = "nodeipam.dev"
API_VERSION = "v1alpha1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """The leader's Lease, in seconds; the deadlines leave room for one renewal to hang and be cut."""

    namespace: str = "kube-system"
    name: str = "nodeipam-ctl-controller"
    duration_s: float = 15.0
    renew_deadline_s: float = 8.0
    request_timeout_s: float = 2.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """The controller.

    Attributes:
        kubeconfig: None reads the service account of the Pod.
        metrics_address: HOST:PORT of /metrics, /healthz and /readyz; port 0 lets the kernel choose; None serves none.
        batch_window_s: the least time between two batches of nodes that are decided together; one node alone does not wait.
        patches_in_flight: how many Node patches may be under way at once.
        service_cidrs: ranges of Services, beside those of ServiceCIDR objects; never handed out.
        allocate: False only mirrors into the ledger what others allocate.
        ledger: False patches Nodes without writing the promise first; unsafe when two controllers lead, for measurements.
    """

    kubeconfig: Path | None = None
    leader_elect: bool = True
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    identity: str = ""
    metrics_address: str | None = "127.0.0.1:9411"
    batch_window_s: float = 0.010
    patches_in_flight: int = 32
    service_cidrs: tuple[IPv4Network | IPv6Network, ...] = ()
    allocate: bool = True
    ledger: bool = True
    log_format: str = "auto"
    log_level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The agent of one node.

    Attributes:
        kubeconfig: None reads the service account of the Pod.
        feed: "slices" reads the controller's ledger, "nodes" Node objects, whoever allocates.
        metrics_address: as in the controller.
        audit_period_s: how often the whole host state is compared again, without any event; jittered by 20 %.
        mass_removal_delay_s: after how long a second complete list is asked for when a mass removal is held.
        route_metric: metric of our routes, to which IPv4 adds up to 63; never 0, which IPv6 would turn into 1024.
        service_cidrs: ranges that no peer may claim.
        cni_flavour: which built-in conflist, "ptp" or "bridge"; `cni_template` replaces both.
        cni_data_dir: host-local's dataDir; None is the plugin's own default, which is one for the whole machine.
        proc_sys_dir: where the kernel's settings can be written; a container's own /proc/sys is read-only unless privileged.
        masquerade: give packets of our pods that leave the pod network the node's address.
        non_masquerade_cidrs: where pods keep their address besides the pod network itself.
        masquerade_nodes: also towards other nodes' own addresses; False when they know the way back to pods.
        masquerade_host: also what the host itself sends to other nodes' pods, from whichever address of its own.
        forward_accept: make chains of others that drop forwarded packets accept those of the pod network.
        vxlan_vni: VXLAN network identifier; flannel's default is 1.
        vxlan_port: UDP port; None is the backend's own default (8472 for vxlan, 4790 for vxlan-gpe).
        wireguard_port: UDP port of the WireGuard device, the same on every node.
        wireguard_keepalive_s: how often an idle tunnel sends something, for NAT and firewalls between nodes; 0 never.
        state_dir: where the agent keeps what must outlive it: the WireGuard key.
        direct_routing: an overlay reaches peers on our own subnets without encapsulation.
        also_accept: backends whose devices are kept up to receive, while a cluster changes its backend node by node.
        follow_peers: send to a node in the form that it says it runs, and accept that form.
        adopt: whose routes, devices and files are taken over: flannel, kube-router or kindnet; empty for nobody's.
        flannel_compat: read and write flanneld's annotations, so that nodes of both kinds reach each other over vxlan.
        subnet_env: where flannel's CNI plugin looks for our values; None writes none.
        docker_opts: an environment file with options for dockerd; None writes none.
        probe: how peers are asked whether packets reach them: "icmp", "udp", or "off"; never affects a route.
        probe_interval_s: how long from one round of probes to the next, in seconds; jittered by 20 %.
        probe_peers: how many peers a round asks, besides as many that did not answer.
        network_unavailable: keep the Node's NetworkUnavailable condition true to reality; off when a cloud does it.
        taint: keep the taint node.kubernetes.io/network-unavailable:NoSchedule as well, where no node lifecycle controller does.
    """

    node_name: str
    kubeconfig: Path | None = None
    backend: str = "host-gw"
    feed: str = "slices"
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_flavour: str = "ptp"
    cni_template: Path | None = None
    cni_data_dir: Path | None = None
    proc_sys_dir: Path = Path("/proc/sys")
    metrics_address: str | None = "127.0.0.1:9412"
    audit_period_s: float = 45.0
    mass_removal_delay_s: float = 20.0
    route_metric: int = 100
    route_table: int = 254
    service_cidrs: tuple[IPv4Network | IPv6Network, ...] = ()
    masquerade: bool = True
    non_masquerade_cidrs: tuple[IPv4Network | IPv6Network, ...] = ()
    masquerade_nodes: bool = True
    masquerade_host: bool = False
    forward_accept: bool = True
    vxlan_vni: int = 1
    vxlan_port: int | None = None
    wireguard_port: int = 51820
    wireguard_keepalive_s: int = 0
    state_dir: Path = Path("/var/lib/nodeipam")
    direct_routing: bool = False
    also_accept: tuple[str, ...] = ()
    follow_peers: bool = True
    adopt: str = ""
    flannel_compat: bool = False
    subnet_env: Path | None = None
    docker_opts: Path | None = None
    probe: str = "off"
    probe_interval_s: float = 30.0
    probe_peers: int = 10
    network_unavailable: bool = True
    taint: bool = False
    log_format: str = "auto"
    log_level: str = "info"

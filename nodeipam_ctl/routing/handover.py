"""Which files do other programs read our values from? flannel's subnet.env for its CNI plugin, and options for dockerd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nodeipam_ctl.prefixes import Family, Network, family_of
from nodeipam_ctl.routing.state import HostFile
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings


def files(
    own: Peer, ranges: Iterable[Network], mtu_bytes: int, settings: AgentSettings
) -> Iterator[HostFile]:
    """The files that the settings ask for."""
    if settings.subnet_env is not None:
        text = subnet_env(own, ranges, mtu_bytes, masquerade=settings.masquerade)
        yield HostFile(path=str(settings.subnet_env), text=text)
    if settings.docker_opts is not None:
        yield HostFile(
            path=str(settings.docker_opts), text=docker_opts(own, mtu_bytes, masquerade=settings.masquerade)
        )


def subnet_env(own: Peer, ranges: Iterable[Network], mtu_bytes: int, *, masquerade: bool) -> str:
    """/run/flannel/subnet.env as flanneld writes it (pkg/subnet, WriteSubnetFile).

    SUBNET is the first host address, not the network's; NETWORK may be several, separated by commas.
    """
    known = tuple(ranges)
    lines = []
    for family, word in ((Family.IPV4, "FLANNEL"), (Family.IPV6, "FLANNEL_IPV6")):
        mine = own.pod_cidrs_of(family)
        if mine:
            networks = [cidr for cidr in known if family_of(cidr) is family] or list(mine)
            lines.append(f"{word}_NETWORK={','.join(map(str, networks))}")
            lines.append(f"{word}_SUBNET={_bridge_address(mine[0])}")
    lines.append(f"FLANNEL_MTU={mtu_bytes}")
    lines.append(f"FLANNEL_IPMASQ={str(masquerade).lower()}")
    return "\n".join(lines) + "\n"


def docker_opts(own: Peer, mtu_bytes: int, *, masquerade: bool) -> str:
    """An environment file for dockerd's unit, as flannel's mk-docker-opts.sh writes it; docker masquerades only when we do not."""
    options = []
    for family, word in ((Family.IPV4, "bip"), (Family.IPV6, "fixed-cidr-v6")):
        mine = own.pod_cidrs_of(family)
        if mine:
            options.append((word, _bridge_address(mine[0]) if family is Family.IPV4 else str(mine[0])))
    options += [("ip-masq", str(not masquerade).lower()), ("mtu", str(mtu_bytes))]
    lines = [f'DOCKER_OPT_{word.upper().replace("-", "_")}="--{word}={value}"' for word, value in options]
    together = " ".join(f"--{word}={value}" for word, value in options)
    return "\n".join([*lines, f'DOCKER_OPTS=" {together}"']) + "\n"


def _bridge_address(cidr: Network) -> str:
    return f"{cidr.network_address + 1}/{cidr.prefixlen}"

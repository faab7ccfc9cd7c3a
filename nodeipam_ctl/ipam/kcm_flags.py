"""Which ClusterCIDR do kube-controller-manager's flags stand for? For `nodeipam-ctl import`.

Source: setNodeCIDRMaskSizes in cmd/kube-controller-manager/app/core.go of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, PoolName
from nodeipam_ctl.prefixes import Family, Network, family_of, parse_network

DEFAULT_NAME: Final = PoolName("default-cluster-cidr")
DEFAULT_MASK: Final = {Family.IPV4: 24, Family.IPV6: 64}
_MASK_FLAGS: Final = {
    "node-cidr-mask-size": None,
    "node-cidr-mask-size-ipv4": Family.IPV4,
    "node-cidr-mask-size-ipv6": Family.IPV6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KcmFlags:
    """The flags that matter here; a mask size of None was not given."""

    cluster_cidrs: tuple[Network, ...] = ()
    service_cidrs: tuple[Network, ...] = ()
    mask_size: int | None = None
    mask_size_ipv4: int | None = None
    mask_size_ipv6: int | None = None


def parse_flags(words: Sequence[str]) -> KcmFlags:
    """The flags out of a kube-controller-manager command line; those that do not matter here are passed over.

    Raises:
        UsageError: a value is missing or makes no sense.
    """
    flags = KcmFlags()
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if name not in {"cluster-cidr", "service-cluster-ip-range", *_MASK_FLAGS}:
            continue
        if not equals:
            if not rest:
                raise UsageError(f"--{name} has no value; write --{name}=VALUE")
            value = rest.pop(0)
        if name in _MASK_FLAGS:
            flags = _with_mask(flags, name, value)
        elif name == "cluster-cidr":
            flags = replace(flags, cluster_cidrs=_networks(name, value))
        else:
            flags = replace(flags, service_cidrs=_networks(name, value))
    return flags


def mask_sizes(flags: KcmFlags) -> tuple[int, ...]:
    """The length of a node's block for each range, in the order of the ranges.

    Raises:
        UsageError: flags that kube-controller-manager itself refuses.
    """
    families = [family_of(cidr) for cidr in flags.cluster_cidrs]
    if not families:
        raise UsageError(
            "--cluster-cidr is missing; give the range the cluster uses, like --cluster-cidr=10.244.0.0/16"
        )
    if len(families) > 2 or len(set(families)) < len(families):
        raise UsageError(
            f"--cluster-cidr names {len(families)} ranges; it takes one, or one of each family. Further ranges are "
            "appended to the ClusterCIDR after the import"
        )
    given = {Family.IPV4: flags.mask_size_ipv4, Family.IPV6: flags.mask_size_ipv6}
    if flags.mask_size is not None:
        if len(families) > 1:
            raise UsageError(
                "--node-cidr-mask-size cannot be used with two ranges; use --node-cidr-mask-size-ipv4 and -ipv6"
            )
        if any(size is not None for size in given.values()):
            raise UsageError(
                "--node-cidr-mask-size cannot be used with the flag of one family; leave one of them out"
            )
        given[families[0]] = flags.mask_size
    for family, size in given.items():
        if size is not None and family not in families:
            raise UsageError(
                f"--node-cidr-mask-size-{family.lower()} is given, but no range is {family}; leave the flag out"
            )
    sizes = tuple(given[family] or DEFAULT_MASK[family] for family in families)
    for cidr, size in zip(flags.cluster_cidrs, sizes, strict=True):
        if not cidr.prefixlen <= size <= cidr.max_prefixlen:
            raise UsageError(
                f"a node block of /{size} does not fit into {cidr}; use a mask size from {cidr.prefixlen} to "
                f"{cidr.max_prefixlen}"
            )
    return sizes


def cluster_cidr(flags: KcmFlags, *, name: PoolName = DEFAULT_NAME) -> ClusterCIDR:
    """The one ClusterCIDR that goes on where these flags stop; it serves every node and keeps each family's own mask.

    Raises:
        UsageError: as `mask_sizes`.
    """
    return ClusterCIDR(
        name=name,
        families={
            family_of(cidr): FamilySpec(cidrs=(cidr,), node_mask_size=size)
            for cidr, size in zip(flags.cluster_cidrs, mask_sizes(flags), strict=True)
        },
    )


def _with_mask(flags: KcmFlags, name: str, value: str) -> KcmFlags:
    if not (value.isascii() and value.isdigit()):
        raise UsageError(f"--{name} is {value!r}; write a prefix length like 24")
    size = int(value) or None  # 0 means that the flag is not set, as in kube-controller-manager
    family = _MASK_FLAGS[name]
    if family is None:
        return replace(flags, mask_size=size)
    return (
        replace(flags, mask_size_ipv4=size) if family is Family.IPV4 else replace(flags, mask_size_ipv6=size)
    )


def _networks(name: str, value: str) -> tuple[Network, ...]:
    try:
        return tuple(parse_network(text.strip()) for text in value.split(",") if text.strip())
    except ValueError as exc:
        raise UsageError(f"--{name}: {exc}") from exc

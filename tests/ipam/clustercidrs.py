"""ClusterCIDRs written in one line, and networks as a node shows them."""

from __future__ import annotations

from dataclasses import replace

from nodeipam_ctl.model import ClusterCIDR, FamilySpec, PoolName
from nodeipam_ctl.prefixes import Family, Network
from tests.ipam.cases import networks


def v4(
    name: str, *cidrs: str, mask: int = 24, exclude: tuple[str, ...] = (), **fields: object
) -> ClusterCIDR:
    spec = FamilySpec(cidrs=networks(cidrs), node_mask_size=mask, exclude=networks(exclude))
    made = ClusterCIDR(name=PoolName(name), families={Family.IPV4: spec}, reuse_delay_s=0.0)
    return replace(made, **fields)  # type: ignore[arg-type]  # fields by name


def dual(name: str, four: str, mask4: int, six: str, mask6: int) -> ClusterCIDR:
    families = {
        Family.IPV4: FamilySpec(cidrs=networks([four]), node_mask_size=mask4),
        Family.IPV6: FamilySpec(cidrs=networks([six]), node_mask_size=mask6),
    }
    return ClusterCIDR(name=PoolName(name), families=families, reuse_delay_s=0.0)


def got(*texts: str) -> tuple[Network, ...]:
    return networks(texts)

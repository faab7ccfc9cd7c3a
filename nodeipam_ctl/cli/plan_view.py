"""How is a plan shown? Outlooks, groups and previews as tables and as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from nodeipam_ctl.cli.render import Document, count, finding_document, findings_table, safe, span, table
from nodeipam_ctl.ipam.forecast import KUBELET_MAX_PODS, Outlook
from nodeipam_ctl.ipam.groups import Group
from nodeipam_ctl.ipam.pools import unusable
from nodeipam_ctl.ipam.preview import Preview
from nodeipam_ctl.ipam.selectors import canonical
from nodeipam_ctl.kube.wire.envelope import rfc3339
from nodeipam_ctl.kube.wire.manifests import spec_of
from nodeipam_ctl.model import ClusterCIDR, Finding, PoolName
from nodeipam_ctl.plan import Change, Op
from nodeipam_ctl.prefixes import Family

_SIGN = {Op.ADD: "+", Op.REPLACE: "~", Op.REMOVE: "-"}
_LAST_DATE_S = 253402300799.0
"""The end of the year 9999, after which RFC 3339 has no dates, in seconds since the epoch."""


def state(pool: ClusterCIDR, outlook: Outlook) -> str:
    """What a ClusterCIDR does now, in one word."""
    if unusable(pool) is not None:
        return "invalid"
    if pool.terminating:
        return "terminating"
    if pool.disabled:
        return "disabled"
    return "open" if outlook.fits else "full"


def pool_documents(pools: Sequence[ClusterCIDR], outlooks: Sequence[Outlook], now_s: float) -> list[Document]:
    """ClusterCIDRs with their outlooks as data."""
    by_name = {pool.name: pool for pool in pools}
    return [_pool_document(by_name[o.pool], o, now_s) for o in outlooks]


def group_document(group: Group) -> Document:
    """Nodes that are served alike as data."""
    return {
        "clusterCIDRs": list(group.pools),
        "example": group.example,
        "nodes": group.nodes,
        "withoutPodCIDRs": group.without,
        "fits": group.fits,
        "fitsIsExact": group.exact,
    }


def preview_document(seen: Preview) -> Document:
    """A preview as data."""
    before = {outlook.pool: outlook for outlook in seen.before}
    return {
        "changes": [
            {
                "op": change.op.value,
                "clusterCIDR": change.key,
                "fields": [
                    {"field": field, "before": old, "after": new} for field, old, new in _fields(change)
                ],
            }
            for change in seen.changes.changes
        ],
        "nodes": {
            "served": [
                {"node": a.node, "clusterCIDR": a.pool, "podCIDRs": [str(c) for c in a.pod_cidrs]}
                for a in seen.effect.served
            ],
            "stranded": list(seen.effect.stranded),
            "orphaned": [{"node": node, "podCIDR": str(cidr)} for node, cidr in seen.effect.orphaned],
            "adopted": [{"node": node, "podCIDR": str(cidr)} for node, cidr in seen.effect.adopted],
            "moved": [{"node": node, "clusterCIDR": pool} for node, pool in seen.effect.moved],
        },
        "findings": {
            "appearing": [finding_document(finding) for finding in seen.appearing],
            "vanishing": [finding_document(finding) for finding in seen.vanishing],
        },
        "clusterCIDRs": [
            {
                "name": after.pool,
                "nodes": after.nodes,
                "waiting": after.waiting,
                "fits": after.fits,
                "fitsBefore": before[after.pool].fits if after.pool in before else None,
                "podsPerNode": after.pods_per_node,
            }
            for after in seen.effect.outlooks
        ],
    }


def outlook_text(
    pools: Sequence[ClusterCIDR],
    outlooks: Sequence[Outlook],
    alike: Sequence[Group],
    problems: Sequence[Finding],
    *,
    window_s: float,
) -> str:
    """The present and the near future as tables."""
    if not pools:
        parts = ["no ClusterCIDR exists; create one (kubectl explain clustercidr.spec)"]
    else:
        by_name = {pool.name: pool for pool in pools}
        known = [(by_name[outlook.pool], outlook) for outlook in outlooks]
        parts = [
            table(
                (
                    "CLUSTERCIDR",
                    "SELECTOR",
                    "STATE",
                    "NODES",
                    "WAITING",
                    "FITS",
                    "PODS/NODE",
                    "NEW",
                    "FULL",
                ),
                (_pool_row(pool, outlook, window_s) for pool, outlook in known),
            ),
            table(
                (
                    "CLUSTERCIDR",
                    "FAMILY",
                    "RANGES",
                    "MASK",
                    "CAPACITY",
                    "USED",
                    "RESTING",
                    "EXCLUDED",
                    "FREE",
                ),
                (row for pool, outlook in known for row in _family_rows(pool, outlook)),
            ),
        ]
    if alike:
        parts.append(
            table(
                ("NODES SERVED BY", "NODES", "WITHOUT", "FITS", "SUCH AS"),
                (
                    (
                        ", then ".join(group.pools) or "none",
                        group.nodes,
                        group.without,
                        count(group.fits) if group.exact else f"at most {count(group.fits)}",
                        group.example,
                    )
                    for group in alike
                ),
            )
        )
    if any(outlook.pods_per_node > KUBELET_MAX_PODS for outlook in outlooks):
        parts.append(
            f"PODS/NODE counts addresses; a kubelet runs {KUBELET_MAX_PODS} pods unless its maxPods says otherwise."
        )
    if problems:
        parts.append(findings_table(problems))
    return "\n\n".join(parts)


def preview_text(seen: Preview) -> str:
    """What would change, as a diff, and the capacity before and after."""
    lines = list(_diff_lines(seen))
    if not seen.changes:
        return "no change: the cluster says the same already"
    before = {outlook.pool: outlook for outlook in seen.before}
    capacity = table(
        ("CLUSTERCIDR", "NODES", "WAITING", "FITS", "FITS BEFORE", "PODS/NODE"),
        (
            (
                after.pool,
                after.nodes,
                after.waiting,
                count(after.fits),
                count(before[after.pool].fits) if after.pool in before else "-",
                _pods(after),
            )
            for after in seen.effect.outlooks
        ),
    )
    return "\n".join(lines) + f"\n\n{capacity}"


def _diff_lines(seen: Preview) -> Iterator[str]:
    for change in seen.changes.changes:
        yield safe(f"{_SIGN[change.op]} clustercidr/{change.key}")
        for field, old, new in _fields(change):
            if old is not None:
                yield safe(f"-   {field}: {json.dumps(old)}")
            if new is not None:
                yield safe(f"+   {field}: {json.dumps(new)}")
    for served in seen.effect.served:
        cidrs = ", ".join(map(str, served.pod_cidrs))
        yield safe(f"+ node/{served.node}: waits now, would get {cidrs} from {served.pool}")
    for node, cidr in seen.effect.adopted:
        yield safe(f"+ node/{node}: its podCIDR {cidr} would come under a ClusterCIDR")
    for node, pool in seen.effect.moved:
        yield safe(f"~ node/{node}: would be counted under {pool}; it keeps its podCIDRs")
    for node in seen.effect.stranded:
        yield safe(f"- node/{node}: is about to get podCIDRs, would get none")
    for node, cidr in seen.effect.orphaned:
        yield safe(
            f"- node/{node}: its podCIDR {cidr} would be in no ClusterCIDR; it keeps it, and it is never handed out"
        )
    for finding in seen.vanishing:
        yield safe(f"- {finding.severity} {finding.code} {finding.subject}: {finding.message}")
    for finding in seen.appearing:
        yield safe(f"+ {finding.severity} {finding.code} {finding}")


def _fields(change: Change[PoolName, ClusterCIDR]) -> Iterator[tuple[str, object, object]]:
    """Each field of the spec that differs: its name, and what it says before and after (None: nothing)."""
    old = _flat(spec_of(change.before)) if change.before is not None else {}
    new = _flat(spec_of(change.after)) if change.after is not None else {}
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)


def _flat(spec: Mapping[str, object]) -> dict[str, object]:
    """The fields of a spec, those of a family one by one."""
    flat: dict[str, object] = {}
    for name, value in spec.items():
        if name in {"ipv4", "ipv6"} and isinstance(value, Mapping):
            flat.update({f"spec.{name}.{inner}": entry for inner, entry in value.items()})
        else:
            flat[f"spec.{name}"] = value
    return flat


def _pool_row(pool: ClusterCIDR, outlook: Outlook, window_s: float) -> tuple[object, ...]:
    if pool.disabled or pool.terminating:
        when = "-"
    elif not outlook.fits:
        when = "now"
    elif outlook.full_in_s is not None:
        when = f"in {span(outlook.full_in_s)}"
    else:
        when = "too early to say" if outlook.arrivals else f"no growth seen in {span(window_s)}"
    return (
        pool.name,
        _selector(pool),
        state(pool, outlook),
        outlook.nodes,
        outlook.waiting,
        count(outlook.fits),
        _pods(outlook),
        outlook.arrivals,
        when,
    )


def _family_rows(pool: ClusterCIDR, outlook: Outlook) -> Iterator[tuple[object, ...]]:
    for family in Family:
        usage, spec = outlook.families.get(family), pool.families.get(family)
        if usage is None or spec is None:
            continue
        yield (
            pool.name,
            family,
            ",".join(map(str, spec.cidrs)),
            f"/{spec.node_mask_size}",
            count(usage.capacity),
            count(usage.allocated),
            count(usage.resting),
            count(usage.excluded),
            count(usage.free),
        )


def _pool_document(pool: ClusterCIDR, outlook: Outlook, now_s: float) -> Document:
    full_at_s = None if outlook.full_in_s is None else now_s + outlook.full_in_s
    return {
        "name": pool.name,
        "selector": canonical(pool.selector) if pool.selector is not None else None,
        "priority": pool.priority,
        "state": state(pool, outlook),
        "families": {
            family.value: {
                "ranges": [str(cidr) for cidr in pool.families[family].cidrs],
                "nodeMaskSize": pool.families[family].node_mask_size,
                "capacity": usage.capacity,
                "allocated": usage.allocated,
                "resting": usage.resting,
                "excluded": usage.excluded,
                "free": usage.free,
            }
            for family, usage in outlook.families.items()
        },
        "nodes": outlook.nodes,
        "waiting": outlook.waiting,
        "fits": outlook.fits,
        "podsPerNode": outlook.pods_per_node,
        "newNodes": outlook.arrivals,
        "newNodesPerDay": round(outlook.arrivals_per_s * 86400, 3),
        "fullInSeconds": None if outlook.full_in_s is None else round(outlook.full_in_s),
        "fullAt": rfc3339(full_at_s) if full_at_s is not None and full_at_s < _LAST_DATE_S else None,
    }


def _pods(outlook: Outlook) -> str:
    return count(outlook.pods_per_node)


def _selector(pool: ClusterCIDR) -> str:
    return "<all nodes>" if pool.selector is None else canonical(pool.selector) or "<no node>"

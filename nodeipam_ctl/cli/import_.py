"""`nodeipam-ctl import`: which ClusterCIDRs go on where kube-controller-manager, or upstream's objects, stop?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import click

from nodeipam_ctl.cli import shell
from nodeipam_ctl.cli.flags import flag, object_name
from nodeipam_ctl.cli.render import as_json, as_yaml, count, findings_table, many, safe, say, table
from nodeipam_ctl.cli.snapshot import Snapshot, read
from nodeipam_ctl.errors import AlreadyExists, NodeIPAMError, NotFound, OutcomeUnknown, Permanent, UsageError
from nodeipam_ctl.ipam import kcm_flags
from nodeipam_ctl.ipam.forecast import Outlook, World, outlooks
from nodeipam_ctl.ipam.kcm_flags import DEFAULT_NAME, KcmFlags
from nodeipam_ctl.ipam.preview import with_changes
from nodeipam_ctl.ipam.takeover import Takeover, ours, takeover, without_services
from nodeipam_ctl.kube.client import Client, segment
from nodeipam_ctl.kube.wire.cluster_cidrs import CLUSTER_CIDRS, decode_cluster_cidr
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.kube.wire.manifests import manifest
from nodeipam_ctl.model import ClusterCIDR, PoolName
from nodeipam_ctl.prefixes import Family

_MANAGER = "nodeipam-ctl-import"


@click.command("import")
@flag("--cluster-cidr", default="", help="As kube-controller-manager has it; two ranges for dual stack.")
@flag(
    "--node-cidr-mask-size", default="", help="As kube-controller-manager has it; 24 and 64 when not given."
)
@flag("--node-cidr-mask-size-ipv4", default="", help="As kube-controller-manager has it.")
@flag("--node-cidr-mask-size-ipv6", default="", help="As kube-controller-manager has it.")
@flag(
    "--service-cluster-ip-range",
    default="",
    help="As kube-controller-manager has it: what of it lies in a range is excluded.",
)
@flag(
    "--from-upstream",
    is_flag=True,
    help="Take the networking.x-k8s.io ClusterCIDRs of the cluster instead of flags.",
)
@flag("--name", default=DEFAULT_NAME, help="Name of the ClusterCIDR that is made from flags.")
# No environment variable: what writes must be asked for on the command line.
@click.option("--apply", is_flag=True, help="Create the ClusterCIDRs after showing the plan.")
@shell.kubeconfig
@shell.output
def command(
    *,
    cluster_cidr: str,
    node_cidr_mask_size: str,
    node_cidr_mask_size_ipv4: str,
    node_cidr_mask_size_ipv6: str,
    service_cluster_ip_range: str,
    from_upstream: bool,
    name: str,
    apply: bool,
    kubeconfig: Path | None,
    output: str,
) -> int:
    """Make ClusterCIDRs from kube-controller-manager's flags or upstream's objects, and check that every node fits.

    Prints the plan, and manifests with -o yaml or json. Changes nothing without --apply.
    """
    given = {
        "cluster-cidr": cluster_cidr,
        "node-cidr-mask-size": node_cidr_mask_size,
        "node-cidr-mask-size-ipv4": node_cidr_mask_size_ipv4,
        "node-cidr-mask-size-ipv6": node_cidr_mask_size_ipv6,
        "service-cluster-ip-range": service_cluster_ip_range,
    }
    flags = kcm_flags.parse_flags([f"--{key}={value}" for key, value in given.items() if value])
    if from_upstream and (flags != KcmFlags() or name != DEFAULT_NAME):
        raise UsageError("--from-upstream takes everything from the cluster; leave the other flags out")
    made = None if from_upstream else _from_flags(flags, name)

    async def question(client: Client) -> int:
        snapshot = await read(client)
        world, wanted = _wanted(snapshot, made)
        found = takeover(world, wanted, snapshot.now_s)
        refused = _show(found, world, wanted, snapshot.now_s, output)
        if refused:
            raise Permanent(refused)
        if apply:
            await _apply(client, found.create, quiet=output != "table")
        return 0

    return shell.run(kubeconfig, question)


def _from_flags(flags: KcmFlags, name: str) -> ClusterCIDR:
    if flags == KcmFlags():
        raise UsageError(
            "nothing to import: give --cluster-cidr as kube-controller-manager has it, or --from-upstream"
        )
    named = PoolName(object_name("--name", name))
    return without_services(kcm_flags.cluster_cidr(flags, name=named), flags.service_cidrs)


def _wanted(snapshot: Snapshot, made: ClusterCIDR | None) -> tuple[World, tuple[ClusterCIDR, ...]]:
    """The cluster without what is replaced, and the ClusterCIDRs to create."""
    if any(problem.code == "TypeMissing" for problem in snapshot.problems):
        raise NotFound("the API server does not know ClusterCIDRs; install the CRDs: kubectl apply -f crds/")
    world = snapshot.world()
    if made is not None:
        return world, (made,)
    broken = [
        p
        for p in snapshot.problems
        if p.code == "UnreadableClusterCIDR" and "networking.x-k8s.io/" in p.subject
    ]
    if broken:
        raise Permanent(f"{broken[0]}; nothing was imported")
    upstream = snapshot.upstream()
    dying = [pool.name for pool in upstream if pool.terminating]
    if dying:
        raise Permanent(
            f"ClusterCIDR {dying[0]} is being deleted; wait until it is gone, then import the rest"
        )
    if not upstream:
        raise NotFound(
            "there is no ClusterCIDR of networking.x-k8s.io in this cluster; import from flags instead"
        )
    rest = tuple(pool for pool in world.pools if pool not in upstream)
    return replace(world, pools=rest), tuple(ours(pool) for pool in upstream)


def _show(found: Takeover, world: World, wanted: Sequence[ClusterCIDR], now_s: float, output: str) -> str:
    """Prints the plan; why nothing may be applied, on one line, or "" when all is well."""
    refused = ""
    if found.refusals:
        more = (
            f" ({len(found.refusals)} reasons in all; -o table shows them)" if len(found.refusals) > 1 else ""
        )
        refused = f"refused: {found.refusals[0]}{more}"
    if output == "table":
        after = outlooks(replace(world, pools=with_changes(world.pools, found.create)), now_s)
        say(_text(found, wanted, {outlook.pool: outlook for outlook in after}))
    elif not refused:
        objects = [manifest(pool) for pool in wanted]
        if output == "yaml":
            say(as_yaml(*objects))
        else:
            say(as_json({"apiVersion": "v1", "kind": "List", "items": objects}))
        for warning in found.warnings:  # standard output holds the manifests
            print(safe(f"nodeipam-ctl: warning: {warning}"), file=sys.stderr)
    return refused


def _text(found: Takeover, wanted: Sequence[ClusterCIDR], after: dict[PoolName, Outlook]) -> str:
    made = {pool.name for pool in found.create}
    rows = []
    for pool in wanted:
        action = "create" if pool.name in made else "present" if pool.name in found.present else "refused"
        outlook = after.get(pool.name)
        for family in Family:
            spec = pool.families.get(family)
            if spec is not None:
                rows.append(
                    (
                        pool.name,
                        action,
                        family,
                        ",".join(map(str, spec.cidrs)),
                        f"/{spec.node_mask_size}",
                        ",".join(map(str, spec.exclude)) or "-",
                        outlook.nodes if outlook is not None else "-",
                        count(outlook.fits) if outlook is not None else "-",
                    )
                )
    misfits = found.nodes - found.fitting - found.without
    counts = f"{found.fitting} fit, {misfits} do not, {found.without} have no podCIDRs yet"
    parts = [
        table(("CLUSTERCIDR", "ACTION", "FAMILY", "RANGES", "MASK", "EXCLUDE", "NODES", "FITS"), rows),
        f"{many(found.nodes, 'node')}: {counts}",
    ]
    if found.refusals or found.warnings:
        parts.append(findings_table((*found.refusals, *found.warnings)))
    return "\n\n".join(parts)


async def _apply(client: Client, pools: Sequence[ClusterCIDR], *, quiet: bool) -> None:
    """Creates the objects: first all of them as a trial (dryRun), so that a refusal leaves nothing half done."""

    def tell(text: str) -> None:
        if quiet:  # standard output holds the manifests
            print(safe(text), file=sys.stderr)
        else:
            say(safe(text))

    if not pools:
        tell("nothing to create")
        return
    for pool in pools:
        await client.create(_path(dryRun="All"), _body(pool))
    for pool in pools:
        try:
            await client.create(_path(), _body(pool))
        except (OutcomeUnknown, AlreadyExists) as exc:
            if not await _stands(client, pool):
                raise Permanent(f"{exc}; run the same import again: what was created stays as it is") from exc
        tell(f"clustercidr.nodeipam.dev/{pool.name} created")


async def _stands(client: Client, pool: ClusterCIDR) -> bool:
    """Whether the object is there after a create without a clear answer, and says what we wrote."""
    try:
        present = decode_cluster_cidr(await client.get(f"{CLUSTER_CIDRS}/{segment(pool.name)}"))
    except NodeIPAMError:
        return False
    if present is None or isinstance(present, Unreadable):
        return False
    return bool(manifest(present)["spec"] == manifest(pool)["spec"])


def _path(**parameters: str) -> str:
    return (
        f"{CLUSTER_CIDRS}?{urlencode({'fieldManager': _MANAGER, 'fieldValidation': 'Strict', **parameters})}"
    )


def _body(pool: ClusterCIDR) -> bytes:
    return json.dumps(manifest(pool)).encode()

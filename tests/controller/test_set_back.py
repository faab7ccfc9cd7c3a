"""etcd is restored from a backup while the controller runs: what nodes lost is given to them again, and the ledger agrees."""

from __future__ import annotations

import asyncio
import json

import pytest

from nodeipam_ctl.demo.apiserver import Effect, Fault
from nodeipam_ctl.demo.apiserver.server import ApiServer
from nodeipam_ctl.demo.apiserver.store import Stored
from tests.controller.harness import PAGES, Cluster, Running, eventually

NODES = "/api/v1/nodes"


class Backup:
    """Everything an API server holds now, to be put back later under the same versions."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._version = api.cluster.store.rv
        self._objects: dict[str, dict[str, Stored]] = {
            name: dict(bucket.objects) for name, bucket in api.cluster.store
        }

    async def restore(self, *, ahead: int = 0, touched: bool = False) -> None:
        """The server dies and comes back with this, when others have written so many versions more since it was made.

        Args:
            ahead: how many.
            touched: every object is among what they wrote, with nothing new in it, as by a migration of the storage.
        """
        api, store = self._api, self._api.cluster.store
        await api._hang_up()
        store.reset()
        store.rv = self._version + ahead
        for name, objects in self._objects.items():
            bucket = store.bucket(name)
            bucket.objects, bucket.keys = dict(objects), sorted(objects)
            bucket.compacted_rv = bucket.newest_rv = self._version
            for stored in list(objects.values()) if touched else ():
                version = store.next_rv()
                raw = json.loads(stored.raw)
                raw["metadata"]["resourceVersion"] = str(version)
                store.put(
                    bucket,
                    Stored(
                        namespace=stored.namespace,
                        name=stored.name,
                        uid=stored.uid,
                        rv=version,
                        raw=json.dumps(raw).encode(),
                        labels=stored.labels,
                        fields=stored.fields,
                    ),
                )
        await asyncio.sleep(0.2)
        await api._listen()


@pytest.mark.parametrize(
    ("ahead", "touched"),
    [
        pytest.param(0, False, id="a server behind us"),
        pytest.param(10_000, False, id="a server that has overtaken us since"),
        pytest.param(10_000, True, id="a server that has overtaken us and changed what changed last"),
    ],
)
async def test_a_node_whose_podcidrs_were_lost_gets_the_same_again(
    cluster: Cluster, ahead: int, *, touched: bool
) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    async with cluster.controller() as running:
        await cluster.node("before")
        await cluster.served("before")
        refused = cluster.api.faults.add(
            Fault(effect=Effect.REFUSE, verb="patch", resource="nodes", status=429)
        )
        pages = cluster.api.faults.add(
            Fault(effect=Effect.REFUSE, verb="update", resource="podcidrslices", status=429)
        )
        await cluster.node("lost")
        await eventually(lambda: cluster.api.faults.hits(pages) > 0)
        backup = Backup(cluster.api)
        for number in (refused, pages):
            cluster.api.faults.remove(number)
        had = await cluster.served("lost")
        for i in range(5):
            await cluster.node(f"later-{i}")
        await cluster.all_served(7)
        await cluster.patch(f"{NODES}/before", {"metadata": {"labels": {"changed": "last"}}})
        await eventually(lambda: _labelled(running, "before"))
        await backup.restore(ahead=ahead, touched=touched)
        assert await cluster.served("lost", within_s=20) == had
        await eventually(lambda: running.readiness.ready, within_s=20, what="readiness")
        await cluster.node("fresh")
        await cluster.served("fresh")
        await agrees(cluster)
        await eventually(lambda: _counted(cluster), what="a status that counts what is there")
        assert known(running) == {"before", "lost", "fresh"}


async def agrees(cluster: Cluster) -> None:
    """Every Node's block is promised to it and to nobody else, and nothing else is."""

    async def check() -> bool:
        bound = {
            (entry["cidr"], entry.get("nodeUID"))
            for page in await cluster.items(PAGES)
            for entry in page.get("entries") or ()
            if entry["state"] == "Bound"
        }
        nodes = await cluster.items(NODES)
        return bound == {(cidr, n["metadata"]["uid"]) for n in nodes for cidr in n["spec"]["podCIDRs"]}

    await eventually(check, within_s=15, what="a ledger that says what the Nodes have")


def known(running: Running) -> set[str]:
    return {node.name for node in running.controller._nodes.store.values()}


def _labelled(running: Running, name: str) -> bool:
    return any(n.name == name and "changed" in n.labels for n in running.controller._nodes.store.values())


async def _counted(cluster: Cluster) -> bool:
    found = await cluster.status()
    return found.get("nodes") == 3 and found["ipv4"]["usage"] == "3/256"

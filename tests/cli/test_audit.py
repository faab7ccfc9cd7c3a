"""`nodeipam-ctl audit`: every finding names object, reason and remedy; the exit code says whether there is an error."""

from __future__ import annotations

import json
from collections.abc import Callable

import yaml

from nodeipam_ctl.cli import audit as audit_command
from nodeipam_ctl.cli.snapshot import Snapshot, read
from nodeipam_ctl.demo.apiserver import Effect, Fault
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.prefixes import Network
from tests.cli.conftest import Operator
from tests.controller.harness import POOLS

Golden = Callable[[str, str], None]


async def test_a_sound_cluster_has_no_finding(operator: Operator) -> None:
    await operator.cluster.pool()
    await operator.serve("worker-1")
    said = await operator("audit")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("0 errors, 0 warnings (1 node, 1 ClusterCIDR, ")


async def test_warnings_alone_do_not_fail(operator: Operator) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24})
    await operator.serve("worker-1")
    said = await operator("audit", "-o", "json")
    assert said.code == 0
    assert [finding["code"] for finding in json.loads(said.out)["findings"]] == ["Exhausted"]


async def test_finds_what_is_wrong_and_fails(operator: Operator, golden: Golden) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.96.0.0/15"], "nodeMaskSize": 24})
    await operator.serve("worker-1")
    taken = (await operator.cluster.cidrs("worker-1"))[0]
    await operator.cluster.node("twin", pod_cidrs=(taken,))
    await operator.cluster.node("foreign", pod_cidrs=("172.16.1.0/24",), addresses=("10.97.200.1",))
    await operator.cluster.node("lost", annotations={"nodeipam.dev/cluster-cidr": "nowhere"})
    said = await operator("audit")
    assert said.code == 1
    golden("audit", said.out)


async def test_data_says_what_the_table_says(operator: Operator) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    await operator.cluster.node("a", pod_cidrs=("10.244.1.0/24",))
    await operator.cluster.node("b", pod_cidrs=("10.244.1.0/24",))
    said = await operator("audit", "-o", "json")
    answer = json.loads(said.out)
    assert yaml.safe_load((await operator("audit", "-o", "yaml")).out) == answer
    assert said.code == 1
    assert answer["totals"] == {"errors": 2, "warnings": 2, "nodes": 2, "clusterCIDRs": 1, "ledgerPages": 0}
    for finding in answer["findings"]:
        assert finding.keys() == {"severity", "code", "subject", "message", "remedy"}
        assert all(finding.values())


async def test_a_cluster_without_the_crds_is_told_to_install_them(operator: Operator) -> None:
    for crd in ("clustercidrs", "podcidrslices"):
        await operator.cluster.delete(
            f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}.nodeipam.dev"
        )
    said = await operator("audit", "-o", "json")
    assert said.code == 1
    missing = [f["subject"] for f in json.loads(said.out)["findings"] if f["code"] == "TypeMissing"]
    assert missing == [
        "customresourcedefinition/clustercidrs.nodeipam.dev",
        "customresourcedefinition/podcidrslices.nodeipam.dev",
    ]


async def test_a_node_that_comes_while_we_read_is_no_finding(operator: Operator) -> None:
    await operator.cluster.pool()
    await operator.cluster.node("old", pod_cidrs=("10.244.0.0/24", "fd00:10:244::/64"))
    readings: list[Snapshot] = []

    async def while_nodes_come(client: Client, services: tuple[Network, ...]) -> Snapshot:
        # Each reading finds another node whose line was not there yet when the ledger was read.
        n = len(readings) + 1
        await operator.cluster.node(f"new-{n}", pod_cidrs=(f"10.244.{n}.0/24", f"fd00:10:244:{n}::/64"))
        readings.append(await read(client, services))
        await operator.cluster.delete(f"/api/v1/nodes/new-{n}")
        return readings[-1]

    _, findings = await audit_command.look(operator.cluster.client, (), reading=while_nodes_come)
    assert len(readings) == 2
    assert {finding.subject for finding in findings} == {"node/old"}


async def test_objects_that_make_no_sense_are_findings(operator: Operator) -> None:
    name = "clustercidrs.nodeipam.dev"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    crd = await operator.cluster.get(path)
    for version in crd["spec"]["versions"]:
        version["schema"] = {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        }
    await operator.cluster.client.replace(path, json.dumps(crd).encode())
    evil = "10.0.0.0/8\x1b[2J\n"
    body = {"apiVersion": "nodeipam.dev/v1alpha1", "kind": "ClusterCIDR", "metadata": {"name": "bad"}}
    await operator.cluster.create(POOLS, {**body, "spec": {"ipv4": {"cidrs": [evil], "nodeMaskSize": 24}}})
    said = await operator("audit")
    assert said.code == 1
    assert "UnreadableClusterCIDR" in said.out
    assert "\x1b" not in said.out
    assert len(said.out.splitlines()) == 4, "header, finding, empty line, totals"


async def test_what_may_not_be_listed_is_left_out_and_said(operator: Operator) -> None:
    await operator.cluster.pool()
    operator.cluster.api.faults.add(
        Fault(effect=Effect.REFUSE, verb="list", resource="servicecidrs", status=403)
    )
    said = await operator("audit", "-o", "json")
    assert said.code == 0
    [finding] = json.loads(said.out)["findings"]
    assert (finding["code"], finding["subject"]) == ("NotAllowed", "resource/servicecidrs")


async def test_a_list_that_expires_on_the_way_is_read_again(operator: Operator) -> None:
    operator.cluster.api.faults.add(Fault(effect=Effect.EXPIRE, verb="list", resource="nodes", times=1))
    assert (await operator("audit")).code == 0


async def test_forbidden_is_one_line(operator: Operator) -> None:
    text = operator.cluster.kubeconfig.read_text()
    operator.cluster.kubeconfig.write_text(text.replace("token: ", "token: wrong"))
    said = await operator("audit")
    assert (said.code, said.out) == (1, "")
    assert said.err.count("\n") == 1
    assert "401" in said.err


async def test_a_line_of_a_node_that_is_gone_is_a_finding(operator: Operator) -> None:
    await operator.cluster.pool()
    await operator.serve("worker-1")
    await operator.cluster.delete("/api/v1/nodes/worker-1")
    said = await operator("audit", "-o", "json")
    assert said.code == 0
    found = {(f["code"], f["subject"]) for f in json.loads(said.out)["findings"]}
    assert ("LineWithoutNode", "podcidrslice/10.244.0.0-20") in found


async def test_a_node_that_nobody_serves_is_an_error(operator: Operator) -> None:
    await operator.cluster.pool()
    await operator.cluster.node("worker-1")
    said = await operator("audit", "-o", "json")
    assert said.code == 1
    [finding] = json.loads(said.out)["findings"]
    assert (finding["code"], finding["subject"]) == ("NotServed", "node/worker-1")
    assert "a controller runs" in finding["remedy"]

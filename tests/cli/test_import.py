"""`nodeipam-ctl import`: a cluster goes on where kube-controller-manager or upstream's objects stop, or hears why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from nodeipam_ctl.demo.apiserver import Effect, Fault
from tests.cli.conftest import GPU, UPSTREAM_CRD, Operator
from tests.controller.harness import POOLS
from tests.ipam.cases import Case, case_id, of_groups

Golden = Callable[[str, str], None]
UPSTREAM = "/apis/networking.x-k8s.io/v1/clustercidrs"
DUAL = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56"


async def _upstream(operator: Operator, name: str, **spec: Any) -> None:
    body = {
        "apiVersion": "networking.x-k8s.io/v1",
        "kind": "ClusterCIDR",
        "metadata": {"name": name},
        "spec": {"perNodeHostBits": 8, **spec},
    }
    await operator.cluster.create(UPSTREAM, body)


async def _dual_stack_nodes(operator: Operator) -> None:
    await operator.cluster.node("worker-1", pod_cidrs=("10.244.0.0/24", "fd00:10:244::/64"))
    await operator.cluster.node("worker-2", pod_cidrs=("10.244.1.0/24", "fd00:10:244:1::/64"))
    await operator.cluster.node("new")


async def test_shows_the_plan_and_changes_nothing(operator: Operator, golden: Golden) -> None:
    await _dual_stack_nodes(operator)
    said = await operator("import", DUAL, "--service-cluster-ip-range=10.244.240.0/20,fd00:10:96::/112")
    assert (said.code, said.err) == (0, "")
    golden("import", said.out)
    assert await operator.cluster.items(POOLS) == []


@pytest.mark.parametrize("form", ["yaml", "json"])
async def test_manifests_can_be_applied_as_they_are(operator: Operator, form: str) -> None:
    await _dual_stack_nodes(operator)
    said = await operator("import", DUAL, "--node-cidr-mask-size-ipv4=24", "-o", form)
    assert (said.code, said.err) == (0, "")
    loaded = yaml.safe_load(said.out)
    assert (loaded["kind"] == "List") == (form == "json")
    [made] = loaded["items"] if form == "json" else [loaded]
    stored = await operator.cluster.create(POOLS, made)
    assert stored["spec"]["ipv4"] == {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}
    assert stored["spec"]["ipv6"] == {"cidrs": ["fd00:10:244::/56"], "nodeMaskSize": 64}


async def test_apply_shows_the_plan_first_and_a_second_run_has_nothing_to_do(operator: Operator) -> None:
    await _dual_stack_nodes(operator)
    said = await operator("import", DUAL, "--apply")
    assert (said.code, said.err) == (0, "")
    assert said.out.index("CLUSTERCIDR") < said.out.index("default-cluster-cidr created")
    [stored] = await operator.cluster.items(POOLS)
    assert stored["metadata"]["managedFields"][0]["manager"] == "nodeipam-ctl-import"
    again = await operator("import", DUAL, "--apply")
    assert again.code == 0
    assert "nothing to create" in again.out


async def test_no_environment_variable_can_make_it_write(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEIPAM_APPLY", "1")
    assert (await operator("import", DUAL)).code == 0
    assert await operator.cluster.items(POOLS) == []


async def test_a_controller_goes_on_where_the_old_allocator_stopped(operator: Operator) -> None:
    await _dual_stack_nodes(operator)
    assert (await operator("import", DUAL, "--apply")).code == 0
    async with operator.cluster.controller():
        assert await operator.cluster.served("new") == ["10.244.2.0/24", "fd00:10:244:2::/64"]
    assert await operator.cluster.cidrs("worker-2") == ["10.244.1.0/24", "fd00:10:244:1::/64"]
    said = await operator("audit")
    assert said.code == 0, said.out


@pytest.mark.parametrize(
    ("pod_cidr", "says"),
    [
        pytest.param("10.245.0.0/24", "OutsideEveryRange", id="outside the range"),
        pytest.param("10.244.4.0/25", "OtherBlockSize", id="another size"),
        pytest.param("10.244.250.0/24", "CIDRConflict", id="inside the service range"),
        pytest.param("10.244.0.0/24", "CIDRConflict", id="another node's block"),
    ],
)
async def test_refuses_when_a_node_does_not_fit(operator: Operator, pod_cidr: str, says: str) -> None:
    await operator.cluster.node("good", pod_cidrs=("10.244.0.0/24",))
    await operator.cluster.node("odd", pod_cidrs=(pod_cidr,))
    flags = ("--cluster-cidr=10.244.0.0/16", "--service-cluster-ip-range=10.244.240.0/20", "--apply")
    said = await operator("import", *flags)
    assert said.code == 1
    assert says in said.out
    assert said.err.startswith("nodeipam-ctl: refused: node/")
    assert said.err.count("\n") == 1
    assert await operator.cluster.items(POOLS) == []
    as_yaml = await operator("import", *flags, "-o", "yaml")
    assert (as_yaml.code, as_yaml.out) == (1, ""), "nothing that could be piped into kubectl apply"


@pytest.mark.parametrize("case", of_groups("default_clustercidr"), ids=case_id)
async def test_the_flags_of_the_acceptance_cases_make_what_the_server_takes(
    operator: Operator, case: Case
) -> None:
    cidrs, masks = case["given"]["cluster_cidr_flags"], case["given"]["node_mask_sizes"]
    flags = [f"--cluster-cidr={','.join(cidrs)}"]
    flags += [
        f"--node-cidr-mask-size-ipv{6 if ':' in c else 4}={m}" for c, m in zip(cidrs, masks, strict=True)
    ]
    said = await operator("import", *flags, "--apply")
    assert said.code == 0, said.err
    [stored] = await operator.cluster.items(POOLS)
    assert stored["metadata"]["name"] == case["expect"]["name"]
    made = [stored["spec"][f"ipv{6 if ':' in cidr else 4}"]["nodeMaskSize"] for cidr in cidrs]
    assert made == masks


@pytest.mark.parametrize("case", of_groups("mask_flags"), ids=case_id)
async def test_flags_that_kube_controller_manager_refuses_are_usage_errors(
    operator: Operator, case: Case
) -> None:
    names = {"any": "--node-cidr-mask-size", "ipv4": "--node-cidr-mask-size-ipv4"}
    names["ipv6"] = "--node-cidr-mask-size-ipv6"
    masks = case["given"]["mask_flags"]
    flags = [f"--cluster-cidr={','.join(case['given']['cluster_cidrs'])}"]
    said = await operator("import", *flags, *(f"{names[name]}={size}" for name, size in masks.items()))
    assert (said.code == 2) == bool(case["expect"].get("error")), said
    assert said.err.count("\n") == (said.code != 0)


@pytest.mark.parametrize(
    ("present", "says"),
    [
        pytest.param(
            {"cidrs": ["10.0.0.0/8"], "nodeMaskSize": 24}, "10.244.0.0/16 lies in 10.0.0.0/8", id="covers"
        ),
        pytest.param(
            {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24},
            "10.244.0.0/16 lies in 10.244.0.0/16",
            id="the same",
        ),
        pytest.param(
            {"cidrs": ["10.9.0.0/16", "10.244.8.0/22"], "nodeMaskSize": 25},
            "10.244.0.0/16 contains 10.244.8.0/22",
            id="a part",
        ),
        pytest.param({"cidrs": ["10.245.0.0/16"], "nodeMaskSize": 24}, "", id="beside it"),
        pytest.param(
            {"cidrs": ["10.240.0.0/12"], "nodeMaskSize": 24, "exclude": ["10.244.0.0/15"]},
            "",
            id="all of it excluded",
        ),
    ],
)
async def test_warns_when_a_clustercidr_has_the_range_already(
    operator: Operator, present: dict[str, Any], says: str
) -> None:
    await operator.cluster.pool("corp", ipv4=present)
    shown = await operator("import", DUAL)
    assert (shown.code, shown.err) == (0, "")
    assert (says in shown.out and "RangeTaken" in shown.out) if says else "RangeTaken" not in shown.out
    for form in ("yaml", "json"):
        said = await operator("import", DUAL, "-o", form)
        assert said.code == 0
        assert yaml.safe_load(said.out)["kind"] in {"ClusterCIDR", "List"}
        if says:
            assert said.err.startswith("nodeipam-ctl: warning: clustercidr/default-cluster-cidr: ")
            assert f"{says} of ClusterCIDR corp, which is there already" in said.err
            assert "; import nothing if corp is to serve these nodes" in said.err
        assert said.err.count("\n") == bool(says)


async def test_what_was_imported_before_is_no_warning(operator: Operator) -> None:
    assert (await operator("import", DUAL, "--apply")).code == 0
    again = await operator("import", DUAL, "--apply", "-o", "yaml")
    assert (again.code, again.err) == (0, "nothing to create\n")


async def test_upstream_objects_become_ours(operator: Operator) -> None:
    operator.cluster.api.apply(yaml.safe_load(UPSTREAM_CRD.read_text()))
    await _upstream(operator, "all", ipv4="10.244.0.0/16")
    await _upstream(operator, "gpu", ipv4="10.9.0.0/16", ipv6="fd00:9::/112", nodeSelector=GPU)
    await operator.cluster.node("worker-1", pod_cidrs=("10.244.0.0/24",))
    said = await operator("import", "--from-upstream", "--apply")
    assert said.code == 0, said.err
    made = {pool["metadata"]["name"]: pool["spec"] for pool in await operator.cluster.items(POOLS)}
    assert made.keys() == {"all", "gpu"}
    assert made["gpu"]["nodeSelector"] == GPU
    assert made["gpu"]["ipv6"] == {"cidrs": ["fd00:9::/112"], "nodeMaskSize": 120}
    assert len(await operator.cluster.items(UPSTREAM)) == 2, "theirs are left alone"
    documents = list(yaml.safe_load_all((await operator("import", "--from-upstream", "-o", "yaml")).out))
    assert [document["metadata"]["name"] for document in documents] == ["all", "gpu"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        pytest.param({"ipv4": "10.244.0.0/16", "perNodeHostBits": 30}, "nodeMaskSize", id="a mask like none"),
        pytest.param({"ipv4": "10.245.0.0/16"}, "says something else", id="a name that is taken"),
    ],
)
async def test_refuses_upstream_objects_it_cannot_take(
    operator: Operator, spec: dict[str, Any], says: str
) -> None:
    operator.cluster.api.apply(yaml.safe_load(UPSTREAM_CRD.read_text()))
    await operator.cluster.pool("taken", ipv4={"cidrs": ["10.1.0.0/16"], "nodeMaskSize": 24})
    await _upstream(operator, "taken", **spec)
    said = await operator("import", "--from-upstream", "--apply")
    assert said.code == 1
    assert says in said.err
    assert [pool["metadata"]["name"] for pool in await operator.cluster.items(POOLS)] == ["taken"]


async def test_a_refusal_of_the_server_leaves_nothing_half_done(operator: Operator) -> None:
    operator.cluster.api.apply(yaml.safe_load(UPSTREAM_CRD.read_text()))
    await _upstream(operator, "a", ipv4="10.244.0.0/16")
    await _upstream(operator, "b" * 64, ipv4="10.9.0.0/16")
    said = await operator("import", "--from-upstream", "--apply")
    assert said.code == 1
    assert "longer than 63" in said.err
    assert await operator.cluster.items(POOLS) == []


async def test_a_create_whose_answer_was_lost_is_looked_up(operator: Operator) -> None:
    operator.cluster.api.faults.add(
        Fault(
            effect=Effect.CUT_AFTER, verb="create", resource="clustercidrs", skip=1, times=1
        )  # 1 is the trial
    )
    said = await operator("import", DUAL, "--apply")
    assert said.code == 0, said.err
    assert len(await operator.cluster.items(POOLS)) == 1


async def test_manifests_on_standard_output_stay_clean_with_apply(operator: Operator) -> None:
    said = await operator("import", DUAL, "--apply", "-o", "yaml")
    assert said.code == 0
    assert yaml.safe_load(said.out)["kind"] == "ClusterCIDR"
    assert said.err == "clustercidr.nodeipam.dev/default-cluster-cidr created\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param([], "nothing to import", id="nothing"),
        pytest.param(
            ["--from-upstream", "--cluster-cidr=10.0.0.0/8"], "leave the other flags out", id="both"
        ),
        pytest.param(
            ["--from-upstream", "--name=ours"], "leave the other flags out", id="a name for what has names"
        ),
        pytest.param(["--cluster-cidr=10.0.0.1/8"], "host bits", id="host bits"),
        pytest.param(["--cluster-cidr=10.0.0.0/8,10.0.0.0/9"], "one of each family", id="one family twice"),
        pytest.param(["--service-cluster-ip-range=10.0.0.0/8"], "--cluster-cidr is missing", id="no range"),
        pytest.param(["--cluster-cidr=10.0.0.0/8", "--node-cidr-mask-size=x"], "'x'", id="no mask"),
        pytest.param(["--cluster-cidr=10.0.0.0/8", "--name=A b"], "not an object name", id="no name"),
    ],
)
async def test_a_wrong_flag_is_one_line_and_exit_code_2(
    operator: Operator, arguments: list[str], says: str
) -> None:
    said = await operator("import", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            ["--cluster-cidr=10.0.0.0/8", "--node-cidr-mask-size=31"], "/31", id="a mask we cannot give"
        ),
        pytest.param(
            ["--cluster-cidr=10.0.0.0/16", "--service-cluster-ip-range=10.0.0.0/12"],
            "covers",
            id="nothing left",
        ),
        pytest.param(["--from-upstream"], "there is no ClusterCIDR of networking.x-k8s.io", id="no upstream"),
    ],
)
async def test_what_cannot_be_taken_over_is_one_line_and_exit_code_1(
    operator: Operator, arguments: list[str], says: str
) -> None:
    said = await operator("import", *arguments)
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert says in said.err

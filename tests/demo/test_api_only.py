"""`nodeipam-ctl demo --api-only`, as a script uses it, with real kubectl."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

COMMAND = (sys.executable, "-m", "nodeipam_ctl", "demo", "--api-only")
POOL = Path(__file__).parents[2] / "nodeipam_ctl" / "demo" / "clustercidr.yaml"


def kubectl(kubeconfig: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            "kubectl",
            "--kubeconfig",
            str(kubeconfig),
            "--cache-dir",
            str(kubeconfig.parent / "cache"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _await_file(path: Path, *, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def test_kubectl_finds_the_cluster_and_our_resources(begin: Callable[..., Any], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kc"
    began = begin(*COMMAND, "--kubeconfig-out", str(kubeconfig))
    _await_file(kubeconfig)
    kubectl(kubeconfig, "apply", "-f", str(POOL))
    assert "10.244.0.0/16" in kubectl(kubeconfig, "get", "ccidr")
    assert "default" in kubectl(kubeconfig, "get", "namespaces")
    began.process.send_signal(signal.SIGTERM)
    assert began.process.wait(timeout=10) == 0
    assert not kubeconfig.exists(), "it takes the file away again"


def test_with_rbac_a_service_account_may_do_what_its_role_says(
    begin: Callable[..., Any], tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kc"
    begin(*COMMAND, "--rbac", "--kubeconfig-out", str(kubeconfig))
    _await_file(kubeconfig)
    kubectl(kubeconfig, "create", "serviceaccount", "reader")
    kubectl(kubeconfig, "create", "clusterrole", "reader", "--verb=list", "--resource=nodes")
    bind = ("--clusterrole=reader", "--serviceaccount=default:reader")
    kubectl(kubeconfig, "create", "clusterrolebinding", "reader", *bind)
    token = kubectl(kubeconfig, "create", "token", "reader").strip()
    config = yaml.safe_load(kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"].startswith("https://")
    config["users"][0]["user"] = {"token": token}
    theirs = tmp_path / "theirs"
    theirs.write_text(yaml.safe_dump(config))
    assert kubectl(theirs, "get", "nodes") == ""
    with pytest.raises(AssertionError, match='cannot list resource "pods"'):
        kubectl(theirs, "get", "pods")


def test_prints_the_kubeconfig_without_a_file_for_it(begin: Callable[..., Any], tmp_path: Path) -> None:
    began = begin(*COMMAND)
    text = "\n".join(began.read_until("current-context"))
    kubeconfig = tmp_path / "kc"
    kubeconfig.write_text(text)
    assert "clustercidrs.nodeipam.dev" in kubectl(kubeconfig, "get", "crds")
    began.process.send_signal(signal.SIGINT)
    assert began.process.wait(timeout=10) == 0


def test_a_taken_port_is_one_line(begin: Callable[..., Any], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kc"
    begin(*COMMAND, "--kubeconfig-out", str(kubeconfig))
    _await_file(kubeconfig)
    port = kubeconfig.read_text().partition("127.0.0.1:")[2].split()[0]
    second = begin(*COMMAND, "--port", port)
    said, _ = second.process.communicate(timeout=20)
    assert second.process.returncode == 2
    assert (
        said
        == f"nodeipam-ctl: --port {port}: Address already in use; name a free one, or 0 to have one chosen\n"
    )


@pytest.mark.kernel
def test_the_whole_demo_refuses_a_taken_port_the_same_way(begin: Callable[..., Any], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kc"
    begin(*COMMAND, "--kubeconfig-out", str(kubeconfig))
    _await_file(kubeconfig)
    port = kubeconfig.read_text().partition("127.0.0.1:")[2].split()[0]
    second = begin(sys.executable, "-m", "nodeipam_ctl", "demo", "--port", port)
    said, _ = second.process.communicate(timeout=20)
    assert second.process.returncode == 2
    assert said.startswith(f"nodeipam-ctl: --port {port}: Address already in use; ")

"""Two machines, a conflist and routes made by hand: does the lab itself work, without any of our programs?"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.kernel


def test_machines_pods_and_plugins_by_hand(perform: Any) -> None:
    said = perform("two_machines")
    assert said["addresses"] == ["10.244.1.2", "fd00:10:244:1::2"]
    assert said["mesh"] == "4/4", "every pod reaches the other in both families"
    assert said["through the host port"] == "from the pod", "portmap got its runtimeConfig"
    assert said["steady"]["lost"] >= 3, "a cable that was out for half a second is noticed"
    assert said["steady"]["sent"] > said["steady"]["lost"] + 3

    assert said["host name"] == "node-1"
    assert {"10.244.1.2", "fd00:10:244:1::2"} <= set(said["host-local leases"])
    assert not any(lease.startswith("10.244.1.") for lease in said["leases on the other"])
    assert said["/etc/passwd is there"], "only /run, /etc/cni and /var/lib/cni are the machine's own"

    assert "10.244.1.2" not in said["leases after DEL"]
    assert said["nat rules after DEL"] == 0, "DEL ran the chain in reverse with the result of the ADD"
    assert said["devices after DEL"] == 1, "only eth0 is left"

    assert said["refusal"].startswith("CNI ADD of node-2-pod-2 by ptp: "), "the plug-in's own words follow"
    assert said["no conflist"].endswith("has no conflist: the agent has not written one")
    assert said["cables after one machine is off"] == 1

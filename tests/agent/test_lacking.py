"""What another node says it runs takes no node out of service, even where the kernel cannot follow."""

from __future__ import annotations

import subprocess

import pytest

from tests.agent.cluster import Cluster, until
from tests.agent.test_vxlan import neighbours
from tests.linux.namespaces import python

pytestmark = pytest.mark.kernel

TAKE = "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 4790)); print(flush=True); time.sleep(60)"


def test_a_node_whose_form_cannot_be_followed_is_sent_to_in_our_own(cluster: Cluster) -> None:
    for number in (1, 2):
        cluster.add(f"n{number}", pod_cidrs=(f"10.244.{number}.0/24",), addresses=(f"192.0.2.1{number}",))
    host = cluster.segment.host("192.0.2.11/24")
    with python(
        host, "-c", TAKE, stdout=subprocess.PIPE
    ) as holder:  # vxlan-gpe's port: no such device can be made
        assert holder.stdout is not None
        holder.stdout.readline()
        agent = cluster.start_agent(host, "n1", "--backend", "vxlan")
        until(agent.conflist.exists, "the node is served")
        wanted = host.routes()
        cluster.add(
            "n2",
            pod_cidrs=("10.244.2.0/24",),
            addresses=("192.0.2.12",),
            annotations={"nodeipam.dev/backend": "vxlan-gpe"},
        )
        cluster.add("n3", pod_cidrs=("10.244.3.0/24",), addresses=("192.0.2.13",))
        until(lambda: len(host.routes()) == 3, "a third node is followed")
        until(lambda: agent.lines("finding"), "what cannot be followed is told")
        holder.kill()
    assert set(wanted) < set(host.routes())
    assert [entry.split()[0] for entry in neighbours(host, "nictl.1")] == ["10.244.2.0", "10.244.3.0"]
    until(lambda: cluster.condition("n1") == ("False", "NodeIPAMRoutesReady"), "the node serves pods")
    until(lambda: agent.lines("finding"), "it is told")
    (finding,) = agent.lines("finding")
    assert finding["code"] == "PeerBackendUnavailable"
    assert "UDP port 4790 is taken" in finding["message"]

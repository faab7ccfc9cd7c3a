"""Is it noticed, and said, that the API server cannot be heard any more? And does the host stay as it is meanwhile?"""

from __future__ import annotations

import pytest

from tests.agent.cluster import Cluster, until

pytestmark = pytest.mark.kernel

_BLACK_HOLE = """
table inet hole {
    chain in { type filter hook input priority 0; policy drop; }
    chain out { type filter hook output priority 0; policy drop; }
}
"""


def test_a_watch_into_a_black_hole_is_given_up_within_a_quarter_of_a_minute(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1")
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    before = host.routes()
    cluster.segment.switch.run("nft", "-f", "-", stdin=_BLACK_HOLE)
    took_s = until(lambda: agent.get("/readyz")[0] == 503, "readiness says so", timeout_s=30)
    assert took_s < 17
    assert "[-]feed: " in agent.get("/readyz")[1]
    assert host.routes() == before
    cluster.segment.switch.run("nft", "delete", "table", "inet", "hole")
    cluster.remove("n2")
    until(lambda: len(host.routes()) == 1, "what was missed is made up for", timeout_s=30)
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready again")

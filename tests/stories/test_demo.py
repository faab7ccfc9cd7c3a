"""The whole road on one machine: nodes come, pods reach each other, a node goes, another comes, nobody notices."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.readme import block_after, without_chance

# One worker runs them all: they look at one performance.
pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180), pytest.mark.xdist_group("demo")]

DEMO = [sys.executable, "-m", "nodeipam_ctl", "demo"]


class Told:
    """What the demo said."""

    def __init__(self, text: str) -> None:
        self.text = text
        steps = re.findall(r"^ *[\d.]+s  (\S+(?: \S+)*?) {2,}(.+)$", text, re.MULTILINE)
        self.steps: list[tuple[str, str]] = [(str(who), str(what)) for who, what in steps]
        self.table = [line.split() for line in text.splitlines() if line.startswith(("NODE", "node-"))]

    def of(self, who: str) -> list[str]:
        return [what for name, what in self.steps if name == who]


@pytest.fixture(scope="module")
def told() -> Told:
    """One performance as the README has it: four nodes, two pods each."""
    done = subprocess.run(DEMO, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert done.stderr == ""
    return Told(done.stdout)


def test_the_controller_leads_before_any_node_registers(told: Told) -> None:
    names = [who for who, _ in told.steps]
    assert names.index("controller") < names.index("node-1")


def test_every_node_gets_a_block_of_each_family(told: Told) -> None:
    for number in (1, 2, 3, 4, 5):
        registered = told.of(f"node-{number}")[0]
        assert re.fullmatch(
            r"registered, has 10\.244\.\d+\.0/24 and fd00:10:244:\S*:/64 after .+", registered
        )


def test_the_real_plugins_attach_pods_with_the_conflist_of_the_agent(told: Told) -> None:
    for number in (1, 2, 3, 4, 5):
        attached = told.of(f"node-{number}")[1]
        assert "ptp, host-local, portmap attached 10.244." in attached


def test_every_pod_pings_every_pod_on_other_nodes_in_both_families_before_and_after(told: Told) -> None:
    # 8 pods, each to 6 on other nodes
    assert told.of("pings") == ["between pods on different nodes: IPv4 48/48, IPv6 48/48 answered"] * 2


def test_routes_to_a_deleted_node_go(told: Told) -> None:
    assert told.of("node-2")[2].startswith("deleted; its routes are gone from every node after ")


def test_the_surviving_pods_lose_no_ping_while_nodes_change(told: Told) -> None:
    counted = re.fullmatch(r"pinged each other all the while: (\d+)/(\d+) answered", told.of("survivors")[0])
    assert counted is not None
    assert counted[1] == counted[2]
    assert int(counted[2]) >= 20


def test_it_ends_with_a_table_and_a_verdict(told: Told) -> None:
    assert told.table[0] == [
        "NODE",
        "PODCIDRS",
        "NEXT",
        "HOP",
        "ROUTES",
        "PINGS",
        *("TO", "PODCIDR"),
        *("TO", "FIRST", "PING"),
    ]
    assert [row[0] for row in told.table[1:]] == ["node-1", "node-3", "node-4", "node-5"]
    for row in told.table[1:]:
        number = int(row[0].removeprefix("node-"))
        assert row[2] == f"192.0.2.{10 + number}", "the next hop is the node's own address"
        assert row[3] == "6", "one route to each podCIDR of the three others"
        assert row[4] == "24/24"
    assert told.text.endswith("\nPASSED  every ping arrived\n")


def test_the_readme_shows_what_it_prints(told: Told) -> None:
    assert without_chance(told.text.splitlines()) == without_chance(block_after("make demo"))


def test_there_is_no_colour_in_a_log_file(told: Told) -> None:
    assert "\x1b" not in told.text


def test_it_works_without_root(tmp_path: Path) -> None:
    # As "nobody", who may read neither root's home nor this checkout: so Python and the packages are mounted where he can.
    site = next(p for p in sys.path if p.endswith("site-packages"))
    tree = Path(__file__).parents[2]
    script = f"""
        mount -t tmpfs -o mode=0755 tmpfs /mnt
        mkdir /mnt/python /mnt/site /mnt/tree
        mount --rbind {sys.base_prefix} /mnt/python
        mount --rbind {site} /mnt/site
        mkdir /mnt/tree/nodeipam_ctl /mnt/tree/crds
        mount --rbind {tree}/nodeipam_ctl /mnt/tree/nodeipam_ctl
        mount --rbind {tree}/crds /mnt/tree/crds
        cd /
        exec setpriv --reuid 65534 --regid 65534 --clear-groups \
            env -i PATH=/usr/bin:/bin PYTHONPATH=/mnt/site:/mnt/tree LD_LIBRARY_PATH=/mnt/python/lib \
            /mnt/python/bin/python3 -m nodeipam_ctl demo --nodes 2 --pods 1
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", script], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    told = Told(done.stdout)
    assert "root of a user namespace" in told.of("sandbox")[0]
    assert told.of("pings") == ["between pods on different nodes: IPv4 2/2, IPv6 2/2 answered"] * 2

"""Does a table take the place of another without its chains being made anew?"""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from nodeipam_ctl.linux import nftables
from nodeipam_ctl.routing.masquerade import TABLE, TABLE_FAMILY, table
from tests.linux.namespaces import Namespace
from tests.routing.views import N1, view

pytestmark = pytest.mark.kernel


def handle_of_chain(host: Namespace) -> int:
    listed = json.loads(host.run("nft", "-j", "list", "chain", TABLE_FAMILY, TABLE, "postrouting"))
    [chain] = [entry["chain"] for entry in listed["nftables"] if "chain" in entry]
    handle: int = chain["handle"]
    return handle


def test_the_table_of_an_earlier_release_keeps_its_chain_and_loses_its_sets() -> None:
    wanted = table(N1, (ip_network("10.244.0.0/16"),), view().settings)
    assert wanted is not None
    [head] = [line for line in wanted.text.splitlines() if "type nat" in line]
    with Namespace() as host, host.entered():
        host.run(
            "nft",
            "-f",
            "-",
            stdin=f"""table {TABLE_FAMILY} {TABLE} {{
                set own4 {{
                    type ipv4_addr
                    flags interval
                    elements = {{ 10.244.1.0/24 }}
                }}
                chain postrouting {{
                    {head.strip()}
                    ip saddr @own4 masquerade fully-random
                }}
                chain seal {{ comment "wanted=0 listed=0"; }}
            }}""",
        )
        before = handle_of_chain(host)
        nftables.replace_table(wanted)
        assert nftables.read_table(TABLE_FAMILY, TABLE) == wanted
        assert "set own4" not in host.run("nft", "list", "table", TABLE_FAMILY, TABLE)
        assert handle_of_chain(host) == before

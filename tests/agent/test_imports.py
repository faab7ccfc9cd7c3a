"""What does the agent carry? Neither kopf nor kubernetes_asyncio, nor anything else that it does not use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("kopf", "kubernetes_asyncio", "pyroute2", "netaddr", "yaml", "cel_expr_python")


def test_the_agent_imports_nothing_heavy() -> None:
    script = "import sys, nodeipam_ctl.agent.app, nodeipam_ctl.cli.agent; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & set(HEAVY)

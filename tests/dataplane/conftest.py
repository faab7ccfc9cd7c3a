from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.conftest import cluster, segment
from tests.dataplane.lab import Lab
from tests.linux.namespaces import Segment

__all__ = ["cluster", "make_lab", "segment"]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Labs that end with the test: `make_lab("n1", "n2", topology="lan3", dual=True)`."""
    with ExitStack() as stack:

        def make(*hosts: str, topology: str = "lan3", dual: bool = False, pools: bool = False) -> Lab:
            ground = stack.enter_context(Segment())
            return stack.enter_context(
                Lab(tmp_path, ground, hosts, topology=topology, dual=dual, pools=pools)
            )

        yield make

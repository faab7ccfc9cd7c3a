from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.cluster import Cluster
from tests.linux.namespaces import Segment


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment() as made:
        yield made


@pytest.fixture
def cluster(tmp_path: Path, segment: Segment) -> Iterator[Cluster]:
    with Cluster(tmp_path, segment) as made:
        yield made

from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.pools import findings
from tests.ipam.clustercidrs import v4


@pytest.mark.parametrize(
    ("cidrs", "exclude", "found"),
    [
        pytest.param(("10.0.0.0/22", "10.0.8.0/22"), ("10.0.1.0/24",), [], id="an ordinary pool"),
        pytest.param(
            ("10.0.0.0/22", "10.0.1.0/24"),
            (),
            [("OverlappingRanges", "its range 10.0.1.0/24 lies in its range 10.0.0.0/22 and adds nothing")],
            id="a range inside another",
        ),
        pytest.param(
            ("10.0.0.0/22", "10.0.0.0/22"),
            (),
            [("OverlappingRanges", "its range 10.0.0.0/22 lies in its range 10.0.0.0/22 and adds nothing")],
            id="a range twice",
        ),
        pytest.param(
            ("10.0.0.0/22", "10.0.8.0/22"),
            ("10.0.8.0/22",),
            [
                (
                    "RangeExcluded",
                    "exclude covers all of its range 10.0.8.0/22, so nothing is handed out from it",
                )
            ],
            id="a range that is excluded",
        ),
        pytest.param(
            ("10.0.0.0/22",),
            ("10.0.0.0/23", "10.0.2.0/23"),
            [
                (
                    "RangeExcluded",
                    "exclude covers all of its range 10.0.0.0/22, so nothing is handed out from it",
                )
            ],
            id="a range that is excluded in parts",
        ),
    ],
)
def test_what_the_ranges_of_one_pool_do_to_each_other(
    cidrs: tuple[str, ...], exclude: tuple[str, ...], found: list[tuple[str, str]]
) -> None:
    told = findings([v4("p", *cidrs, exclude=exclude)])
    assert [(f.code, f.message) for f in told] == found
    assert all(f.subject == "clustercidr/p" and f.remedy for f in told)

"""Does Helm find nothing to complain about, and does an archive of the chart carry everything?"""

from __future__ import annotations

from pathlib import Path

import helm_python
import pytest
import yaml

import nodeipam_ctl
from tests.charts.chart import CHART, PROFILES, ROOT, values_of


@pytest.mark.parametrize("profile", PROFILES)
def test_lint_has_no_finding(profile: str) -> None:
    report = helm_python.lint(CHART, values_of(profile), strict=True, kube_version="v1.36.0")

    assert report == {"total_charts_linted": 1, "messages": [], "errors": []}


def test_an_archive_carries_the_crds_that_the_demo_and_the_tests_use(tmp_path: Path) -> None:
    archive = helm_python.package(CHART, destination=tmp_path)

    with helm_python.Chart.load(archive) as chart:
        packed = {Path(crd["name"]).name: crd["data"] for crd in chart.crds}
    assert packed == {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    assert packed


def test_an_archive_leaves_test_material_at_home(tmp_path: Path) -> None:
    with helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path)) as chart:
        names = [file["name"] for file in chart.files]

    assert not [name for name in names if name.startswith("ci/")]


def test_chart_and_programs_have_one_version() -> None:
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert metadata["appVersion"] == metadata["version"] == nodeipam_ctl.__version__

"""What does the chart render? Real Helm does it, offline, the way `helm template` would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "nodeipam-ctl"
PROFILES = tuple(sorted(path.name.removesuffix("-values.yaml") for path in CHART.glob("ci/*-values.yaml")))
"""Kinds of installation whose rendering is kept, by name."""

RELEASE = "nodeipam-ctl"
NAMESPACE = "kube-system"

Values = Mapping[str, Any]
Manifest = dict[str, Any]


def values_of(profile: str) -> dict[str, Any]:
    """The values a user of this kind of installation would write."""
    values: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{profile}-values.yaml").read_text())
    return values


def defaults() -> dict[str, Any]:
    """The chart's own values.yaml."""
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def schema() -> dict[str, Any]:
    """The chart's values.schema.json."""
    content: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return content


def rendered(
    values: Values, *, upgrade: bool = False, release: str = RELEASE, namespace: str = NAMESPACE
) -> dict[str, str]:
    """The text of every template, by its name below templates/, without those that render to nothing.

    Raises:
        HelmValuesError: the schema refuses the values.
        HelmRenderError: the chart refuses what they mean together.
    """
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(
            dict(values), name=release, namespace=namespace, is_install=not upgrade, is_upgrade=upgrade
        )
    return {
        path.removeprefix(f"{RELEASE}/templates/"): text
        for path, text in sorted(texts.items())
        if text.strip()
    }


def manifests(
    values: Values, *, upgrade: bool = False, release: str = RELEASE, namespace: str = NAMESPACE
) -> Iterator[Manifest]:
    """Every object the templates make, NOTES.txt left out."""
    texts = rendered(values, upgrade=upgrade, release=release, namespace=namespace)
    for path, text in texts.items():
        if path.endswith(".yaml"):
            yield from (document for document in yaml.safe_load_all(text) if document)


def one(values: Values, kind: str, name: str) -> Manifest:
    """The object of this kind and name."""
    (found,) = (m for m in manifests(values) if m["kind"] == kind and m["metadata"]["name"] == name)
    return found

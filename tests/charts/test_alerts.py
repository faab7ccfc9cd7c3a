"""Does every alert look at metrics that exist, say what to do, and leave when it is not wanted?"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from nodeipam_ctl.agent.metrics import AgentMetrics, ProbeMetrics
from nodeipam_ctl.controller.metrics import ControllerMetrics
from nodeipam_ctl.telemetry.metrics import Metrics
from tests.charts.chart import CHART, RELEASE, manifests, one, schema

_RULES: dict[str, list[dict[str, Any]]] = {
    program: yaml.safe_load((CHART / "alerts" / f"{program}.yaml").read_text())
    for program in ("controller", "agent")
}
_ALERTS = [
    pytest.param(program, rule, id=rule["alert"]) for program, rules in _RULES.items() for rule in rules
]
_ON = {"metrics": {"prometheusRule": {"enabled": True}}}


def _exported(program: str) -> set[str]:
    if program == "agent":
        agent = AgentMetrics()
        ProbeMetrics(agent.metrics)
        text = agent.metrics.exposition().decode()
    else:
        metrics = Metrics("controller")
        controller = ControllerMetrics(metrics)
        controller.watch(nodes=lambda: 0, queued=lambda: 0, leading=lambda: False)
        controller.watch_pools(tuple)
        text = metrics.exposition().decode()
    return set(re.findall(r"^# TYPE (nodeipam_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize(("program", "rule"), _ALERTS)
def test_an_alert_looks_at_what_its_program_exports(program: str, rule: dict[str, Any]) -> None:
    named = set(re.findall(r"nodeipam_\w+", rule["expr"]))

    assert named
    assert named <= _exported(program)


@pytest.mark.parametrize(("program", "rule"), _ALERTS)
def test_an_alert_says_what_and_how_bad(program: str, rule: dict[str, Any]) -> None:
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert all(text.endswith(".") for text in rule["annotations"].values())


def test_the_schema_knows_every_alert() -> None:
    rule = schema()["properties"]["metrics"]["properties"]["prometheusRule"]

    assert rule["properties"]["disabled"]["items"]["enum"] == [
        r["alert"] for rs in _RULES.values() for r in rs
    ]


def test_all_rules_arrive_as_they_are() -> None:
    spec = one(_ON, "PrometheusRule", RELEASE)["spec"]

    assert {group["name"]: group["rules"] for group in spec["groups"]} == {
        f"{RELEASE}-{program}": rules for program, rules in _RULES.items()
    }


def test_an_alert_that_is_not_wanted_and_those_of_a_program_that_is_off_stay_away() -> None:
    values = {
        "agent": {"enabled": False},
        "metrics": {"prometheusRule": {"enabled": True, "disabled": ["NodeIPAMNoLeader"]}},
    }
    (group,) = one(values, "PrometheusRule", RELEASE)["spec"]["groups"]

    assert [rule["alert"] for rule in group["rules"]] == [
        rule["alert"] for rule in _RULES["controller"] if rule["alert"] != "NodeIPAMNoLeader"
    ]


def test_there_is_no_rule_unless_asked_for() -> None:
    assert not [m for m in manifests({}) if m["kind"] == "PrometheusRule"]

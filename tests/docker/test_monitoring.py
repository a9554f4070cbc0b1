"""Metrics are documented, and dashboard and alerts speak of metrics that there are."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from facewright.service.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
MONITORING = runpy.run_path(str(ROOT / "docker" / "monitoring.py"))
ALERTS, FILES = MONITORING["ALERTS"], MONITORING["FILES"]
alert_rules, dashboard = MONITORING["alert_rules"], MONITORING["dashboard"]
metrics_page = MONITORING["metrics_page"]

NAMES = {series.name for series in Metrics().series()}
SUFFIXED = NAMES | {
    f"{series.name}{suffix}"
    for series in Metrics().series()
    if series.kind == "histogram"
    for suffix in ("_bucket", "_count", "_sum")
}


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_up_to_date(name: str) -> None:
    make: Callable[[], str] = FILES[name]
    assert (ROOT / name).read_text("utf-8") == make(), (
        f"{name} is out of date: run `python docker/monitoring.py`"
    )


def test_every_metric_that_is_served_is_documented() -> None:
    served = set(re.findall(r"# HELP (facewright_\w+)", Metrics().render().decode()))
    served = {name for name in served if not name.endswith("_created")}
    assert served == NAMES
    page = metrics_page()
    for name in served:
        assert f"| `{name}` |" in page


def test_every_metric_has_a_meaning() -> None:
    for series in Metrics().series():
        assert series.meaning.endswith("."), series.name


def test_dashboard_shows_every_metric_and_no_other() -> None:
    panels = json.loads(dashboard())["panels"]
    assert {panel["description"] for panel in panels} == NAMES
    for panel in panels:
        for target in panel["targets"]:
            used = set(re.findall(r"facewright_\w+", target["expr"]))
            assert used
            assert used <= SUFFIXED
            assert target["expr"].count("(") == target["expr"].count(")")


def test_alerts_are_rules_of_prometheus() -> None:
    (group,) = yaml.safe_load(alert_rules())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    for rule in group["rules"]:
        used = set(re.findall(r"facewright_\w+", rule["expr"]))
        assert used
        assert used <= SUFFIXED
        assert rule["for"].endswith("m")
        assert rule["labels"]["severity"] in ("warning", "critical")

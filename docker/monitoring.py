"""What monitoring needs, made from the table of metrics: documentation, dashboard, alerts.

`python docker/monitoring.py` writes `docs/metrics.md`, `docker/grafana/facewright.json` and
`docker/prometheus/alerts.yml`; a test fails when they are out of date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from facewright.service.telemetry.metrics import Metrics, Series

ROOT = Path(__file__).parents[1]
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}


class Alert(NamedTuple):
    """A rule of Prometheus."""

    name: str
    expression: str
    minutes: int
    severity: str
    summary: str


ALERTS = (
    Alert(
        "FacewrightNotReady",
        "facewright_ready == 0",
        5,
        "critical",
        "A server has not taken requests for five minutes: starting, draining or failed.",
    ),
    Alert(
        "FacewrightErrors",
        'sum(rate(facewright_requests_total{status=~"500|0"}[5m])) > 0',
        5,
        "critical",
        "Requests end with unexpected errors; the log has their request ids.",
    ),
    Alert(
        "FacewrightDeadlines",
        'sum(rate(facewright_requests_total{status="504"}[5m])) '
        "/ sum(rate(facewright_requests_total[5m])) > 0.01",
        5,
        "warning",
        "More than 1% of the requests are not answered in time.",
    ),
    Alert(
        "FacewrightRefusals",
        'sum(rate(facewright_requests_total{status="429"}[5m])) '
        '/ sum(rate(facewright_requests_total{route=~"/v1/.*"}[5m])) > 0.05',
        10,
        "warning",
        "More than 5% of the calls are refused: more replicas are needed.",
    ),
    Alert(
        "FacewrightNetworkStalled",
        "sum by (instance, stage) (facewright_queue_depth) > 0 and on (instance, stage) "
        "sum by (instance, stage) (rate(facewright_batch_size_count[5m])) == 0",
        5,
        "critical",
        "Images wait for a network that answers none.",
    ),
)


def metrics_page() -> str:
    """`docs/metrics.md`."""
    rows = [
        f"| `{series.name}` | {series.kind} | "
        f"{', '.join(f'`{label}`' for label in series.labels)} | {series.meaning} |"
        for series in Metrics().series()
    ]
    alerts = [
        f"| `{alert.name}` | {alert.severity} | {alert.minutes} min | {alert.summary} |"
        for alert in ALERTS
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            "`GET /metrics` answers in the text format of Prometheus, for all server processes "
            "together,",
            "with these and the usual `process_...` series. This page, the Grafana dashboard",
            "`docker/grafana/facewright.json` and the alert rules `docker/prometheus/alerts.yml` "
            "are made by",
            "`python docker/monitoring.py`; a test keeps them up to date.",
            "",
            "| metric | kind | labels | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "Stages of photos are those of `Server-Timing`; stages of batches and queues are the "
            "networks",
            "`detect`, `regress` and `segment`. A status of 499 is a request whose client "
            "left before its answer, and 0 one that was never answered.",
            "",
            "## Alerts",
            "",
            "| alert | severity | after | meaning |",
            "|---|---|---|---|",
            *alerts,
            "",
        ]
    )


def dashboard() -> str:
    """The Grafana dashboard: a panel for every metric."""
    panels = [_panel(number, series) for number, series in enumerate(Metrics().series())]
    board = {
        "title": "facewright",
        "uid": "facewright",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Source", "type": "datasource",
                      "query": "prometheus"}]
        },
        "panels": panels,
    }  # fmt: skip
    return json.dumps(board, indent=1) + "\n"


def alert_rules() -> str:
    """The rules as YAML; quoted the way of JSON, which YAML understands."""
    lines = ["# Made by `python docker/monitoring.py`.", "groups:", "  - name: facewright"]
    lines.append("    rules:")
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.minutes}m",
            f"        labels: {{severity: {alert.severity}}}",
            f"        annotations: {{summary: {json.dumps(alert.summary)}}}",
        ]
    return "\n".join(lines) + "\n"


FILES = {
    "docs/metrics.md": metrics_page,
    "docker/grafana/facewright.json": dashboard,
    "docker/prometheus/alerts.yml": alert_rules,
}


def _panel(number: int, series: Series) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": series.meaning.rstrip("."),
        "description": series.name,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": "s" if series.family.endswith("_seconds") else "short"},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend}
            for i, (expression, legend) in enumerate(_queries(series))
        ],
    }


def _queries(series: Series) -> list[tuple[str, str]]:
    """Expressions and legends: rates of counters, quantiles of histograms, sums of gauges."""
    by = ", ".join(series.labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in series.labels)
    if series.kind == "counter":
        return [(f"sum by ({by}) (rate({series.name}[5m]))", legend)]
    if series.kind == "gauge":
        return [(f"sum by ({by}) ({series.name})", legend)]
    buckets = f"sum by ({', '.join(['le', *series.labels])}) (rate({series.name}_bucket[5m]))"
    return [
        (f"histogram_quantile({quantile}, {buckets})", f"p{quantile * 100:g} {legend}".strip())
        for quantile in (0.5, 0.95)
    ]


def main() -> None:
    """Write all files."""
    for name, make in FILES.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), "utf-8")


if __name__ == "__main__":
    main()

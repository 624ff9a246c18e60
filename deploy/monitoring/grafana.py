"""The dashboards of panels.py as Grafana 10 and later read them: its dashboard JSON, schema version 39."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from deploy.monitoring.panels import Curve, Dashboard, Panel

SCHEMA_VERSION = 39
TAG = "fluoro"
# Grafana's grid is 24 columns wide.
WIDTH = 24
STAT_WIDTH, STAT_HEIGHT, CURVES_HEIGHT = 4, 4, 8
# Whoever looks chooses which Prometheus to ask.
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def text(dashboard: Dashboard) -> str:
    """Return a dashboard's file."""
    return json.dumps(document(dashboard), indent=2, ensure_ascii=False) + "\n"


def document(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as values."""
    places = positions(dashboard)
    panels = zip(dashboard.panels, places, strict=True)
    return {
        "uid": f"fluoro-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-12h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "links": [{"type": "dashboards", "title": "Fluoro", "tags": [TAG], "asDropdown": False, "keepTime": True}],
        "annotations": {"list": []},
        "panels": [_panel(number, panel, place) for number, (panel, place) in enumerate(panels, 1)],
    }


def positions(dashboard: Dashboard) -> Iterator[dict[str, int]]:
    """Yield the place of each panel in the grid: side by side, in as many rows as they need."""
    x = y = row_height = 0
    for panel in dashboard.panels:
        width, height = _size(panel, dashboard.columns)
        if x + width > WIDTH:
            x, y, row_height = 0, y + row_height, 0
        yield {"x": x, "y": y, "w": width, "h": height}
        x, row_height = x + width, max(row_height, height)


def _size(panel: Panel, columns: int) -> tuple[int, int]:
    return (STAT_WIDTH, STAT_HEIGHT) if panel.kind == "stat" else (WIDTH // columns, CURVES_HEIGHT)


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": OPTIONS[panel.kind],
        "targets": list(_targets(panel.curves)),
    }


OPTIONS = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}


def _field(panel: Panel) -> dict[str, Any]:
    """Return how values are shown: green, or red from a limit on, which is a line among curves."""
    red = [] if panel.red_from is None else [{"color": "red", "value": panel.red_from}]
    lines = "line" if red and panel.kind == "timeseries" else "off"
    return {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}, *red]},
        "custom": {"thresholdsStyle": {"mode": lines}} if panel.kind == "timeseries" else {},
    }


def _targets(curves: Iterable[Curve]) -> Iterator[dict[str, Any]]:
    for letter, curve in zip("ABCDEFGH", curves, strict=False):
        yield {
            "refId": letter,
            "datasource": SOURCE,
            "expr": curve.expression,
            "legendFormat": curve.name or "__auto",
        }

"""The dashboards are what Grafana can show: each panel has a place, words and a unit, and asks for metrics that exist."""

import itertools
from typing import Any

import pytest

from deploy.monitoring import grafana
from deploy.monitoring.panels import DASHBOARDS, NIGHT, Dashboard
from tests.support.servers import metric_names

# Grafana's identifiers of the units that are used here.
UNITS = {"short", "cps", "reqps", "s", "ms", "bytes", "Bps", "percentunit"}

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return a dashboard's panels, as Grafana reads them."""
    found: list[dict[str, Any]] = grafana.document(dashboard)["panels"]
    return found


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """Return the cells of the grid that a panel covers."""
    place = panel["gridPos"]
    columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return set(itertools.product(columns, rows))


@each_dashboard
def test_no_two_panels_have_the_same_number_or_title(dashboard: Dashboard) -> None:
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels(dashboard)}) == len(dashboard.panels)


@each_dashboard
def test_panels_lie_in_the_grid_and_do_not_overlap(dashboard: Dashboard) -> None:
    covered = [cell for panel in panels(dashboard) for cell in cells(panel)]

    assert len(covered) == len(set(covered))
    assert all(0 <= column < grafana.WIDTH for column, _ in covered)


@each_dashboard
def test_every_panel_says_what_it_shows_and_in_which_unit(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@each_dashboard
def test_every_curve_of_a_panel_has_a_letter_a_query_and_the_chosen_source(dashboard: Dashboard) -> None:
    for panel, written in zip(dashboard.panels, panels(dashboard), strict=True):
        letters = [target["refId"] for target in written["targets"]]
        assert letters == sorted(set(letters))
        assert [target["expr"] for target in written["targets"]] == [curve.expression for curve in panel.curves]
        assert {target["datasource"]["uid"] for target in written["targets"]} == {"${datasource}"}


@each_dashboard
def test_every_metric_of_a_dashboard_exists(dashboard: Dashboard) -> None:
    named = [metric_names.named(curve.expression) for panel in dashboard.panels for curve in panel.curves]

    assert all(named) or dashboard is NIGHT
    assert not set().union(*named) - metric_names.known()


def test_every_dashboard_lets_its_reader_choose_the_prometheus() -> None:
    for dashboard in DASHBOARDS:
        (variable,) = grafana.document(dashboard)["templating"]["list"]
        assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


def test_names_that_links_use_are_unique() -> None:
    assert len({grafana.document(dashboard)["uid"] for dashboard in DASHBOARDS}) == len(DASHBOARDS)


def test_night_says_whether_all_is_well_in_ten_panels() -> None:
    assert len(NIGHT.panels) <= 10
    assert all(panel.red_from is not None for panel in NIGHT.panels if panel.kind == "stat")


def test_a_panel_begins_a_new_row_where_the_grid_ends() -> None:
    places = list(grafana.positions(NIGHT))

    # Six figures in a row of four cells' height, and four panels of curves below, two in a row.
    assert [(place["x"], place["y"]) for place in places[5:]] == [(20, 0), (0, 4), (12, 4), (0, 12), (12, 12)]

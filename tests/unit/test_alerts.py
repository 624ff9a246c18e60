"""The alert rules are valid, each is tried by promtool, and each tells a person what to do."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.machine.debian_tools import Programs
from tests.support.servers import metric_names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
FILES = ("alerts.yml", "optional.yml")
CASES = ("alerts.test.yml", "optional.test.yml")
SEVERITIES = {"critical", "warning"}
ANNOTATIONS = {"summary", "description", "runbook"}
PRODUCT = ("operators", "gateway", "api", "pipelines", "deploy")


def read(name: str) -> Any:
    """Return what a file says."""
    return YAML(typ="safe").load(FOLDER / name)


def alerts() -> list[dict[str, Any]]:
    """Return all rules."""
    return [rule for name in FILES for group in read(name)["groups"] for rule in group["rules"]]


def cases() -> Iterator[tuple[str, str, list[str]]]:
    """Yield for each case its name, its alert, and the labels of the series that it must give; none where it is quiet."""
    for case in (case for name in CASES for case in read(name)["tests"]):
        (tried,) = case["promql_expr_test"]
        (alert,) = re.findall(r'alertname="(\w+)", alertstate="firing"', tried["expr"])
        yield case["name"], alert, [sample["labels"] for sample in tried["exp_samples"]]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def product_source() -> str:
    """Return the source of all that may log."""
    return "".join(path.read_text(encoding="utf-8") for name in PRODUCT for path in (ROOT / name).rglob("*.py"))


def events_of(rule: dict[str, Any]) -> list[str]:
    """Return the events that a rule tells to look for in the logs."""
    named: str = rule["annotations"].get("log", "")
    return named.split(", ") if named else []


each_alert = pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])


@pytest.mark.parametrize("name", FILES)
def test_promtool_accepts_the_rules(prometheus_programs: Programs, name: str) -> None:
    prometheus_programs.run("promtool", "check", "rules", FOLDER / name)


def test_promtool_accepts_the_configuration_that_loads_the_rules(prometheus_programs: Programs) -> None:
    checked = prometheus_programs.run("promtool", "check", "config", FOLDER / "prometheus.yml").stdout

    assert f"Checking {FOLDER / 'alerts.yml'}" in checked


@pytest.mark.parametrize("name", CASES)
def test_every_case_of_the_rules_comes_out_as_it_says(prometheus_programs: Programs, name: str) -> None:
    try:
        prometheus_programs.run("promtool", "test", "rules", FOLDER / name)
    except subprocess.CalledProcessError as failed:
        pytest.fail(failed.stdout + failed.stderr)


@each_alert
def test_an_alert_has_a_case_that_fires_it_and_one_that_does_not(rule: dict[str, Any]) -> None:
    outcomes = {bool(series) for _, alert, series in cases() if alert == rule["alert"]}

    assert outcomes == {True, False}


def test_the_name_of_a_case_says_its_alert_and_its_outcome() -> None:
    assert not [
        name for name, alert, series in cases() if not name.startswith(f"{alert} {'fires' if series else 'is quiet'} ")
    ]


@each_alert
def test_the_texts_of_an_alert_use_only_labels_that_it_has(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    fired = [series for _, alert, found in cases() for series in found if alert == rule["alert"]]

    assert not [series for series in fired if not used <= set(re.findall(r"(\w+)=", series))]


@each_alert
def test_an_alert_says_how_urgent_it_is_and_what_has_happened(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() - {"log"} == ANNOTATIONS
    assert rule["annotations"]["summary"].endswith(".")


@each_alert
def test_the_runbook_of_an_alert_exists(rule: dict[str, Any]) -> None:
    document, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert anchor in anchors(ROOT / document)


@each_alert
def test_the_events_that_an_alert_tells_to_look_for_are_logged(rule: dict[str, Any]) -> None:
    assert not [event for event in events_of(rule) if f'"{event}"' not in product_source()]


@each_alert
def test_every_metric_of_an_alert_exists(rule: dict[str, Any]) -> None:
    assert not metric_names.named(rule["expr"]) - metric_names.known()


def test_every_alert_has_a_name_of_its_own() -> None:
    names = [rule["alert"] for rule in alerts()]

    assert len(names) == len(set(names))


def watched() -> list[tuple[set[str], set[str]]]:
    """Return for each row of the table of what to watch the ends of its metrics' names, and its alerts."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("## What to watch")[2].partition("\n#")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return [(set(re.findall(r"`(\w+)", row[0])), set(re.findall(r"\w+", row[-1]))) for row in rows]


def test_the_table_of_what_to_watch_names_every_alert() -> None:
    named = {name for _, names in watched() for name in names}

    assert named == {rule["alert"] for group in read("alerts.yml")["groups"] for rule in group["rules"]}


def test_every_metric_to_watch_is_in_an_alert_of_its_row() -> None:
    expressions = {rule["alert"]: rule["expr"] for rule in alerts()}
    unwatched = [
        metric
        for metrics, names in watched()
        for metric in metrics
        if names and not any(metric in expressions[name] for name in names)
    ]

    assert not unwatched

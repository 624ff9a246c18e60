"""Every panel of the dashboards asks a real Prometheus for what a working stack has."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest

from deploy.commands.stow import store_file
from deploy.demo.sample import write_ct
from deploy.demo.sending import send
from deploy.demo.study import read_study
from deploy.local.running import RunningStack, wait_until
from tests.support.machine.debian_tools import Programs
from tests.support.servers import metric_names
from tests.support.servers.prometheus import Prometheus, Sample
from tests.support.servers.watching import watching

FOLDER = Path(__file__).parents[3] / "deploy" / "monitoring" / "dashboards"
SOON_S = 60.0
# Grafana's variable: so long that what was sent and read stays in sight of all tests.
RATE_INTERVAL = "5m"
# Panels of what has not happened to a stack where all is well.
EMPTY = {
    ("reading", "Limits that were met"),
    ("reading", "Damaged objects, since the start"),
    ("reading", "Rendering processes that ended"),
}


class Shown(NamedTuple):
    """A panel of a dashboard, with what it asks."""

    dashboard: str
    title: str
    expressions: tuple[str, ...]


def panels() -> Iterator[Shown]:
    """Yield every panel of the files that Grafana loads."""
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            asked = tuple(target["expr"].replace("$__rate_interval", RATE_INTERVAL) for target in panel["targets"])
            yield Shown(path.stem, panel["title"], asked)


SHOWN = tuple(panels())
each_panel = pytest.mark.parametrize("panel", SHOWN, ids=lambda one: f"{one.dashboard}: {one.title}")


def use(stack: RunningStack, folder: Path) -> None:
    """Send a study over DIMSE and what is refused over STOW-RS, command that it is held, and read as a viewer does."""
    study_uid = write_ct(folder, uuid4(), slices=3)
    files = read_study(folder)
    send(stack, folder, files)
    base = f"{stack.api_url}/dicomweb"
    study = f"{base}/studies/{study_uid}"
    with httpx.Client(trust_env=False, timeout=SOON_S) as client:
        assert store_file(base, b"", memoryview(b"no DICOM file")).status == 409
        assert client.post(f"{base}/studies", content=b"{}", headers={"Content-Type": "text/plain"}).is_error
        found = f"{base}/instances?StudyInstanceUID={study_uid}"
        wait_until(lambda: len(client.get(found).json()) == len(files), SOON_S, "the study is not found")
        command = {"action": "hold", "why": "a panel counts commands"}
        assert client.post(f"{stack.api_url}/v1/studies/{study_uid}/commands", json=command).is_success
        instance = f"{study}/series/{files[0].series_uid}/instances/{files[0].sop_uid}"
        for address in (f"{study}/metadata", instance, f"{instance}/rendered"):
            assert client.get(address).is_success, address


@pytest.fixture(scope="module")
def watched(
    stack: RunningStack, prometheus_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has seen a stack at work.

    Counters with labels exist before it looks, because it sees no rate of their first event.
    """
    use(stack, tmp_path_factory.mktemp("earlier"))
    with watching(stack, prometheus_programs, tmp_path_factory.mktemp("prometheus")) as running:
        use(stack, tmp_path_factory.mktemp("study"))
        yield running


def numbers(samples: list[Sample]) -> list[float]:
    return [sample.value for sample in samples if math.isfinite(sample.value)]


@each_panel
def test_a_panel_asks_what_prometheus_can_answer(panel: Shown, watched: Prometheus) -> None:
    for expression in panel.expressions:
        assert not metric_names.named(expression) - metric_names.known()
        watched.query(expression)


@each_panel
def test_a_panel_shows_something_while_the_stack_works(panel: Shown, watched: Prometheus) -> None:
    if (panel.dashboard, panel.title) in EMPTY:
        return
    wait_until(
        lambda: any(numbers(watched.query(expression)) for expression in panel.expressions), SOON_S, "it shows nothing"
    )


def test_the_panels_that_may_be_empty_exist() -> None:
    assert {(panel.dashboard, panel.title) for panel in SHOWN} >= EMPTY


def test_the_stores_own_metric_of_an_alert_exists(watched: Prometheus) -> None:
    assert watched.wait_for("minio_cluster_capacity_usable_free_bytes / minio_cluster_capacity_usable_total_bytes")


def test_no_alert_fires_on_a_stack_where_all_is_well(watched: Prometheus) -> None:
    firing = watched.query('ALERTS{severity="critical", alertstate="firing"}')

    assert [sample.labels["alertname"] for sample in firing] == []


def test_figures_of_the_night_are_not_red(watched: Prometheus) -> None:
    for panel in json.loads((FOLDER / "night.json").read_text(encoding="utf-8"))["panels"]:
        limits = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        if panel["type"] == "stat":
            (value,) = numbers(watched.wait_for(panel["targets"][0]["expr"]))
            assert value < limits[-1]["value"], panel["title"]

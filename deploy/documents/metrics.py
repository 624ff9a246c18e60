"""The page about metrics, docs/metrics.md: the text of metrics.template.md, with the metrics of each process."""

from collections.abc import Iterator
from pathlib import Path
from string import Template

from prometheus_client.metrics import MetricWrapperBase

from deploy.documents.page import table
from schemas.flink_metrics import FLINK_METRICS
from schemas.telemetry import SERVED, family_of, labels_of

TEMPLATE = Path(__file__).with_name("metrics.template.md")
OWN = ("metric", "type", "labels", "`job`", "meaning")
FLINKS = ("metric", "labels", "meaning")


def text() -> str:
    """Return the page."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        own=table(OWN, own_rows()), flink=table(FLINKS, flink_rows())
    )


def own_rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each metric of our processes."""
    for metric in dict.fromkeys(metric for metrics in SERVED.values() for metric in metrics):
        family = family_of(metric)
        processes = ", ".join(process for process, served in SERVED.items() if metric in served)
        yield f"`{name(metric)}`", family.type, _labels(labels_of(metric)), processes, family.documentation


def name(metric: MetricWrapperBase) -> str:
    """Return a metric's name in a query."""
    family = family_of(metric)
    return f"{family.name}_total" if family.type == "counter" else family.name


def flink_rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each metric of Flink that is passed on."""
    for metric in FLINK_METRICS:
        yield f"`{metric.prometheus_name}`", _labels(metric.labels), metric.meaning


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in names)

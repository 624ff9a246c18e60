"""The settings of Flink's metrics reporter, for the cluster of this machine and for a distribution."""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from deploy.install.components.flink_home import REPORTER_FACTORY
from schemas.flink_metrics import FLINK_METRICS, LEFT_OUT_LABELS, FlinkMetric

HOST = "127.0.0.1"
PREFIX = "metrics.reporter.prom"


def settings(ports: str) -> dict[str, str]:
    """Return the settings by which each process of Flink serves its metrics at the first free one of these ports."""
    return {
        f"{PREFIX}.factory.class": REPORTER_FACTORY,
        f"{PREFIX}.host": HOST,
        f"{PREFIX}.port": ports,
        f"{PREFIX}.filter.includes": ";".join(filters(FLINK_METRICS)),
        f"{PREFIX}.scope.variables.excludes": ";".join(LEFT_OUT_LABELS),
    }


def filters(metrics: Iterable[FlinkMetric]) -> list[str]:
    """Return one of Flink's filters for each scope of these metrics: the scope and its names."""
    scopes = groupby(sorted(metrics, key=attrgetter("scope")), attrgetter("scope"))
    return [f"{scope}:{','.join(metric.name for metric in group)}" for scope, group in scopes]

"""The names of all series that the archive's processes and Flink serve, as queries use them."""

import re

from schemas.flink_metrics import FLINK_METRICS
from schemas.telemetry import SERVED, family_of

# What the text format makes of a metric's name, by its type.
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
NAME = re.compile(r"\b(?:fluoro|flink)_\w+")


def known() -> frozenset[str]:
    """Return the name of every series."""
    families = [family_of(metric) for served in SERVED.values() for metric in served]
    ours = {f"{family.name}{ending}" for family in families for ending in ENDINGS[family.type]}
    return frozenset(ours | {metric.prometheus_name for metric in FLINK_METRICS})


def named(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression names."""
    return set(NAME.findall(expression))

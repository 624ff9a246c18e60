"""Flink's reporter is told where to listen, and which few metrics to pass on."""

from deploy.flink import reporter
from deploy.install.components import flink_home
from deploy.install.layout import here
from schemas.flink_metrics import FLINK_METRICS, FlinkMetric


def test_the_metrics_of_a_scope_are_one_filter() -> None:
    metrics = [FlinkMetric("job", "b", ""), FlinkMetric("job.task", "c", ""), FlinkMetric("job", "a", "")]

    assert reporter.filters(metrics) == ["job:b,a", "job.task:c"]


def test_every_metric_of_the_list_is_passed_on_from_loopback() -> None:
    made = reporter.settings("9249-9250")
    passed = {
        (scope, name)
        for scope, names in (one.split(":") for one in made["metrics.reporter.prom.filter.includes"].split(";"))
        for name in names.split(",")
    }

    assert passed == {(metric.scope, metric.name) for metric in FLINK_METRICS}
    assert made["metrics.reporter.prom.host"] == "127.0.0.1"
    assert made["metrics.reporter.prom.port"] == "9249-9250"


def test_the_factory_is_the_class_of_our_source() -> None:
    package, _, name = flink_home.REPORTER_FACTORY.rpartition(".")
    source = here().reporter_source.read_text()

    assert f"\npackage {package};" in source
    assert f"public class {name} implements MetricReporterFactory" in source

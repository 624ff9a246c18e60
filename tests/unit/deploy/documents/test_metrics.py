"""The page about metrics lists each metric as a query names it, and the processes that serve it."""

import pytest
from prometheus_client.metrics import MetricWrapperBase

from deploy.documents import metrics
from schemas import telemetry
from schemas.flink_metrics import FLINK_METRICS


@pytest.mark.parametrize(
    ("metric", "row"),
    [
        (telemetry.API_REQUESTS, ("`fluoro_api_requests_total`", "counter", "`route`, `status`", "web")),
        (telemetry.GATEWAY_STORE_SECONDS, ("`fluoro_gateway_store_seconds`", "histogram", "", "gateway, web")),
        (telemetry.JOB_STOPPED, ("`fluoro_job_stopped`", "gauge", "`job_name`", "jobs")),
    ],
)
def test_a_row_has_name_type_labels_and_processes(metric: MetricWrapperBase, row: tuple[str, ...]) -> None:
    (found,) = [listed for listed in metrics.own_rows() if listed[0] == row[0]]

    assert found == (*row, telemetry.family_of(metric).documentation)


def test_every_metric_has_a_meaning_and_one_row() -> None:
    rows = [*metrics.own_rows(), *metrics.flink_rows()]

    assert [row for row in rows if not row[-1].endswith(".")] == []
    assert len({row[0] for row in rows}) == len(rows)
    assert f"\n| `{FLINK_METRICS[0].prometheus_name}` |" in metrics.text()

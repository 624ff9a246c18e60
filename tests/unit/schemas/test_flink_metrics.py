"""Flink's metrics have the names that Prometheus sees, and the labels that are left."""

from schemas.flink_metrics import FLINK_METRICS, LEFT_OUT_LABELS


def test_a_name_in_prometheus_is_made_of_scope_and_name() -> None:
    names = {metric.prometheus_name for metric in FLINK_METRICS}

    assert "flink_jobmanager_job_numRestarts" in names
    assert "flink_taskmanager_job_task_operator_KafkaSourceReader_KafkaConsumer_records_lag_max" in names
    assert len(names) == len(FLINK_METRICS)


def test_a_metric_of_an_operator_names_job_task_and_operator_and_one_of_a_process_nothing() -> None:
    labels = {metric.prometheus_name: metric.labels for metric in FLINK_METRICS}

    assert labels["flink_jobmanager_job_uptime"] == ("job_name", "job_id")
    assert "operator_name" not in labels["flink_taskmanager_job_task_numRecordsIn"]
    assert "operator_name" in labels["flink_taskmanager_job_task_operator_KafkaSourceReader_commitsFailed"]
    assert labels["flink_jobmanager_Status_JVM_CPU_Time"] == ()
    assert not {label for found in labels.values() for label in found} & set(LEFT_OUT_LABELS)

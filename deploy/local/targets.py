"""Where Prometheus finds the metrics of each process of a stack: a file in the data folder, in the form of its file_sd."""

from collections.abc import Iterable
from typing import Any

from deploy.local.json_file import write_json
from deploy.local.stack import Stack
from schemas.settings.jobs import JobSettings
from schemas.telemetry import GATEWAY, LAUNCHER, VERIFIER, WEB

FLINK, MINIO = "flink", "minio"
MINIO_PATH = "/minio/v2/metrics/cluster"
EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - names of addresses, bound by nobody here


def write(stack: Stack) -> None:
    """Write the file; anybody on this machine may read it, as Prometheus does under a user of its own."""
    write_json(stack.folder.metric_targets, targets(stack), mode=0o644)


def targets(stack: Stack) -> list[dict[str, Any]]:
    """Return the processes that have metrics, by kind: Prometheus shows the kind as the label `job`."""
    dimse = stack.dimse
    gateways = range(dimse.metrics_port, dimse.metrics_port + dimse.processes)
    return [
        _group(GATEWAY, dimse.host, gateways),
        _group(WEB, stack.api.host, [stack.api.port]),
        *(_jobs(stack.job) if stack.with_jobs and stack.job.metrics_port else ()),
        *([_group(VERIFIER, "", [stack.verify.metrics_port])] if stack.verify.metrics_port else ()),
        _group(MINIO, "", [stack.ports["minio"]], __metrics_path__=MINIO_PATH),
    ]


def _jobs(job: JobSettings) -> list[dict[str, Any]]:
    return [_group(LAUNCHER, "", [job.metrics_port]), _group(FLINK, "", [job.flink_metrics_port])]


def _group(kind: str, host: str, ports: Iterable[int], **labels: str) -> dict[str, Any]:
    address = "127.0.0.1" if host in EVERY_ADDRESS else host
    return {"targets": [f"{address}:{port}" for port in ports], "labels": {"job": kind, **labels}}

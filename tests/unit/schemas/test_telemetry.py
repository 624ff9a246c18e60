"""Log lines say where something failed, and quote no data; each process serves its own metrics."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from schemas import telemetry

ROOT = Path(__file__).parents[3]
FAILING = """
import warnings
import structlog
from schemas.telemetry import set_up_logs

set_up_logs("gateway")

def examine():
    patient_name = "CANARY^LOCAL"
    raise ValueError("CANARY^VALUE")

warnings.warn("CANARY^WARNING")
try:
    examine()
except ValueError as error:
    structlog.get_logger().error("association_failed", exc_info=error)
"""


def test_a_logged_failure_quotes_neither_local_variables_nor_the_exception_s_message() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "association_failed" in done.stderr
    assert "ValueError" in done.stderr
    assert "examine" in done.stderr
    assert "CANARY" not in done.stderr


UNCAUGHT = """
import gc
import threading
import structlog
from schemas.telemetry import set_up_logs

set_up_logs("gateway")
log = structlog.get_logger()

def fail(*_):
    error = ValueError("CANARY^VALUE")
    error.add_note("CANARY^NOTE")
    raise error

try:
    fail()
except ValueError as error:
    log.error("group_failed", exc_info=ExceptionGroup("CANARY^GROUP", [error, ExceptionGroup("CANARY^INNER", [error])]))
try:
    compile("CANARY = = 1", "<text>", "exec")
except SyntaxError as error:
    log.error("parsing_failed", exc_info=error)

class Finalized:
    __del__ = fail

Finalized()
gc.collect()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""


def test_groups_notes_threads_and_finalizers_quote_no_data_either() -> None:
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert [line["event"] for line in lines] == ["group_failed", "parsing_failed", "exception_ignored", "thread_failed"]
    assert [member[0]["exc_type"] for member in lines[0]["exception"][0]["exceptions"]] == [
        "ValueError",
        "ExceptionGroup",
    ]
    assert "CANARY" not in done.stderr


FULL = """
import structlog
from prometheus_client import REGISTRY
from schemas.telemetry import set_up_logs

set_up_logs("gateway")
structlog.get_logger().error("disk_full")
print(REGISTRY.get_sample_value("fluoro_log_lines_lost_total"))
"""


def test_a_log_on_a_full_disk_loses_the_line_and_stops_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", FULL], cwd=ROOT, stdout=subprocess.PIPE, stderr=full, text=True, check=True
        )

    assert done.stdout == "1.0\n"


def test_every_metric_is_served_by_a_process() -> None:
    defined = {value for value in vars(telemetry).values() if isinstance(value, MetricWrapperBase)}

    assert defined == {metric for metrics in telemetry.SERVED.values() for metric in metrics}


@pytest.mark.parametrize("process", telemetry.SERVED)
def test_a_process_serves_its_own_metrics_and_what_is_measured_of_any_python(process: str) -> None:
    names = set(re.findall(r"# TYPE (\S+)", telemetry.exposition(process).decode()))
    own = {telemetry.family_of(metric).name for metric in telemetry.SERVED[process]}

    ours = {name.removesuffix("_created").removesuffix("_total") for name in names if name.startswith("fluoro_")}
    assert ours == own
    assert "process_resident_memory_bytes" in names


QUIET = """
import structlog
from schemas.telemetry import set_up_logs

set_up_logs("commands", without=["broker_client_error"])
structlog.get_logger().warning("broker_client_error")
structlog.get_logger().warning("store_clock_corrected")
"""


def test_a_command_leaves_out_the_events_that_its_own_line_tells() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], cwd=ROOT, capture_output=True, text=True, check=True)

    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["store_clock_corrected"]

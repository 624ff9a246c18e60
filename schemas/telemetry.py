"""The log format and the metrics of all processes; neither ever holds a patient's data."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from structlog.tracebacks import ExceptionDictTransformer

OUR_PREFIX = "fluoro_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)


# What is logged of an exception. Its text, its notes and the source that a SyntaxError quotes may hold a patient's data.
KEPT_OF_EXCEPTION = ("exc_type", "frames", "is_cause", "is_group")


def without_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep only the types and tracebacks of exceptions, also of those in a group."""
    if "exception" in event:
        event["exception"] = [_without_values(raised) for raised in event["exception"]]
    return event


def _without_values(raised: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: raised[name] for name in KEPT_OF_EXCEPTION}
    members = [[_without_values(member) for member in chain] for chain in raised["exceptions"]]
    return kept | ({"exceptions": members} if members else {})


class LogWriter:
    """Writes finished log lines to standard error.

    A line that cannot be written, on a full disk for example, is counted and lost: what it tells of must not fail too.
    """

    def write(self, line: str) -> None:
        """Write one line."""
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            LOG_LINES_LOST.inc()

    debug = info = warning = error = critical = write


def set_up_logs(service: str, without: Collection[str] = ()) -> None:
    """Write log lines as JSON to standard error, each with its service, time and level, save for the events in `without`.

    So are the exceptions that end a thread or a finalizer, in place of Python's own report, which quotes their texts.
    """
    structlog.configure(
        processors=[
            partial(_drop, without),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            without_values,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: LogWriter(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries quote values in their warnings. All are ignored for the whole life of the process: a library that changes
    # the filters for a moment in one thread would turn other threads' warnings on again.
    warnings.simplefilter("ignore")
    threading.excepthook = _log_thread_failed
    sys.unraisablehook = _log_ignored


def _drop(events: Collection[str], _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop the lines of these events."""
    if line["event"] in events:
        raise structlog.DropEvent
    return line


def _log_thread_failed(raised: threading.ExceptHookArgs) -> None:
    if not issubclass(raised.exc_type, SystemExit):
        structlog.get_logger().error(
            "thread_failed", exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback)
        )


def _log_ignored(raised: "sys.UnraisableHookArgs") -> None:
    structlog.get_logger().error(
        "exception_ignored", exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback)
    )


def exposition(process: str) -> bytes:
    """Return a process's metrics in Prometheus' text format."""
    return generate_latest(registry_of(process))


def registry_of(process: str) -> CollectorRegistry:
    """Return a registry of what a process serves: its own metrics, and what the client library measures of it."""
    registry = CollectorRegistry()
    registry.register(_Served(frozenset(family_of(metric).name for metric in SERVED[process])))
    return registry


def family_of(metric: MetricWrapperBase) -> Family:
    """Return a metric's name (of a counter without its ending), type and meaning."""
    (family,) = metric.describe()
    return family


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    """Return the names of a metric's labels."""
    return tuple(metric._labelnames)  # noqa: SLF001 - the library tells them in no other way


class _Served(Collector):
    """Metrics of all processes that share a metrics folder, else of this one; of ours only those with these names."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def collect(self) -> Iterator[Family]:
        """Yield each metric with its values."""
        for family in _all_metrics().collect():
            if family.name in self._names or not family.name.startswith(OUR_PREFIX):
                yield family


def _all_metrics() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


# Any process.
LOG_LINES_LOST = Counter("fluoro_log_lines_lost_total", "Log lines that could not be written.")
# `task` is a name that operators/tasks.py was given, "callback" for a loop's callback, "library" for a library's task.
TASK_FAILED = Counter("fluoro_task_failed_total", "Tasks that ended by an exception nobody answered.", ["task"])
PRODUCER_BROKEN = Counter(
    "fluoro_producer_broken_total",
    "Producers that failed for good and were replaced, by librdkafka's error.",
    ["error"],
)

# The gateway. The `outcome` of an instance is one of gateway/intake/status.py.
GATEWAY_PROCESS_STARTS = Gauge(
    "fluoro_gateway_process_starts", "How often a process was started in the place of the one that answers."
)
GATEWAY_ASSOCIATIONS = Gauge("fluoro_gateway_associations", "Associations that are open.")
GATEWAY_ASSOCIATED = Counter(
    "fluoro_gateway_association_requests_total",
    "Association requests by answer: accepted, contexts-refused (accepted for C-ECHO at most, though more was asked), or why.",
    ["outcome"],
)
GATEWAY_ABORTED = Counter(
    "fluoro_gateway_aborts_total", "Associations aborted by us or by the peer, by reason.", ["reason"]
)
GATEWAY_TURNED_AWAY = Counter(
    "fluoro_gateway_turned_away_total", "Connections closed before they could request an association.", ["reason"]
)
GATEWAY_PEERS = Gauge("fluoro_gateway_peers", "Peers that may call.", multiprocess_mode="max")
GATEWAY_PEERS_READ = Counter("fluoro_gateway_peers_read_total", "Changed peers files, by outcome.", ["outcome"])
GATEWAY_INSTANCES = Counter(
    "fluoro_gateway_instances_total", "Instances by the outcome that the sender was told.", ["outcome"]
)
GATEWAY_REJECTED = Counter(
    "fluoro_gateway_rejected_total", "Instances that can never be shown, by reason, at either door.", ["reason"]
)
GATEWAY_QUARANTINED = Counter(
    "fluoro_gateway_quarantined_total", "Instances kept in quarantine, by reason.", ["reason"]
)
GATEWAY_QUARANTINE_FULL = Counter(
    "fluoro_gateway_quarantine_full_total",
    "Refused instances that were not kept, since their tenant's quarantine is full.",
)
GATEWAY_QUARANTINE_BYTES = Gauge(
    "fluoro_gateway_quarantine_bytes",
    "Bytes in quarantine when they were last counted, at least 4 KiB for each object.",
    ["tenant"],
    multiprocess_mode="max",
)
GATEWAY_QUARANTINE_QUOTA_BYTES = Gauge(
    "fluoro_gateway_quarantine_quota_bytes", "Bytes that each tenant may have in quarantine.", multiprocess_mode="max"
)
GATEWAY_SPOOLED_BYTES = Gauge(
    "fluoro_gateway_spooled_bytes",
    "Bytes of data sets being received that are in spool files.",
    multiprocess_mode="livesum",
)
GATEWAY_BYTES = Counter("fluoro_gateway_bytes_total", "Bytes of data sets received.")
GATEWAY_STORE_SECONDS = Histogram(
    "fluoro_gateway_store_seconds", "Seconds from the last byte of a C-STORE request to the response.", buckets=SECONDS
)
GATEWAY_OUTBOX_OPEN = Gauge(
    "fluoro_gateway_outbox_open",
    "Outbox entries, of instances and of documents, whose event is not published yet.",
    multiprocess_mode="livesum",
)
GATEWAY_OUTBOX_TROUBLE = Counter(
    "fluoro_gateway_outbox_trouble_total",
    "What a person must look at, each thing once: an object that has no event, a line or a file that cannot be read, an "
    "entry whose work ends in an unexpected error.",
    ["what"],
)
GATEWAY_DAMAGED = Counter(
    "fluoro_gateway_damaged_total",
    "Times that a stored object was found missing bytes or altered, by reason.",
    ["reason"],
)
GATEWAY_HEALED = Counter("fluoro_gateway_healed_total", "Events published from the outbox after a failure.")

# The object store, in every process that asks it.
STORE_CLOCK_AHEAD = Gauge(
    "fluoro_store_clock_ahead_seconds",
    "By how much the store's clock is ahead of the machine's, by the store's last answers.",
    multiprocess_mode="livemostrecent",
)

# Commands about studies, over REST. The `outcome` is given, repeat, failed (an error of the
# program), or the reason code of what was answered.
COMMANDS_ASKED = Counter(
    "fluoro_commands_total", "Commands that were asked for, by action and outcome.", ["action", "outcome"]
)
DOCUMENTS_WAITING = Gauge(
    "fluoro_documents_waiting",
    "Commands and policies in the outbox whose event is not published yet.",
    multiprocess_mode="livesum",
)

# The STOW-RS door. `reason` is the reason code of the problem that refused a request, or broke off its body.
STOW_REQUESTS = Counter("fluoro_stow_requests_total", "Store requests by status.", ["status"])
STOW_REFUSED = Counter("fluoro_stow_refused_total", "Store requests refused for a rule or a limit.", ["reason"])
STOW_OPEN = Gauge("fluoro_stow_open", "Store requests that are being received.", multiprocess_mode="livesum")

# The read API.
API_REQUESTS = Counter("fluoro_api_requests_total", "Requests by route and status.", ["route", "status"])
API_SECONDS = Histogram(
    "fluoro_api_request_seconds",
    "Seconds from the request to the last byte of the response.",
    ["route"],
    buckets=SECONDS,
)
API_DAMAGED = Counter(
    "fluoro_api_damaged_total", "Objects that were missing, or not the bytes that were stored.", ["reason"]
)
API_LIMITED = Counter("fluoro_api_limited_total", "Requests refused or answered in part because of a limit.", ["limit"])
API_RENDERED = Counter("fluoro_api_rendered_total", "Images by outcome: rendered, or the reason why not.", ["outcome"])
API_CHILDREN_ENDED = Counter("fluoro_api_children_ended_total", "Rendering processes ended, by reason.", ["why"])

# The launcher of the jobs. What the jobs themselves do is in flink_metrics.py. The label of a job is Flink's: `job` is Prometheus'
# own word for the kind of a process.
JOB_RUNNING = Gauge("fluoro_job_running", "1 while all tasks of a job run, else 0.", ["job_name"])
JOB_STOPPED = Gauge(
    "fluoro_job_stopped", "1 while a job has stopped for good and waits for an operator, else 0.", ["job_name"]
)
# With a label, so that there is no series, and no 0, before the broker has been asked: the alert looks for what rises.
DEAD_LETTERS = Gauge(
    "fluoro_dead_letters_written",
    "Dead letters that were ever written into their topic, by all jobs, as the broker counts them.",
    ["topic"],
)

# The process that begins the passes of the verification. They are those of the last pass over every object, which another
# process may have made.
VERIFY_LAST_PASS = Gauge(
    "fluoro_verify_last_pass_timestamp_seconds",
    "When the last verification of every object ended; before the first one, when verification was first started.",
)
VERIFY_OBJECTS = Gauge("fluoro_verify_objects", "Objects that the last verification of every object has read.")
VERIFY_FINDINGS = Gauge(
    "fluoro_verify_findings", "What the last verification of every object has found, by kind.", ["kind"]
)

# The processes, and the metrics that each serves.
GATEWAY, WEB, LAUNCHER, VERIFIER = "gateway", "web", "jobs", "verification"
_ANY = (LOG_LINES_LOST, TASK_FAILED, PRODUCER_BROKEN)
_INTAKE = (
    *(GATEWAY_INSTANCES, GATEWAY_REJECTED, GATEWAY_BYTES, GATEWAY_STORE_SECONDS, GATEWAY_SPOOLED_BYTES),
    *(GATEWAY_QUARANTINED, GATEWAY_QUARANTINE_FULL, GATEWAY_QUARANTINE_BYTES, GATEWAY_QUARANTINE_QUOTA_BYTES),
    *(GATEWAY_OUTBOX_OPEN, GATEWAY_OUTBOX_TROUBLE, GATEWAY_DAMAGED, GATEWAY_HEALED, STORE_CLOCK_AHEAD),
    DOCUMENTS_WAITING,
)
_DIMSE = (
    *(GATEWAY_PROCESS_STARTS, GATEWAY_ASSOCIATIONS, GATEWAY_ASSOCIATED, GATEWAY_ABORTED, GATEWAY_TURNED_AWAY),
    *(GATEWAY_PEERS, GATEWAY_PEERS_READ),
)
_STOW = (STOW_REQUESTS, STOW_REFUSED, STOW_OPEN)
_READING = (API_REQUESTS, API_SECONDS, API_DAMAGED, API_LIMITED, API_RENDERED, API_CHILDREN_ENDED)
SERVED: Mapping[str, tuple[MetricWrapperBase, ...]] = {
    GATEWAY: (*_ANY, *_INTAKE, *_DIMSE),
    WEB: (*_ANY, *_INTAKE, COMMANDS_ASKED, *_STOW, *_READING),
    LAUNCHER: (LOG_LINES_LOST, JOB_RUNNING, JOB_STOPPED, DEAD_LETTERS),
    VERIFIER: (LOG_LINES_LOST, VERIFY_LAST_PASS, VERIFY_OBJECTS, VERIFY_FINDINGS),
}

"""What every process says of itself: log lines and metrics, never a patient's data."""

import logging
import os
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from structlog.tracebacks import ExceptionDictTransformer

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)


def without_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out what exceptions say: like local variables it may quote a patient's data. Their kinds and places stay."""
    for one in event.get("exception", ()):
        one.pop("exc_value", None)
    return event


def set_up_logs(service: str) -> None:
    """Write log lines as JSON to standard error, each with its service, time and level."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            without_values,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries quote values in their warnings, and what a thread ignores for a while another one may turn on again.
    warnings.simplefilter("ignore")


def exposition() -> bytes:
    """Return the metrics in Prometheus' text format: of all processes that share a folder for them, else of this one."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


# The gateway. `outcome` and `reason` are codes of gateway/intake/status.py.
GATEWAY_ASSOCIATIONS = Gauge("fluoro_gateway_associations", "Associations that are open.")
GATEWAY_ASSOCIATED = Counter(
    "fluoro_gateway_association_requests_total", "Association requests by answer.", ["outcome"]
)
GATEWAY_ABORTED = Counter("fluoro_gateway_aborts_total", "Associations ended by a guard or by the peer.", ["reason"])
GATEWAY_TURNED_AWAY = Counter(
    "fluoro_gateway_turned_away_total", "Connections closed before they could ask for an association.", ["reason"]
)
GATEWAY_PEERS = Gauge("fluoro_gateway_peers", "Peers that may call.", multiprocess_mode="max")
GATEWAY_PEERS_READ = Counter("fluoro_gateway_peers_read_total", "Changes of the peers file by outcome.", ["outcome"])
GATEWAY_INSTANCES = Counter("fluoro_gateway_instances_total", "Instances by what the sender heard.", ["outcome"])
GATEWAY_REJECTED = Counter(
    "fluoro_gateway_rejected_total", "Instances that can never be shown, by reason, at both doors.", ["reason"]
)
GATEWAY_QUARANTINED = Counter(
    "fluoro_gateway_quarantined_total", "Instances kept in quarantine, by reason.", ["reason"]
)
GATEWAY_QUARANTINE_FULL = Counter(
    "fluoro_gateway_quarantine_full_total", "Instances of which nothing was kept: their tenant's quarantine is full."
)
GATEWAY_QUARANTINE_BYTES = Gauge(
    "fluoro_gateway_quarantine_bytes",
    "Bytes in quarantine when last looked, 4 KiB for an object at least.",
    ["tenant"],
    multiprocess_mode="max",
)
GATEWAY_SPOOLED_BYTES = Gauge(
    "fluoro_gateway_spooled_bytes", "Bytes of data sets on their way that lie in files.", multiprocess_mode="livesum"
)
GATEWAY_BYTES = Counter("fluoro_gateway_bytes_total", "Bytes of data sets received.")
GATEWAY_STORE_SECONDS = Histogram(
    "fluoro_gateway_store_seconds", "From the last byte to the answer of a C-STORE.", buckets=SECONDS
)
GATEWAY_OUTBOX_OPEN = Gauge("fluoro_gateway_outbox_open", "Outbox entries that wait for their event.")
GATEWAY_HEALED = Counter("fluoro_gateway_healed_total", "Events published from the outbox after a failure.")

# The STOW-RS door. `reason` is a rule of operators/http/principal.py, a limit of gateway/stow/multipart.py or of gateway/stow/door.py.
STOW_REQUESTS = Counter("fluoro_stow_requests_total", "Store requests by status.", ["status"])
STOW_REFUSED = Counter("fluoro_stow_refused_total", "Store requests that broke a rule or limit.", ["reason"])
STOW_OPEN = Gauge("fluoro_stow_open", "Store requests that are being received.", multiprocess_mode="livesum")

# The read API.
API_REQUESTS = Counter("fluoro_api_requests_total", "Requests by route and status.", ["route", "status"])
API_SECONDS = Histogram("fluoro_api_request_seconds", "From request to the last byte.", ["route"], buckets=SECONDS)
API_DAMAGED = Counter("fluoro_api_damaged_total", "Objects that were missing or not what was stored.", ["reason"])
API_LIMITED = Counter("fluoro_api_limited_total", "What was refused or cut because of a limit.", ["limit"])
API_RENDERED = Counter("fluoro_api_rendered_total", "Images rendered, or why not.", ["outcome"])
API_CHILDREN_ENDED = Counter("fluoro_api_children_ended_total", "Rendering processes ended, by why.", ["why"])

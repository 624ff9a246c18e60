"""What every process says of itself: log lines and metrics, never a patient's data."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram
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


# The gateway. `outcome` and `reason` are codes of gateway/status.py.
GATEWAY_ASSOCIATIONS = Gauge("fluoro_gateway_associations", "Associations that are open.")
GATEWAY_ASSOCIATED = Counter(
    "fluoro_gateway_association_requests_total", "Association requests by answer.", ["outcome"]
)
GATEWAY_ABORTED = Counter("fluoro_gateway_aborts_total", "Associations ended by a guard or by the peer.", ["reason"])
GATEWAY_INSTANCES = Counter("fluoro_gateway_instances_total", "Instances by what the sender heard.", ["outcome"])
GATEWAY_BYTES = Counter("fluoro_gateway_bytes_total", "Bytes of data sets received.")
GATEWAY_STORE_SECONDS = Histogram(
    "fluoro_gateway_store_seconds", "From the last byte to the answer of a C-STORE.", buckets=SECONDS
)
GATEWAY_OUTBOX_OPEN = Gauge("fluoro_gateway_outbox_open", "Outbox entries that wait for their event.")
GATEWAY_HEALED = Counter("fluoro_gateway_healed_total", "Events published from the outbox after a failure.")

# The read API.
API_REQUESTS = Counter("fluoro_api_requests_total", "Requests by route and status.", ["route", "status"])
API_SECONDS = Histogram("fluoro_api_request_seconds", "From request to the last byte.", ["route"], buckets=SECONDS)
API_DAMAGED = Counter("fluoro_api_damaged_total", "Objects that were missing or not what was stored.", ["reason"])

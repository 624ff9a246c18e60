"""Liveness, readiness and metrics, open to everyone: their answers have no patient data."""

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api.services import services_of
from operators.errors import RETRY_AFTER
from operators.readiness import is_ready
from schemas.telemetry import exposition


async def healthz(_: Request) -> Response:
    """Answer 200 while the process runs."""
    return _json({"status": "alive"}, 200)


async def readyz(request: Request) -> Response:
    """Answer with the state of each server that this service needs, and of failing background work; 503 unless all is well."""
    states = await services_of(request).readiness.states()
    return _json(states, 200 if is_ready(states) else 503)


async def metrics(_: Request) -> Response:
    """Answer with the metrics in Prometheus' text format."""
    return Response(exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


def _json(states: dict[str, str], status: int) -> Response:
    headers = {} if status == 200 else RETRY_AFTER  # noqa: PLR2004 - HTTP's OK
    return Response(orjson.dumps(states), status, headers, "application/json")

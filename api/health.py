"""Liveness, readiness and metrics, open to everyone: their answers have no patient data."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api.services import JobStates, services_of
from operators.errors import RETRY_AFTER, Unavailable
from operators.readiness import CHECK_S, is_ready
from schemas.telemetry import WEB, exposition


async def healthz(_: Request) -> Response:
    """Answer 200 while the process runs."""
    return _json({"status": "alive"}, 200)


async def readyz(request: Request) -> Response:
    """Answer with the state of each server that this service needs, and of failing background work; 503 unless all is well.

    The states of the jobs are told too, if the service knows where to ask. They change no status: what is stored can be
    read while no job runs, but new instances are not shown.
    """
    services = services_of(request)
    states, jobs = await asyncio.gather(services.readiness.states(), _jobs(services.jobs))
    return _json({**states, **jobs}, 200 if is_ready(states) else 503)


async def _jobs(states: JobStates | None) -> dict[str, Any]:
    if states is None:
        return {}
    try:
        return {"jobs": await asyncio.wait_for(states(), CHECK_S)}
    except (Unavailable, TimeoutError):
        return {"jobs": "away"}


async def metrics(_: Request) -> Response:
    """Answer with the metrics in Prometheus' text format."""
    return Response(exposition(WEB), headers={"content-type": CONTENT_TYPE_LATEST})


def _json(states: Mapping[str, Any], status: int) -> Response:
    headers = {} if status == 200 else RETRY_AFTER  # noqa: PLR2004 - HTTP's OK
    return Response(orjson.dumps(states), status, headers, "application/json")

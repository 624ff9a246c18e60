"""Liveness, readiness and metrics, open to everyone: their answers have no patient data."""

import asyncio
from collections.abc import Awaitable

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api.services import services_of
from operators.errors import RETRY_AFTER, Unavailable
from schemas.telemetry import exposition

CHECK_S = 3.0


async def healthz(_: Request) -> Response:
    """Answer 200 while the process runs."""
    return _json({"status": "alive"}, 200)


async def readyz(request: Request) -> Response:
    """Answer with the state of each server that this service needs, ready or away; 503 when any is away."""
    services = services_of(request)
    checks = {"catalog": services.queries.check, "store": services.objects.check, **services.checks}
    states = await asyncio.gather(*(_state(check()) for check in checks.values()))
    status = 200 if set(states) == {"ready"} else 503
    return _json(dict(zip(checks, states, strict=True)), status)


async def metrics(_: Request) -> Response:
    """Answer with the metrics in Prometheus' text format."""
    return Response(exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


async def _state(check: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(check, CHECK_S)
    except (Unavailable, TimeoutError):
        return "away"
    return "ready"


def _json(states: dict[str, str], status: int) -> Response:
    headers = {} if status == 200 else RETRY_AFTER  # noqa: PLR2004 - HTTP's OK
    return Response(orjson.dumps(states), status, headers, "application/json")

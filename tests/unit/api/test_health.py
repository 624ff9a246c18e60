"""The service reports its liveness, its readiness and its metrics."""

import asyncio

import httpx
import pytest

from operators.connectors.memory.stores import Outage
from tests.support.worlds.reading import World


def get(path: str, world: World | None = None, **headers: str) -> httpx.Response:
    return asyncio.run((world or World()).get(path, **headers))


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/metrics"])
def test_health_and_metrics_answer_to_any_host(path: str) -> None:
    assert get(path, host="10.0.0.7:8060").status_code == 200


def test_readiness_names_the_server_that_is_away() -> None:
    world = World()
    world.objects.outage = Outage.REFUSES
    response = get("/readyz", world)

    assert response.status_code == 503
    assert response.json() == {"catalog": "ready", "store": "away"}

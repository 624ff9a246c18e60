"""The service reports its liveness, its readiness and its metrics."""

import asyncio

import httpx
import pytest

from operators.connectors.memory.stores import Outage
from operators.errors import Unavailable
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


@pytest.mark.parametrize("states", [{"study": "running", "catalog": "restarting"}, {"study": "running"}])
def test_readiness_names_the_jobs_and_does_not_depend_on_them(states: dict[str, str]) -> None:
    async def jobs() -> dict[str, str]:
        return states

    response = get("/readyz", World(jobs=jobs))

    assert response.status_code == 200
    assert response.json() == {"catalog": "ready", "store": "ready", "jobs": states}


def test_jobs_that_cannot_be_asked_are_away_and_the_service_is_ready() -> None:
    async def jobs() -> dict[str, str]:
        raise Unavailable("jobs")

    response = get("/readyz", World(jobs=jobs))

    assert (response.status_code, response.json()["jobs"]) == (200, "away")

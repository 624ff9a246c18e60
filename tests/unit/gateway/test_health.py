"""A gateway process tells a balancer whether it lives and whether it is ready, at the port of its metrics."""

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway import health
from gateway.health import States, serve_health

WAIT_S = 10.0


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str, str]:
    """Return the status of an answer, its media type and its body."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=WAIT_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


@asynccontextmanager
async def served(states: States, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def readiness() -> States:
        return states

    with serve_health(host, 0, readiness) as port:
        yield port


def answer_to(path: str, states: States) -> tuple[int, str, str]:
    async def asked() -> tuple[int, str, str]:
        async with served(states) as port:
            return await asyncio.to_thread(get, port, path)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"store": "ready", "broker": "ready"}, 200),
        ({"store": "ready", "broker": "away"}, 503),
        ({"store": "ready", "broker": "ready", "outbox": "failing"}, 503),
    ],
)
def test_readiness_names_each_server_and_what_fails(states: States, status: int) -> None:
    answered, media_type, body = answer_to("/readyz", states)

    assert (answered, media_type, json.loads(body)) == (status, "application/json", states)


def test_a_process_whose_loop_takes_turns_is_alive() -> None:
    assert answer_to("/livez", {"store": "away"}) == (200, "application/json", '{"status":"alive"}')


def test_the_metrics_are_at_their_address() -> None:
    status, _, body = answer_to("/metrics", {})

    assert status == 200
    assert "fluoro_task_failed_total" in body


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_loop_that_takes_no_turns_is_neither_alive_nor_ready(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOP_S", 0.05)
    found: list[tuple[int, str, str]] = []

    async def asked() -> None:
        async with served({}) as port:
            asking = threading.Thread(target=lambda: found.append(get(port, path)))
            asking.start()
            # The loop is blocked on purpose: it answers nothing until the other thread has its answer.
            asking.join(WAIT_S)

    asyncio.run(asked())

    assert [(status, json.loads(body)) for status, _, body in found] == [(503, {"loop": "away"})]


@pytest.mark.skipif(not socket.has_ipv6, reason="the machine has no IPv6")
def test_an_address_of_ipv6_is_served_too() -> None:
    async def asked() -> int:
        async with served({}, host="::1") as port:
            return (await asyncio.to_thread(get, port, "/livez", "[::1]"))[0]

    assert asyncio.run(asked()) == 200


def test_a_client_that_goes_before_its_answer_stops_nothing() -> None:
    async def asked() -> int:
        async with served({}) as port:
            with socket.create_connection(("127.0.0.1", port)):
                pass
            return (await asyncio.to_thread(get, port, "/livez"))[0]

    assert asyncio.run(asked()) == 200

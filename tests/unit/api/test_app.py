"""Every request is admitted or refused, counted, and answered without a traceback, while its client keeps reading."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Scope

from api.app import DICOMWEB, _OutgoingResponse
from operators.catalog.ports import Page
from operators.catalog.query import Query
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.memory.stores import MemoryObjectStore
from operators.http.problem import Problem
from schemas.settings.web import ApiSettings
from tests.support.worlds.catalog_histories import command, record
from tests.support.worlds.reading import World, cataloged, part10, scope_of, still_there

Headers = list[tuple[bytes, bytes]]
HOST: Headers = [(b"host", b"localhost:8060")]


def exchange(headers: Headers, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Send one request as an ASGI server would, and return the status and the JSON of its answer."""
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/dicomweb/studies/9",
        "raw_path": b"/dicomweb/studies/9",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8060),
        **changes,
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(World().app(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(one.get("body", b"") for one in sent))


@pytest.mark.parametrize(
    ("headers", "changes"),
    [
        (HOST, {}),
        ([(b"host", b"127.0.0.1:8060")], {}),
        ([(b"host", b"[::1]:8060")], {"client": ("::1", 5)}),
        ([(b"host", b"LOCALHOST")], {}),
        ([*HOST, (b"origin", b"http://localhost:8060")], {}),
        ([(b"host", b"localhost"), (b"origin", b"http://localhost")], {}),
        ([*HOST, (b"sec-fetch-site", b"same-origin")], {}),
        ([*HOST, (b"sec-fetch-site", b"none")], {}),
    ],
)
def test_a_client_on_this_machine_is_answered(headers: Headers, changes: dict[str, Any]) -> None:
    assert exchange(headers, **changes)[0] == 404


@pytest.mark.parametrize(
    ("headers", "changes", "reason"),
    [
        (HOST, {"http_version": "1"}, "http-1.0"),
        (HOST, {"http_version": "1.0"}, "http-1.0"),
        (HOST, {"client": ("192.0.2.7", 5)}, "not-loopback"),
        (HOST, {"client": None}, "not-loopback"),
        ([*HOST, (b"x-forwarded-for", b"192.0.2.7")], {}, "forwarded"),
        ([*HOST, (b"X-Forwarded-Proto", b"https")], {}, "forwarded"),
        ([*HOST, (b"forwarded", b"for=192.0.2.7")], {}, "forwarded"),
        ([], {}, "host"),
        ([(b"host", b"archive.example:8060")], {}, "host"),
        ([(b"host", b"localhost.example")], {}, "host"),
        ([(b"host", b"127.0.0.1.example:8060")], {}, "host"),
        ([*HOST, *HOST], {}, "host"),
        ([*HOST, (b"origin", b"http://localhost:3000")], {}, "origin"),
        ([*HOST, (b"origin", b"https://evil.example")], {}, "origin"),
        ([*HOST, (b"origin", b"null")], {}, "origin"),
        ([*HOST, (b"sec-fetch-site", b"cross-site")], {}, "fetch-site"),
        ([*HOST, (b"sec-fetch-site", b"same-site")], {}, "fetch-site"),
        ([(b"host", b"localhost"), (b"origin", b"https://localhost")], {}, "origin"),
        ([(b"host", b"localhost:8060"), (b"origin", b"http://127.0.0.1:8060")], {}, "origin"),
    ],
)
def test_any_other_client_is_403_with_the_rule_that_it_breaks(
    headers: Headers, changes: dict[str, Any], reason: str
) -> None:
    status, body = exchange(headers, **changes)

    assert (status, body["reason"]) == (403, reason)


def get(path: str, world: World | None = None, **headers: str) -> httpx.Response:
    return asyncio.run((world or World()).get(path, **headers))


def test_requests_are_counted_by_route_and_status_never_by_path() -> None:
    get("/dicomweb/studies/1.2.3.4567")
    text = get("/metrics").text

    assert 'fluoro_api_requests_total{route="retrieve",status="404"}' in text
    assert "1.2.3.4567" not in text


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/", "the service is at /dicomweb"),
        ("/dicomwebs", "the service is at /dicomweb"),
        ("/dicomweb/nothing", "see /dicomweb, which lists /studies, /series, /instances"),
        ("/dicomweb/studies/", "leave out the slash at its end, or see /dicomweb"),
        ("/dicomweb/studies/1.2/pictures", "see /dicomweb"),
    ],
)
def test_an_unknown_address_is_404_and_says_what_is_there(path: str, advice: str) -> None:
    response = get(path)

    assert response.status_code == 404
    assert set(response.json()) == {"reason", "advice"}
    assert advice in response.json()["advice"]


@pytest.mark.parametrize("path", ["/dicomweb/studies", "/dicomweb/studies/9", "/metrics", "/dicomweb", "/nothing"])
def test_no_answer_runs_as_a_page_of_this_origin(path: str) -> None:
    response = get(path, accept="text/html, */*")

    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "sandbox"} <= set(policy)
    assert not any("script" in directive for directive in policy)


NAMES = {"study": "1.2.3", "series": "1.2.3.1", "instance": "1.2.3.1.1", "frames": "1", "path": "7FE00010"}


def test_no_route_shows_anything_of_a_deleted_study() -> None:
    world = World()
    paths = [path.replace("{path:path}", "{path}").format_map(NAMES) for path, _, _ in DICOMWEB]

    async def asked() -> dict[str, tuple[int, bytes]]:
        found = [await world.get(path) for path in paths]
        return {path: (one.status_code, one.content) for path, one in zip(paths, found, strict=True)}

    async def before_and_after() -> tuple[dict[str, tuple[int, bytes]], ...]:
        await world.add(part10())
        before = await asked()
        cataloged(world.catalog, [record(command("delete", "1.2.3"))])
        await world.add(part10(SOPInstanceUID="1.2.3.1.2"))
        deleted = await asked()
        cataloged(world.catalog, [record(command("restore", "1.2.3", second=1))])
        return before, deleted, await asked()

    before, deleted, restored = asyncio.run(before_and_after())
    world.app.close()

    assert {status for status, _ in before.values()} == {status for status, _ in restored.values()} == {200}
    assert all(status == 404 or (status, body) == (200, b"[]") for status, body in deleted.values())
    assert b"1.2.3.1.2" in restored["/dicomweb/instances"][1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_methods_that_write_are_405(method: str) -> None:
    status, body = exchange(HOST, method=method, path="/dicomweb/studies")

    assert (status, set(body)) == (405, {"reason", "advice"})


def test_every_answer_forbids_browsers_to_guess_its_type() -> None:
    assert get("/dicomweb/studies").headers["x-content-type-options"] == "nosniff"
    assert get("/dicomweb/studies/9").headers["x-content-type-options"] == "nosniff"


class BrokenQueries(MemoryQueries):
    """A catalog that raises an unforeseen exception with a patient's name in its text."""

    async def search(self, tenant: str, query: Query) -> Page:
        """Fail."""
        raise ZeroDivisionError(f"Smith^Ann {tenant} {query}")


def test_an_unforeseen_error_is_500_without_a_traceback_or_a_value() -> None:
    world = World()
    world.serve(BrokenQueries(), MemoryObjectStore())
    response = get("/dicomweb/studies", world)

    assert (response.status_code, response.json()["reason"]) == (500, "unexpected")
    assert "Smith" not in response.text
    assert "Traceback" not in response.text


def stream_to(send: Callable[[Message], Awaitable[None]], receive: Callable[[], Awaitable[Message]]) -> None:
    """Send a large instance to a client with these two ASGI functions."""

    async def retrieve() -> None:
        world = World(settings=ApiSettings(no_progress_s=0.05))
        await world.add(LARGE)
        await asyncio.wait_for(world.app(scope_of("/dicomweb/studies/1.2.3"), receive, send), 5)

    asyncio.run(retrieve())


LARGE = part10() + bytes(6 * 2**20)


async def disconnected() -> Message:
    return {"type": "http.disconnect"}


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async def stuck(message: Message) -> None:
        await asyncio.sleep(10 if message.get("more_body") else 0)

    with pytest.raises(Problem, match="client-too-slow"):
        stream_to(stuck, still_there)


def test_a_client_that_takes_nothing_of_a_body_in_memory_is_cut_off_too() -> None:
    async def stuck(message: Message) -> None:
        await asyncio.sleep(10 if message["type"] == "http.response.body" else 0)

    with pytest.raises(Problem, match="client-too-slow"):
        asyncio.run(asyncio.wait_for(_OutgoingResponse(stuck, 0.05, is_head=False).send(BODY), 5))


def test_a_large_body_is_sent_in_pieces_with_a_time_limit_for_each() -> None:
    taken: list[Message] = []

    async def slow(message: Message) -> None:
        taken.append(message)
        await asyncio.sleep(0.06)

    asyncio.run(_OutgoingResponse(slow, 0.1, is_head=False).send(BODY))

    assert b"".join(message["body"] for message in taken) == BODY["body"]
    assert [message["more_body"] for message in taken] == [True, True, False]


BODY: Message = {"type": "http.response.body", "body": bytes(5 * 2**19)}


def test_nothing_more_is_read_for_a_client_that_has_disconnected() -> None:
    sent = 0

    async def taken(message: Message) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        await asyncio.sleep(0)

    stream_to(taken, disconnected)

    assert sent < len(LARGE) / 2


@given(st.binary(max_size=80), st.binary(max_size=60))
def test_no_query_string_and_no_accept_header_is_ever_a_server_error(query: bytes, accept: bytes) -> None:
    status, _ = exchange([*HOST, (b"accept", accept)], path="/dicomweb/studies", query_string=query)

    assert status in (200, 400, 406)

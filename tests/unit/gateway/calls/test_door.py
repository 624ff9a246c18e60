"""The REST door carries out a call once it may, and says in problem+json why it does not; commands are its example."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from gateway.calls.door import CallDoor
from gateway.commands.call import BODY_BYTES, command_call
from gateway.commands.lifespan import commands_of
from operators.connectors.memory.stores import Outage
from schemas.events import StudyCommand
from schemas.settings.web import StowSettings
from tests.support.worlds.commands import FIRST_ID
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import Response, StowWorld, ask_app, multipart, stow_world

STUDY = "1.2.3"
DELETE = {"action": "delete", "why": "sent to the wrong archive"}


@dataclass
class DoorWorld:
    """The door of commands over an archive in memory, in which a study is stored."""

    archive: StowWorld
    door: CallDoor

    async def post(
        self, said: object, *, study: str = STUDY, method: str = "POST", client: str = "127.0.0.1", **headers: str
    ) -> Response:
        body = said if isinstance(said, bytes) else orjson.dumps(said)
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        given = {"content-type": "application/json"} | headers
        path = f"/v1/studies/{study}/commands"
        return await ask_app(self.door, messages, method=method, path=path, headers=given, client=client)

    @property
    def published(self) -> list[StudyCommand]:
        return self.archive.published(StudyCommand)


def with_door(folder: Path, test: Callable[[DoorWorld], Awaitable[None]], **settings: Any) -> None:
    async def opened() -> None:
        async with stow_world(folder) as archive:
            await archive.post(multipart(part10(StudyInstanceUID=STUDY)))
            door = CallDoor([command_call(commands_of(archive.intake))], StowSettings(**settings), "local")
            await test(DoorWorld(archive, door))

    asyncio.run(opened())


def test_a_command_is_created_and_its_repeat_is_not(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        first = await world.post({**DELETE, "id": FIRST_ID})
        again = await world.post({**DELETE, "id": FIRST_ID})

        assert (first.status, again.status) == (201, 200)
        assert first.headers["content-type"] == "application/json"
        assert (first.json["id"], first.json["who"], first.json["repeat"]) == (FIRST_ID, "loopback", False)
        assert again.json == {**first.json, "repeat": True}
        assert "location" not in first.headers
        assert [command.why for command in world.published] == [DELETE["why"]] * 2

    with_door(tmp_path, test)


REFUSED: dict[str, tuple[int, str, object, dict[str, str]]] = {
    "no JSON": (400, "bad-json", b"delete it", {}),
    "no reason": (400, "bad-why", {"action": "delete"}, {}),
    "an unknown study": (404, "no-such-study", DELETE, {"study": "1.2.4"}),
    "a study that is no UID": (400, "bad-uid", DELETE, {"study": "a"}),
    "an unknown content": (
        404,
        "no-such-content",
        {"action": "choose", "why": "corrected", "instance": "1.2", "content": "a" * 64},
        {},
    ),
    "too much": (413, "request-bytes", b" " * (BODY_BYTES + 1), {}),
    "a form": (415, "media-type", b"action=delete", {"content-type": "application/x-www-form-urlencoded"}),
    "another page": (403, "origin", DELETE, {"origin": "http://elsewhere.example"}),
    "another page of this machine": (403, "origin", DELETE, {"origin": "http://localhost:1"}),
    "a link of another page": (403, "fetch-site", DELETE, {"sec-fetch-site": "cross-site"}),
    "another machine": (403, "not-loopback", DELETE, {"client": "192.0.2.1"}),
    "a proxy": (403, "forwarded", DELETE, {"x-forwarded-for": "192.0.2.1"}),
    "another method": (405, "method", b"", {"method": "DELETE"}),
    "a query": (405, "method", b"", {"method": "GET"}),
    "a length that is not right": (400, "content-length", DELETE, {"content-length": "3"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_a_problem_that_says_what_to_do(tmp_path: Path, what: str) -> None:
    status, reason, said, more = REFUSED[what]

    async def test(world: DoorWorld) -> None:
        response = await world.post(said, **more)

        assert (response.status, response.json["status"], response.json["reason"]) == (status, status, reason)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json["detail"]
        assert world.published == []

    with_door(tmp_path, test)


def test_an_id_of_another_command_is_a_conflict(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        await world.post({**DELETE, "id": FIRST_ID})
        response = await world.post({"action": "restore", "why": "found", "id": FIRST_ID})

        assert (response.status, response.json["reason"]) == (409, "id-used")

    with_door(tmp_path, test)


def test_while_a_server_does_not_answer_the_answer_names_the_id_to_send_again(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        world.archive.events.outage = Outage.REFUSES
        response = await world.post(DELETE)
        world.archive.events.outage = Outage.NONE

        assert (response.status, response.json["reason"]) == (503, "broker-unavailable")
        assert response.headers["retry-after"]
        again = await world.post({**DELETE, "id": response.json["detail"].split()[-1]})
        assert (again.status, again.json["repeat"]) == (200, True)

    with_door(tmp_path, test)


def test_no_more_requests_are_open_than_store_requests_may_be(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        waiting = asyncio.ensure_future(
            ask_app(
                world.door,
                [],
                path=f"/v1/studies/{STUDY}/commands",
                headers={"content-type": "application/json"},
            )
        )
        await asyncio.sleep(0)
        busy = await world.post(DELETE)
        slow = await waiting

        assert (busy.status, busy.json["reason"]) == (503, "too-many-requests")
        assert (slow.status, slow.json["reason"]) == (408, "too-slow")
        assert (await world.post(DELETE)).status == 201

    with_door(tmp_path, test, requests=1, silence_s=0.1)


def test_a_door_that_closes_breaks_off_what_has_not_come(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        path, headers = f"/v1/studies/{STUDY}/commands", {"content-type": "application/json"}
        waiting = asyncio.ensure_future(ask_app(world.door, [], path=path, headers=headers))
        await asyncio.sleep(0)
        await world.door.close(0.01)

        assert (await waiting).status == 503
        assert (await world.post(DELETE)).json["reason"] == "closing"

    with_door(tmp_path, test)


def test_a_client_that_goes_gets_no_answer_and_gives_no_command(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        path, headers = f"/v1/studies/{STUDY}/commands", {"content-type": "application/json"}
        response = await ask_app(world.door, [{"type": "http.disconnect"}], path=path, headers=headers)

        assert response.status == 0
        assert world.published == []

    with_door(tmp_path, test)


def test_an_error_of_the_program_is_a_problem_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: DoorWorld) -> None:
        monkeypatch.setattr("gateway.commands.giving.Commands.give", None)
        with capture_logs() as logs:
            response = await world.post(DELETE)

        assert (response.status, response.json["reason"]) == (500, "unexpected")
        assert [entry["event"] for entry in logs] == ["call_failed", "call_refused"]

    with_door(tmp_path, test)


def test_what_may_be_sent_is_told(tmp_path: Path) -> None:
    async def test(world: DoorWorld) -> None:
        response = await world.post(b"", method="OPTIONS")

        assert (response.status, response.headers["allow"]) == (204, "OPTIONS, POST")

    with_door(tmp_path, test)


@pytest.mark.parametrize(
    ("method", "path", "is_expected"),
    [
        ("POST", "/v1/studies/1.2.3/commands", True),
        ("DELETE", "/v1/studies/1.2.3/commands", True),
        ("GET", "/v1/studies/1.2.3/commands", True),
        ("POST", "/v1/studies/1.2.3/commands/1", False),
        ("POST", "/v1/studies/1.2.3/history", False),
        ("POST", "/dicomweb/studies/1.2.3", False),
    ],
)
def test_only_calls_that_change_something_are_for_the_door(
    tmp_path: Path,
    method: str,
    path: str,
    is_expected: bool,  # noqa: FBT001
) -> None:
    async def test(world: DoorWorld) -> None:
        assert world.door.is_for(method, path) is is_expected

    with_door(tmp_path, test)

"""A policy is put over REST: 201 for a new version, 200 for the rules that are in force, problem+json for all else."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from gateway.calls.door import CallDoor
from gateway.policies.call import BODY_BYTES, policy_call
from gateway.policies.lifespan import policies_of
from operators.connectors.memory.stores import Outage
from operators.policies.document import rules_json
from schemas.events import PolicyChanged
from schemas.settings.web import StowSettings
from tests.support.worlds.processes.putting import OLD, OLD_CT
from tests.support.worlds.stow import Response, StowWorld, ask_app, stow_world

AGE = {**rules_json([OLD]), "why": "the hot tier is full"}
OTHER = {**rules_json([OLD_CT]), "why": "only CT"}


@dataclass
class PolicyWorld:
    """The door of calls over an archive in memory."""

    archive: StowWorld
    door: CallDoor

    async def put(self, said: object, path: str = "tiering/age", method: str = "PUT") -> Response:
        body = said if isinstance(said, bytes) else orjson.dumps(said)
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        headers = {"content-type": "application/json"}
        return await ask_app(self.door, messages, method=method, path=f"/v1/policies/{path}", headers=headers)

    @property
    def published(self) -> list[PolicyChanged]:
        return self.archive.published(PolicyChanged)


def with_door(folder: Path, test: Callable[[PolicyWorld], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with stow_world(folder) as archive:
            call = policy_call(policies_of(archive.intake, archive.store))
            await test(PolicyWorld(archive, CallDoor([call], StowSettings(), "local")))

    asyncio.run(opened())


def test_a_version_is_created_and_the_same_rules_are_not(tmp_path: Path) -> None:
    async def test(world: PolicyWorld) -> None:
        first, again, other = [await world.put(said) for said in (AGE, {**AGE, "why": "again"}, OTHER)]

        assert (first.status, again.status, other.status) == (201, 200, 201)
        assert (first.json["version"], first.json["who"], first.json["repeat"]) == (1, "loopback", False)
        assert again.json == {**first.json, "repeat": True}
        assert [(policy.version, policy.why) for policy in world.published] == [
            (1, AGE["why"]),
            (1, AGE["why"]),
            (2, OTHER["why"]),
        ]

    with_door(tmp_path, test)


REFUSED: dict[str, tuple[int, str, object, str]] = {
    "no rules": (400, "bad-policy", {"why": "because"}, "tiering/age"),
    "wrong rules": (
        400,
        "bad-policy",
        {"rules": [{"name": "a", "then": {"tier": "x"}}], "why": "because"},
        "tiering/a",
    ),
    "no reason": (400, "bad-why", {"rules": []}, "tiering/age"),
    "another kind": (400, "bad-kind", AGE, "deletion/age"),
    "another name": (400, "bad-name", AGE, "tiering/Age"),
    "a number for the rules": (400, "bad-field", {**AGE, "rules": 7}, "tiering/age"),
    "somebody else": (400, "unknown-field", {**AGE, "who": "the director"}, "tiering/age"),
    "rules in rules": (400, "bad-json", b'{"rules": ' + b"[" * 500 + b"]" * 500 + b"}", "tiering/age"),
    "another version": (409, "other-version", {**AGE, "if_version": 7}, "tiering/age"),
    "the version True": (400, "bad-version", {**AGE, "if_version": True}, "tiering/age"),
    "too much": (413, "request-bytes", b" " * (BODY_BYTES + 1), "tiering/age"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_a_problem_that_says_what_to_do(tmp_path: Path, what: str) -> None:
    status, reason, said, path = REFUSED[what]

    async def test(world: PolicyWorld) -> None:
        response = await world.put(said, path)

        assert (response.status, response.json["reason"]) == (status, reason)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json["detail"]
        assert world.published == []

    with_door(tmp_path, test)


def test_every_problem_of_the_rules_is_told_with_its_place(tmp_path: Path) -> None:
    async def test(world: PolicyWorld) -> None:
        response = await world.put({"rules": [{"name": "a", "then": {"tier": "x"}}, {"name": "B"}], "why": "because"})

        assert response.json["detail"].split(";")[0] == "rule 1: tier is one of hot, warm, cold"
        assert " rule 2: its name" in response.json["detail"]

    with_door(tmp_path, test)


def test_while_a_server_does_not_answer_the_same_can_be_sent_again(tmp_path: Path) -> None:
    async def test(world: PolicyWorld) -> None:
        world.archive.events.outage = Outage.REFUSES
        response = await world.put(AGE)
        world.archive.events.outage = Outage.NONE
        again = await world.put(AGE)

        assert (response.status, response.json["reason"]) == (503, "broker-unavailable")
        assert response.headers["retry-after"]
        assert (again.status, again.json["repeat"]) == (200, True)

    with_door(tmp_path, test)


def test_a_policy_is_put_here_and_nothing_else_is_done_with_it_but_reading(tmp_path: Path) -> None:
    async def test(world: PolicyWorld) -> None:
        told, deleted = [await world.put(b"", method=method) for method in ("OPTIONS", "DELETE")]

        assert (told.status, told.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
        assert (deleted.status, deleted.headers["allow"], deleted.json["detail"]) == (
            405,
            "GET, HEAD, OPTIONS, PUT",
            "a policy is sent by PUT",
        )
        assert not world.door.is_for("GET", "/v1/policies/tiering/age")

    with_door(tmp_path, test)

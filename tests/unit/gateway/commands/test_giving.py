"""A command is an object first and an event second; the same id is a repeat, and the later command wins."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.commands.request import CommandRequest
from gateway.intake.outbox.ledger import COMMAND
from operators.connectors.memory.stores import Failing, Outage, StoredBytes
from operators.errors import Unavailable
from operators.http.problem import Problem
from schemas.objects import Bucket, command_key
from tests.support.worlds.commands import DELETE, FIRST_ID, SECOND_ID, CommandingProcess, published, stored
from tests.support.worlds.intake import IntakeWorld

EXPECT = replace(DELETE, action="expect", count=100)
RESTORE, HOLD, UNHOLD = (replace(DELETE, action=action) for action in ("restore", "hold", "unhold"))


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    """A world in which the study 1.2.3 has an instance."""
    found = IntakeWorld(tmp_path)
    gateway = found.gateway()
    gateway.accept(1)
    gateway.transfer.complete()
    asyncio.run(gateway.outbox.settle())
    gateway.outbox.close()
    return found


def refused(world: IntakeWorld, request: CommandRequest) -> Problem:
    with pytest.raises(Problem) as raised:
        CommandingProcess.of(world).give(request)
    return raised.value


def test_a_command_is_stored_and_published_and_leaves_nothing_to_do(world: IntakeWorld) -> None:
    process = CommandingProcess.of(world)

    given = process.give(DELETE)
    process.outbox.close()

    assert (given.is_repeat, given.note) == (False, "")
    assert stored(world) == {given.command.event_id: given.command}
    assert published(world) == [given.command]
    assert world.journals == []


def test_the_object_comes_before_the_event(world: IntakeWorld) -> None:
    world.store.outage = Outage.REFUSES
    with pytest.raises(Unavailable):
        CommandingProcess.of(world).give(DELETE)
    world.store.outage, world.events.outage = Outage.NONE, Outage.REFUSES
    with pytest.raises(Unavailable):
        CommandingProcess.of(world).give(DELETE)

    assert (len(stored(world)), published(world)) == (1, [])


def test_the_same_id_is_a_repeat_whose_event_is_published_again(world: IntakeWorld) -> None:
    request = replace(DELETE, command_id=FIRST_ID)
    first = CommandingProcess.of(world).give(request)

    again = CommandingProcess.of(world).give(request)

    assert (again.command, again.is_repeat) == (first.command, True)
    assert published(world) == [first.command] * 2
    assert len(stored(world)) == 1


@pytest.mark.parametrize(
    "changes", [{"action": "restore"}, {"why": "another reason"}, {"who": "another"}, {"action": "expect", "count": 1}]
)
def test_the_same_id_with_another_request_is_an_error(world: IntakeWorld, changes: dict[str, Any]) -> None:
    given = CommandingProcess.of(world).give(replace(DELETE, command_id=FIRST_ID))

    problem = refused(world, replace(DELETE, command_id=FIRST_ID, **changes))

    assert (problem.status, problem.reason) == (409, "id-used")
    assert published(world) == [given.command]


def test_two_requests_with_one_id_at_once_make_one_command(world: IntakeWorld) -> None:
    process, request = CommandingProcess.of(world), replace(DELETE, command_id=FIRST_ID)

    async def both() -> list[object]:
        other = replace(request, action="restore")
        asked = (request, request, other)
        return await asyncio.gather(*map(process.commands.give, asked), return_exceptions=True)

    first, again, other = asyncio.run(both())

    assert isinstance(other, Problem)
    assert other.status == 409
    assert list(stored(world)) == [FIRST_ID]
    assert [getattr(one, "is_repeat", None) for one in (first, again)].count(False) <= 1


def test_an_unknown_study_is_an_error_that_says_so(world: IntakeWorld) -> None:
    problem = refused(world, replace(DELETE, study_uid="1.2.4"))

    assert (problem.status, problem.reason) == (404, "no-such-study")
    assert (stored(world), published(world)) == ({}, [])


def test_a_study_with_the_same_beginning_is_another_one(world: IntakeWorld) -> None:
    assert refused(world, replace(DELETE, study_uid="1.2")).status == 404
    assert refused(world, replace(DELETE, tenant="else")).status == 404


def test_expect_may_come_before_the_first_instance_and_does_not_make_the_study_known(world: IntakeWorld) -> None:
    CommandingProcess.of(world).give(replace(EXPECT, study_uid="1.2.4"))

    assert [command.expected_instances for command in published(world)] == [100]
    assert refused(world, replace(DELETE, study_uid="1.2.4")).status == 404


@pytest.mark.parametrize("tier", [Bucket.WARM, Bucket.COLD])
def test_a_study_in_any_tier_is_known(world: IntakeWorld, tier: Bucket) -> None:
    world.move(tier)

    CommandingProcess.of(world).give(DELETE)

    assert len(published(world)) == 1


def test_a_clock_that_was_fast_binds_nobody(world: IntakeWorld) -> None:
    world.store.clock = lambda clock=world.store.clock: clock() + 3600  # type: ignore[misc]
    world.store.__post_init__()
    asyncio.run(world.store.learn_time())
    fast = CommandingProcess.of(world).give(DELETE).command
    world.store.clock = lambda clock=world.store.clock: clock() - 3600  # type: ignore[misc]
    world.store.__post_init__()
    asyncio.run(world.store.learn_time())

    later = CommandingProcess.of(world).give(RESTORE).command

    assert later.occurred_at == fast.occurred_at + timedelta(milliseconds=1)


def test_a_commands_date_is_the_stores(world: IntakeWorld) -> None:
    before = world.store.now()

    command = CommandingProcess.of(world).give(DELETE).command

    assert before < command.occurred_at < world.store.now()


NOTES = [
    ((DELETE,), ""),
    ((DELETE, DELETE), "the study was deleted before"),
    ((DELETE, RESTORE), ""),
    ((RESTORE,), "the study was not deleted"),
    ((DELETE, RESTORE, RESTORE), "the study was not deleted"),
    ((HOLD, DELETE, HOLD), "the study was on hold before"),
    ((DELETE, UNHOLD), "the study was not on hold"),
    ((EXPECT, EXPECT), ""),
]


@pytest.mark.parametrize(("requests", "note"), NOTES)
def test_what_changes_nothing_is_accepted_and_said(
    world: IntakeWorld, requests: tuple[CommandRequest, ...], note: str
) -> None:
    process = CommandingProcess.of(world)

    given = [process.give(request) for request in requests]

    assert given[-1].note == note
    assert len(published(world)) == len(requests)


def test_an_object_that_is_no_command_holds_up_no_other(world: IntakeWorld) -> None:
    key = command_key("local", "1.2.3", FIRST_ID)
    world.store.objects[Bucket.HOT, key] = StoredBytes(b"{}", {})

    with capture_logs() as logs:
        CommandingProcess.of(world).give(replace(DELETE, command_id=SECOND_ID))

    assert [entry["key"] for entry in logs if entry["event"] == "command_unreadable"] == [key]
    assert len(published(world)) == 1
    assert refused(world, replace(DELETE, command_id=FIRST_ID)).reason == "id-used"


def test_the_log_says_what_was_commanded_and_not_why(world: IntakeWorld) -> None:
    with capture_logs() as logs:
        given = CommandingProcess.of(world).give(replace(DELETE, why="Canary^Sixteen asked for it"))

    (entry,) = [entry for entry in logs if entry["event"] == "command_given"]
    assert (entry["command"], entry["study"], entry["action"]) == (given.command.event_id, "1.2.3", "delete")
    assert "Canary" not in str(logs) + repr(given)


def killed(world: IntakeWorld, server: Failing, outage: Outage) -> None:
    """Kill a process while it gives a command during an outage; then end the outage."""
    process = CommandingProcess.of(world)
    server.outage = outage
    with pytest.raises(Unavailable):
        process.give(replace(DELETE, command_id=FIRST_ID))
    process.die()
    server.outage = Outage.NONE


@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
def test_a_command_whose_process_died_before_it_knew_of_its_event_is_published(
    world: IntakeWorld, outage: Outage
) -> None:
    killed(world, world.events, outage)

    with capture_logs() as logs:
        assert world.heal() == 1

    assert {FIRST_ID: published(world)[-1]} == stored(world)
    assert world.time.now_s < 60
    assert [entry["key"] for entry in logs if entry["event"] == "document_healed"] == [
        command_key("local", "1.2.3", FIRST_ID)
    ]
    assert world.journals == []


def test_a_command_whose_put_was_not_answered_is_published(world: IntakeWorld) -> None:
    process = CommandingProcess.of(world)
    intent = process.outbox.intend_document(COMMAND, command_key("local", "1.2.3", FIRST_ID))
    other = CommandingProcess.of(world)
    lost = other.give(replace(DELETE, command_id=FIRST_ID)).command
    other.outbox.close()
    process.outbox.failed(intent)
    process.die()

    world.heal()

    assert published(world) == [lost, lost]
    assert world.journals == []


def test_a_command_that_was_never_stored_is_given_up_after_a_minute(world: IntakeWorld) -> None:
    process = CommandingProcess.of(world)
    process.outbox.intend_document(COMMAND, command_key("local", "1.2.3", FIRST_ID))
    process.die()

    world.heal()

    assert 60 <= world.time.now_s <= 80
    assert (published(world), world.journals) == ([], [])


def test_a_living_process_publishes_what_failed_and_its_journal_is_cleared(world: IntakeWorld) -> None:
    process = CommandingProcess.of(world)
    world.events.outage = Outage.REFUSES
    with pytest.raises(Unavailable):
        process.give(DELETE)
    world.events.outage = Outage.NONE

    asyncio.run(process.outbox.settle())

    assert published(world) == list(stored(world).values())
    assert process.outbox._ledger.journal.size_bytes == 0


def commands(action: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("fluoro_commands_total", {"action": action, "outcome": outcome}) or 0.0


def waiting() -> float:
    return REGISTRY.get_sample_value("fluoro_documents_waiting") or 0.0


def test_commands_are_counted_by_action_and_outcome(world: IntakeWorld) -> None:
    kinds = (("hold", "given"), ("hold", "repeat"), ("delete", "no-such-study"), ("unknown", "bad-action"))
    before = [commands(*kind) for kind in kinds]
    for _ in range(2):
        CommandingProcess.of(world).give(replace(HOLD, command_id=FIRST_ID))
    refused(world, replace(DELETE, study_uid="9.9"))
    refused(world, replace(DELETE, action="Smith^Ann"))

    assert [commands(*kind) - count for kind, count in zip(kinds, before, strict=True)] == [1] * 4


def test_a_command_waits_until_its_event_is_published(world: IntakeWorld) -> None:
    before, failed = waiting(), commands("delete", "broker-unavailable")
    world.events.outage = Outage.REFUSES
    process = CommandingProcess.of(world)
    with pytest.raises(Unavailable):
        process.give(DELETE)

    assert (waiting() - before, commands("delete", "broker-unavailable") - failed) == (1, 1)
    process.outbox.close()
    assert waiting() == before
    world.events.outage = Outage.NONE
    world.heal()
    assert waiting() == before

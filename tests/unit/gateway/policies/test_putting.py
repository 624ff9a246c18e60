"""A version is an object first and an event second; the same rules are no new version, and of two at once one is told."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.policies import putting
from gateway.policies.putting import PutPolicy
from gateway.policies.request import PolicyRequest
from operators.connectors.memory.stores import Failing, Outage, StoredBytes
from operators.errors import Unavailable
from operators.http.problem import Problem
from operators.policies import checking
from operators.policies.document import BadPolicy
from operators.store.policies import POLICIES
from schemas.events import event_id
from schemas.objects import MOST_VERSIONS, Bucket, policy_key
from tests.support.worlds.intake import IntakeWorld
from tests.support.worlds.policies import policy, rule
from tests.support.worlds.processes.putting import OLD, OLD_CT, PUT, PuttingProcess, document, published, stored

OTHER = replace(PUT, document=document(OLD_CT, OLD))
# Another policy, which is asked after the first.
YOUNGER = replace(PUT, name="other", document=document(OLD_CT))
NONE = replace(PUT, document=document())
FIRST_KEY = policy_key("local", "tiering", "age", 1)


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def refused(world: IntakeWorld, request: PolicyRequest) -> Problem:
    with pytest.raises(Problem) as raised:
        PuttingProcess.of(world).put(request)
    return raised.value


def test_a_version_is_stored_and_published_and_leaves_nothing_to_do(world: IntakeWorld) -> None:
    process = PuttingProcess.of(world)

    put = process.put(PUT)
    process.outbox.close()

    assert (put.policy.version, put.policy.rules, put.is_repeat) == (1, (OLD,), False)
    assert put.policy.event_id == event_id("local", "tiering", "age", "1")
    assert stored(world) == published(world) == [put.policy]
    assert world.journals == []


def test_the_object_comes_before_the_event(world: IntakeWorld) -> None:
    world.store.outage = Outage.REFUSES
    with pytest.raises(Unavailable):
        PuttingProcess.of(world).put(PUT)
    world.store.outage, world.events.outage = Outage.NONE, Outage.REFUSES
    with pytest.raises(Unavailable):
        PuttingProcess.of(world).put(PUT)

    assert (len(stored(world)), published(world)) == (1, [])


def test_other_rules_are_the_next_version(world: IntakeWorld) -> None:
    process = PuttingProcess.of(world)

    put = [process.put(request).policy for request in (PUT, OTHER, NONE, PUT)]

    assert [version.version for version in put] == [1, 2, 3, 4]
    assert stored(world) == published(world) == put


@pytest.mark.parametrize("if_version", [None, 0, 1])
def test_the_rules_in_force_are_published_again_and_nothing_is_stored(
    world: IntakeWorld, if_version: int | None
) -> None:
    first = PuttingProcess.of(world).put(PUT)

    again = PuttingProcess.of(world).put(replace(PUT, who="another", why="again", if_version=if_version))

    assert again == PutPolicy(first.policy, is_repeat=True)
    assert (stored(world), published(world)) == ([first.policy], [first.policy] * 2)


@pytest.mark.parametrize(("if_version", "there"), [(1, True), (0, True), (3, True), (2, True), (0, False), (1, False)])
def test_a_version_is_put_only_in_place_of_the_one_that_was_looked_at(
    world: IntakeWorld, if_version: int, there: object
) -> None:
    before = [PUT, OTHER] if there else []
    for request in before:
        PuttingProcess.of(world).put(request)
    request = replace(NONE, if_version=if_version)

    if if_version == len(before):
        assert PuttingProcess.of(world).put(request).policy.version == len(before) + 1
    else:
        problem = refused(world, request)
        assert (problem.status, problem.reason) == (409, "other-version")
        assert ("version 2 is in force" if there else "there is no version yet") in problem.advice
        assert len(stored(world)) == len(before)


def test_of_two_at_once_the_second_is_told_of_the_first(world: IntakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [PuttingProcess.of(world) for _ in range(3)]

    async def all_at_once() -> list[Any]:
        looked = asyncio.Barrier(3)
        put = world.store.put

        async def together(*arguments: Any) -> bool:
            await looked.wait()
            return await put(*arguments)

        monkeypatch.setattr(world.store, "put", together)
        asked = zip(processes, (PUT, OTHER, PUT), strict=True)
        return await asyncio.gather(*(one.policies.put(request) for one, request in asked), return_exceptions=True)

    # Whoever looks last puts first.
    same, other, first = asyncio.run(all_at_once())

    assert (first.is_repeat, same) == (False, PutPolicy(first.policy, is_repeat=True))
    assert isinstance(other, Problem)
    assert (other.status, other.advice) == (
        409,
        "another version was put at the same moment: look at it, and put again",
    )
    assert stored(world) == [first.policy]
    assert published(world) == [first.policy] * 2


def test_rules_are_checked_while_the_event_loop_serves_others(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked_in = list[threading.Thread]()

    def dead_rules(*arguments: Any) -> tuple[str, ...]:
        checked_in.append(threading.current_thread())
        return checking.dead_rules(*arguments)

    monkeypatch.setattr(putting, "dead_rules", dead_rules)
    PuttingProcess.of(world).put(PUT)

    assert len(checked_in) == 1
    assert checked_in != [threading.current_thread()]


WRONG = {
    "no JSON": (b"rules", "this is not JSON in UTF-8: line 1, column 1"),
    "another tier": (b'{"rules": [{"name": "a", "then": {"tier": "lost"}}]}', "rule 1: tier is one of hot, warm, cold"),
    "a dead rule": (document(OLD, OLD_CT, rule("all", tier="hot"), rule("never", tier="hot")), "rule 4: it can never"),
}


@pytest.mark.parametrize("how", WRONG)
def test_rules_that_cannot_be_put_say_why_and_are_not_stored(world: IntakeWorld, how: str) -> None:
    data, problem = WRONG[how]

    with pytest.raises(BadPolicy) as raised:
        PuttingProcess.of(world).put(replace(PUT, document=data))

    assert raised.value.problems[0].startswith(problem)
    assert (stored(world), published(world)) == ([], [])


def test_rules_are_looked_at_beside_the_policies_in_force(world: IntakeWorld) -> None:
    PuttingProcess.of(world).put(replace(PUT, name="b"))
    everything = replace(PUT, name="a", document=document(rule("all", tier="hot")))

    with pytest.raises(BadPolicy, match="rule 1 of the policy b could never apply any more"):
        PuttingProcess.of(world).put(everything)
    PuttingProcess.of(world).put(replace(NONE, name="b"))

    assert PuttingProcess.of(world).put(everything).policy.version == 1


def test_a_policy_that_cannot_be_read_is_put_anew_and_holds_up_no_other(world: IntakeWorld) -> None:
    world.store.objects[Bucket.HOT, FIRST_KEY] = StoredBytes(b"{}", {})

    with capture_logs() as logs:
        put = PuttingProcess.of(world).put(PUT).policy

    assert put.version == 2
    assert PuttingProcess.of(world).put(YOUNGER).policy.version == 1
    assert [entry["key"] for entry in logs if entry["event"] == "policy_unreadable"] == [FIRST_KEY]


def test_behind_a_version_that_cannot_be_read_no_older_one_is_published(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = PuttingProcess.of(world)
    process.put(PUT)
    newer = policy_key("local", "tiering", "age", 3)
    put = world.store.put

    async def spoiled(*arguments: Any) -> bool:
        world.store.objects[Bucket.HOT, newer] = StoredBytes(b"{}", {})
        return await put(*arguments)

    monkeypatch.setattr(world.store, "put", spoiled)

    assert (refused(world, OTHER).reason, len(published(world))) == ("other-version", 1)


def test_a_policy_has_no_more_versions_than_numbers(world: IntakeWorld) -> None:
    upload = POLICIES.upload_of(policy(version=MOST_VERSIONS))
    asyncio.run(world.store.put(Bucket.HOT, upload))

    problem = refused(world, PUT)

    assert (problem.status, problem.reason) == (409, "too-many-versions")
    assert len(stored(world)) == 1


def test_a_clock_that_was_fast_binds_nobody(world: IntakeWorld) -> None:
    upload = POLICIES.upload_of(replace(policy(), occurred_at=world.store.now() + timedelta(hours=1)))
    asyncio.run(world.store.put(Bucket.HOT, upload))
    fast, before = stored(world)[0], world.store.now()

    later = PuttingProcess.of(world).put(PUT).policy
    first = PuttingProcess.of(world).put(YOUNGER).policy

    assert later.occurred_at == fast.occurred_at + timedelta(milliseconds=1)
    assert before < first.occurred_at < world.store.now()


def test_the_log_says_what_was_put_and_not_why(world: IntakeWorld) -> None:
    with capture_logs() as logs:
        put = PuttingProcess.of(world).put(replace(PUT, why="Canary^Sixteen asked for it"))

    (entry,) = [entry for entry in logs if entry["event"] == "policy_put"]
    assert (entry["kind"], entry["name"], entry["version"]) == ("tiering", "age", 1)
    assert "Canary" not in str(logs) + repr(put)


def killed(world: IntakeWorld, server: Failing, outage: Outage, request: PolicyRequest = PUT) -> None:
    """Kill a process while it puts a policy during an outage; then end the outage."""
    process = PuttingProcess.of(world)
    server.outage = outage
    with pytest.raises(Unavailable):
        process.put(request)
    process.die()
    server.outage = Outage.NONE


@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
def test_a_version_whose_process_died_before_it_knew_of_its_event_is_published(
    world: IntakeWorld, outage: Outage
) -> None:
    killed(world, world.events, outage)

    with capture_logs() as logs:
        assert world.heal() == 1

    assert [published(world)[-1]] == stored(world)
    assert world.time.now_s < 60
    assert [entry["key"] for entry in logs if entry["event"] == "document_healed"] == [FIRST_KEY]
    assert world.journals == []


def test_what_is_healed_late_does_not_take_the_place_of_a_newer_version(world: IntakeWorld) -> None:
    killed(world, world.events, Outage.REFUSES)
    newer = PuttingProcess.of(world).put(OTHER).policy

    world.heal()

    assert published(world) == [newer, newer]


def test_who_publishes_again_what_is_in_force_and_dies_leaves_another_to_look_for_a_newer_version(
    world: IntakeWorld,
) -> None:
    PuttingProcess.of(world).put(PUT)
    killed(world, world.events, Outage.LOSES_ANSWER, PUT)
    newer = replace(policy(OLD_CT, version=2), occurred_at=world.store.now())
    asyncio.run(world.store.put(Bucket.HOT, POLICIES.upload_of(newer)))

    assert world.heal() == 1

    assert [version.version for version in published(world)] == [1, 1, 2]


def test_a_version_that_was_never_stored_is_given_up_after_a_minute(world: IntakeWorld) -> None:
    killed(world, world.store, Outage.REFUSES)
    process = PuttingProcess.of(world)
    process.outbox.intend_document("policy", FIRST_KEY)
    process.die()

    world.heal()

    assert 60 <= world.time.now_s <= 80
    assert (published(world), world.journals) == ([], [])


def test_a_version_that_cannot_be_read_is_set_aside(world: IntakeWorld) -> None:
    killed(world, world.events, Outage.REFUSES)
    world.store.objects[Bucket.HOT, FIRST_KEY] = StoredBytes(b"{}", {})

    world.heal()

    assert (published(world), world.journals) == ([], [])
    assert len(list(world.folder.glob("*.aside"))) == 1

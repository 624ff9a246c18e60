"""A choice carries the event of the content that it chooses, rebuilt from an object whose bytes are whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.commands.request import CommandRequest
from gateway.intake.accept import Receipt
from operators.connectors.memory.stores import DAMAGES
from operators.http.problem import Problem
from schemas.codec import decode
from schemas.events import InstanceStored
from schemas.objects import Bucket
from tests.support.worlds.commands import DELETE, FIRST_ID, SECOND_ID, CommandingProcess, published
from tests.support.worlds.intake import CT, EXPLICIT, GatewayProcess, IntakeWorld, data_set

Contents = tuple[InstanceStored, InstanceStored]

INSTANCE = "1.2.3.1"


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def accept(gateway: GatewayProcess, data: bytes) -> Receipt:
    incoming = gateway.acceptance.receive(CT, INSTANCE, EXPLICIT)
    incoming.body.write(memoryview(data))
    return gateway.accept_incoming(incoming)


@pytest.fixture
def contents(world: IntakeWorld) -> Contents:
    """Two contents of one instance, the first of which is shown."""
    gateway, first = world.gateway(), data_set(1, "1.2.3")
    return accept(gateway, first).event, accept(gateway, first[:-4] + b"\5\6\7\10").event


def choose(content: str) -> CommandRequest:
    return replace(DELETE, action="choose", instance=INSTANCE, content=content)


@pytest.mark.parametrize("tier", [Bucket.HOT, Bucket.WARM])
def test_a_choice_carries_the_whole_event_of_its_content(world: IntakeWorld, contents: Contents, tier: Bucket) -> None:
    world.move(tier)

    given = CommandingProcess.of(world).give(choose(contents[1].data_hash))

    assert decode(given.command.instance or b"") == contents[1]
    assert (given.command.sop_uid, given.command.data_hash) == (INSTANCE, contents[1].data_hash)
    assert published(world) == [given.command]


def test_a_choice_that_is_repeated_is_published_again_whole(world: IntakeWorld, contents: Contents) -> None:
    request = replace(choose(contents[1].data_hash), command_id=FIRST_ID)
    first = CommandingProcess.of(world).give(request).command
    CommandingProcess.of(world).give(replace(request, command_id=SECOND_ID))

    assert CommandingProcess.of(world).give(request).command == first
    assert published(world)[-1] == first


def test_a_hash_that_names_no_content_is_an_error_that_lists_those_that_there_are(
    world: IntakeWorld, contents: Contents
) -> None:
    with pytest.raises(Problem) as raised:
        CommandingProcess.of(world).give(choose("f" * 64))

    assert (raised.value.status, raised.value.reason) == (404, "no-such-content")
    assert all(content.data_hash in raised.value.advice for content in contents)
    assert published(world) == []


def test_an_instance_that_the_study_does_not_have_is_an_error(world: IntakeWorld, contents: Contents) -> None:
    request = replace(choose(contents[0].data_hash), instance="1.2.3.2")

    with pytest.raises(Problem, match="no-such-content"):
        CommandingProcess.of(world).give(request)


@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_a_damaged_content_cannot_be_chosen(world: IntakeWorld, contents: Contents, how: str) -> None:
    world.store.damage(Bucket.HOT, contents[1].object_key, how)

    with pytest.raises(Problem) as raised:
        CommandingProcess.of(world).give(choose(contents[1].data_hash))

    assert (raised.value.status, raised.value.reason) == (409, "content-damaged")
    assert published(world) == []


def test_a_choice_leaves_no_file_behind(world: IntakeWorld, contents: Contents) -> None:
    CommandingProcess.of(world).give(choose(contents[0].data_hash))

    assert {path.suffix for path in world.folder.iterdir()} == {".jsonl"}

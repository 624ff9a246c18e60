"""Whenever a request is cancelled, once or twice, its transfer ends exactly once and all it held is given back."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Generator
from itertools import combinations
from pathlib import Path
from types import coroutine
from typing import Any

from starlette.types import Message, Receive

from gateway.dimse.connection import DimseConnection
from gateway.dimse.state import AssociationState
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog
from operators.store.ports import PlainUpload, Position
from schemas.events import Event, Outcome, TransferEnded
from schemas.objects import Bucket
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED, Topic
from tests.support.worlds.dimse import (
    GatedStore,
    associate_request,
    connected,
    only_connection,
    release_request,
    settings,
    store_message,
    until,
)
from tests.support.worlds.gateway import door_of
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import PARTS, multipart, stow_world

# More than a request awaits; a cancel at a later step comes too late to change anything.
MOST_STEPS = 20
TURNS = 5
CHUNKS = 5


class SlowStore(GatedStore):
    """A store that answers a PUT a few turns of the event loop after its gate is open and the object is stored."""

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        is_new = await super().put(bucket, upload)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return is_new


class SlowEventLog(MemoryEventLog):
    """A broker that acknowledges an event after a few turns of the event loop."""

    async def publish(self, topic: Topic, event: Event) -> Position:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return await super().publish(topic, event)


@coroutine
def cancelled_at(steps: tuple[int, ...], work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run a coroutine in the current task, which is cancelled as it waits for the first, second, ... time of `steps`."""
    task = asyncio.current_task()
    assert task is not None
    running, error = work.__await__(), None
    for step in range(10**6):
        try:
            waits_for = running.throw(error) if error else running.send(None)
        except StopIteration as stop:
            return stop.value
        if step in steps:
            task.cancel()
        try:
            error = None
            yield waits_for
        except BaseException as thrown:  # noqa: BLE001 - whatever it is, it is thrown into the work
            error = thrown
    raise AssertionError("the work never ends")


# The steps of a request at which it is cancelled: none, each one, each two.
ONE_AND_TWO = [(), *((step,) for step in range(MOST_STEPS)), *combinations(range(MOST_STEPS), 2)]
FILES = tuple(part10(SOPInstanceUID=f"1.2.3.{number}") for number in range(3))


def slow_client(body: bytes) -> Receive:
    """Return a client that sends a body in a few chunks, each after a turn of the event loop."""
    size_bytes = len(body) // CHUNKS + 1
    chunks = iter([body[start : start + size_bytes] for start in range(0, len(body), size_bytes)])

    async def receive() -> Message:
        await asyncio.sleep(0)
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


async def ends_of_a_store_request(folder: Path, steps: tuple[int, ...]) -> tuple[bool, list[Outcome]]:
    """Cancel a store request at these steps; return whether an instance was stored, and how transfers ended."""
    store = SlowStore()
    store.gate.set()
    async with stow_world(folder, store=store) as world:
        asking = world.ask(slow_client(multipart(*FILES)), headers={"content-type": PARTS})
        await asyncio.gather(cancelled_at(steps, asking), return_exceptions=True)
        await world.stow.close(1)
        held = world.intake.room.held_bytes, world.intake.room.spooled_bytes, len(world.stow.requests)
        assert held == (0, 0, 0), steps
        return bool(world.instances), [end.outcome for end in await world.ends()]


def test_a_store_request_that_is_cancelled_anywhere_ends_its_transfer_once(tmp_path: Path) -> None:
    async def all_ends() -> list[tuple[tuple[int, ...], bool, list[Outcome]]]:
        return [(steps, *await ends_of_a_store_request(tmp_path, steps)) for steps in ONE_AND_TWO]

    found = asyncio.run(all_ends())

    assert [(steps, ends) for steps, has_stored, ends in found if not has_stored <= len(ends) <= 1] == []
    assert {outcome for _, _, ends in found for outcome in ends} == {"well", "aborted"}


def cancel(connection: DimseConnection) -> None:
    if connection.task is not None:
        connection.task.cancel()


def lose(connection: DimseConnection) -> None:
    connection._transport.abort()


# What may happen to an association, and at which turn of the event loop after its first instance can be stored.
Move = tuple[Callable[[DimseConnection], None], int]
MOVES: list[Move] = [(move, turn) for move in (cancel, lose, DimseConnection.stop) for turn in range(0, 16, 2)]
MOVE_ONE_AND_TWO: list[tuple[Move, ...]] = [(), *((move,) for move in MOVES), *combinations(MOVES, 2)]


async def ends_of_an_association(folder: Path, moves: tuple[Move, ...]) -> tuple[bool, list[Outcome]]:
    """Make these moves while two instances are stored, then close the door; return as ends_of_a_store_request does."""
    store, events = SlowStore(), SlowEventLog()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with door_of(listening, settings(folder).changed(late_put_s=0), Connectors(store, events)) as door:
            sent = associate_request() + store_message(1) + store_message(2) + release_request()
            _, writer = await connected(listening, sent)
            await store.reached.wait()
            connection = only_connection(door)
            store.gate.set()
            for turn in range(max((turn for _, turn in moves), default=0) + 1):
                for move, at in moves:
                    if at == turn:
                        move(connection)
                await asyncio.sleep(0)
            await door.close(5)
            writer.transport.abort()
            await until(lambda: connection.state is AssociationState.CLOSED)
            held = door.intake.room.held_bytes, door.associated, connection.task
            assert held == (0, 0, None), moves
            await until(lambda: door.intake.outbox.is_empty)
    ended = [event.outcome for event in events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)]
    return bool(events.events(INSTANCE_STORED)), ended


def test_an_association_that_is_cancelled_lost_or_stopped_anywhere_ends_its_transfer_once(tmp_path: Path) -> None:
    async def all_ends() -> list[tuple[tuple[Move, ...], bool, list[Outcome]]]:
        return [(moves, *await ends_of_an_association(tmp_path, moves)) for moves in MOVE_ONE_AND_TWO]

    found = asyncio.run(all_ends())

    assert [(moves, ends) for moves, has_stored, ends in found if not has_stored <= len(ends) <= 1] == []
    assert {outcome for _, _, ends in found for outcome in ends} == {"well", "aborted"}

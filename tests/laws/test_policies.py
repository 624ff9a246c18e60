"""The law of policies: whoever publishes what and is killed where, a policy's last record is its newest version."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.store.policies import POLICIES, newest_since, publish_newest
from operators.store.ports import PlainUpload, Position
from schemas.events import Event, PolicyChanged
from schemas.objects import Bucket
from schemas.topics import POLICY_CHANGED, Topic
from tests.support.worlds.policies import policy

VERSIONS = {1: policy(version=1), 2: policy(version=2)}
KILLS = 2

# What a process does from its intent on, or another does after it was killed.
Life = Callable[["SteppedStore", "SteppedLog", PolicyChanged], Coroutine[Any, Any, object]]
# Which process goes on, or is killed: what it does, the version it is about, and whether it is killed.
Choice = tuple[str, int, bool]


class Killed(BaseException):
    """A process ends where it is."""


class Turn:
    """A moment at which others may go on, or this process is killed."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass
class SteppedStore(MemoryObjectStore):
    """A store before each request of which others may go on; it keeps what one process saw in it."""

    seen: list[str] = field(default_factory=list)

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        await Turn()
        return await super().put(bucket, upload)

    async def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        await Turn()
        self.seen.append("look")
        async for key in super().keys(bucket, prefix):
            self.seen.append(key)
            yield key

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        await Turn()
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            yield chunk


@dataclass
class SteppedLog(MemoryEventLog):
    """A log before and after each request of which others may go on: a killed process does not know what became of it."""

    async def publish(self, topic: Topic, event: Event) -> Position:
        await Turn()
        position = await super().publish(topic, event)
        await Turn()
        return position


async def publish(store: SteppedStore, events: SteppedLog, version: PolicyChanged) -> None:
    newest = partial(newest_since, store, POLICIES.key_of(version))
    await publish_newest(partial(events.publish, POLICY_CHANGED), newest)


async def publish_once(_: SteppedStore, events: SteppedLog, version: PolicyChanged) -> None:
    await events.publish(POLICY_CHANGED, version)


async def put(store: SteppedStore, events: SteppedLog, version: PolicyChanged, then: Life) -> None:
    await store.put(Bucket.HOT, POLICIES.upload_of(version))
    await then(store, events, version)


@dataclass
class Process:
    """One process, which goes on from turn to turn."""

    life: Coroutine[Any, Any, object]
    store: SteppedStore
    turns: int = 0
    is_over: bool = False

    def go_on(self) -> None:
        self.turns += 1
        try:
            self.life.send(None)
        except StopIteration:
            self.is_over = True

    def kill(self) -> None:
        if not self.is_over:
            self.is_over = True
            # Not close(): an asynchronous generator that waits cannot be closed from outside.
            with suppress(Killed):
                self.life.throw(Killed())


class World:
    """Two processes that publish a version each, and those that go on for a killed one.

    The first process puts the first version, or puts it again, if `is_there`.
    """

    def __init__(self, publishing: Life, *, is_there: bool = False) -> None:
        self.publishing = publishing
        self.store, self.events = SteppedStore(), SteppedLog()
        self.kills = 0
        self.processes: dict[tuple[str, int], Process] = {}
        if is_there:
            asyncio.run(MemoryObjectStore.put(self.store, Bucket.HOT, POLICIES.upload_of(VERSIONS[1])))
        self.begin("first", 1, publishing if is_there else partial(put, then=publishing))
        self.begin("second", 2, partial(put, then=publishing))

    def begin(self, what: str, number: int, life: Life) -> None:
        store = SteppedStore(objects=self.store.objects)
        self.processes[what, number] = Process(life(store, self.events, VERSIONS[number]), store)

    def choices(self) -> list[Choice]:
        """Return what may happen next: whoever puts the second version has seen that the first one is stored."""
        able = [
            place
            for place, process in self.processes.items()
            if not process.is_over and (place != ("second", 2) or 1 in self.stored)
        ]
        killing = [False, True] if self.kills < KILLS else [False]
        return [(*place, is_killed) for place in able for is_killed in killing]

    def do(self, choice: Choice) -> None:
        what, number, is_killed = choice
        if not is_killed:
            self.processes[what, number].go_on()
            return
        self.kills += 1
        self.processes[what, number].kill()
        if number in self.stored:
            self.begin(f"{what}, healed", number, self.publishing)

    @property
    def stored(self) -> list[int]:
        return [number for number, one in VERSIONS.items() if (Bucket.HOT, POLICIES.key_of(one)) in self.store.objects]

    @property
    def last_record(self) -> int:
        """Return the version that the compacted topic keeps, 0 if there is none."""
        records = [event for event in self.events.events(POLICY_CHANGED) if isinstance(event, PolicyChanged)]
        return records[-1].version if records else 0

    def state(self) -> object:
        """Return all that the future depends on: what is there, and where each process is that goes on, and what it saw."""
        alive = {(place, it.turns, tuple(it.store.seen)) for place, it in self.processes.items() if not it.is_over}
        return frozenset(alive), tuple(self.stored), self.last_record, self.kills

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()


def outcomes(publishing: Life, *, is_there: bool = False) -> set[tuple[tuple[int, ...], int]]:
    """Return what is stored, and the last record, at the end of every order of all turns and kills."""
    found, known, waiting = set[tuple[tuple[int, ...], int]](), set[object](), list[tuple[Choice, ...]]([()])
    while waiting:
        history = waiting.pop()
        world = World(publishing, is_there=is_there)
        for choice in history:
            world.do(choice)
        choices, state = world.choices(), world.state()
        if not choices:
            found.add((tuple(world.stored), world.last_record))
        if state not in known:
            known.add(state)
            waiting += [(*history, choice) for choice in choices]
        world.close()
    return found


def test_in_every_order_with_kills_at_every_point_the_last_record_is_the_newest_version() -> None:
    assert outcomes(publish) == {((), 0), ((1,), 1), ((1, 2), 2)}
    assert outcomes(publish, is_there=True) == {((1,), 1), ((1, 2), 2)}


def test_who_publishes_its_own_version_without_another_look_can_make_an_older_one_the_last() -> None:
    assert ((1, 2), 1) in outcomes(publish_once)

"""The law of commands: whoever commands when, and whatever fails, objects and events tell of one outcome."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.commands.giving import CommandPorts, Commands
from gateway.intake.outbox.outbox import Outbox
from gateway.intake.rebuild import Rebuilder
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.errors import Unavailable
from operators.store.ports import PlainUpload, Position
from schemas.events import Event, StudyCommand
from schemas.objects import Bucket
from schemas.topics import Topic
from tests.support.worlds.commands import DELETE, published, stored
from tests.support.worlds.intake import IntakeWorld

NOON_S = 1_793_534_400.0
ACTIONS = ("delete", "restore")


@dataclass
class Chance:
    """Turns that a request gives to others, and failures before or after it was carried out."""

    random: Random = field(default_factory=Random)
    failures: float = 0.0

    async def turn(self) -> None:
        """Let others run for some turns of the event loop, then fail perhaps."""
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.random.random() < self.failures:
            raise Unavailable("store")


@dataclass
class TurningStore(MemoryObjectStore):
    """A store during whose requests others run."""

    chance: Chance = field(default_factory=Chance)

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        await self.chance.turn()
        is_new = await super().put(bucket, upload)
        await self.chance.turn()
        return is_new

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self.chance.turn()
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            yield chunk


@dataclass
class TurningLog(MemoryEventLog):
    """A log during whose requests others run."""

    chance: Chance = field(default_factory=Chance)

    async def publish(self, topic: Topic, event: Event) -> Position:
        await self.chance.turn()
        position = await super().publish(topic, event)
        await self.chance.turn()
        return position


@dataclass
class Operator:
    """Somebody who gives commands one after another, and goes on when one is not answered."""

    outbox: Outbox
    commands: Commands
    # Of each command that was answered: when it was begun and answered by a count of all steps, and its date.
    answered: list[tuple[int, int, datetime]] = field(default_factory=list)

    async def give(self, actions: Sequence[str], steps: list[int]) -> None:
        for action in actions:
            steps.append(0)
            began = len(steps)
            try:
                given = await self.commands.give(replace(DELETE, action=action))
            except Unavailable:
                continue
            steps.append(0)
            self.answered.append((began, len(steps), given.command.occurred_at))


def outcome(commands: Sequence[StudyCommand]) -> str:
    """Return what the greatest (occurred_at, event id) commands, as every reader has it."""
    return max(commands, key=lambda command: (command.occurred_at, command.event_id)).action


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=4), min_size=2, max_size=3),
    st.sampled_from((0.0, 0.1, 0.3)),
    st.booleans(),
)
def test_however_commands_and_failures_interleave_there_is_one_outcome(
    seed: int,
    given_by: list[list[str]],
    failures: float,
    is_killed: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    chance = Chance(Random(seed))
    store, events = TurningStore(chance=chance), TurningLog(chance=chance)
    with tempfile.TemporaryDirectory() as folder:
        world = IntakeWorld(Path(folder), store, events)
        world.gateway().accept(1)
        operators = [operator(world, at=NOON_S - 3600 * number) for number in range(len(given_by))]
        chance.failures = failures
        steps = list[int]()

        async def lived() -> None:
            each = (one.give(actions, steps) for one, actions in zip(operators, given_by, strict=True))
            await asyncio.gather(*each)

        asyncio.run(lived())
        chance.failures = 0.0
        for one in operators:
            if is_killed:
                one.outbox._ledger.journal.close()
            else:
                asyncio.run(one.outbox.settle())
                one.outbox.close()
        world.heal()

        objects, told = stored(world), published(world)
    assert {command.event_id: command for command in told} == objects
    if objects:
        assert outcome(list(objects.values())) == outcome(told)
    answered = [each for one in operators for each in one.answered]
    for _, ended, occurred_at in answered:
        assert all(later > occurred_at for began, _, later in answered if began > ended)


def operator(world: IntakeWorld, at: float) -> Operator:
    """Return an operator in a process of its own, whose clock stands still: it is this many seconds of Unix time."""
    time = MemoryObjectStore(clock=lambda: at)
    outbox = Outbox.create(world.folder, world.outbox_ports())
    ports = CommandPorts(Rebuilder(world.tiers, world.folder), world.events, outbox, time)
    return Operator(outbox, Commands(ports))

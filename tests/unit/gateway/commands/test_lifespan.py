"""A process gives commands through the outbox of its intake, or through one of its own."""

import asyncio
from pathlib import Path

import pytest

from gateway.commands.lifespan import commands_of, open_commands
from gateway.intake.lifespan import Connectors, open_intake
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.errors import Unavailable
from operators.tasks import Background
from schemas.settings.intake import QuarantineSettings
from schemas.topics import STUDY_COMMAND
from tests.support.worlds.commands import DELETE
from tests.support.worlds.gateway import intake_in

EXPECT = {**DELETE.__dict__, "action": "expect", "count": 3}
REQUEST = type(DELETE)(**EXPECT)


def test_a_command_of_its_own_process_leaves_no_journal(tmp_path: Path) -> None:
    store, events, settings = MemoryObjectStore(), MemoryEventLog(), intake_in(tmp_path)

    async def given() -> None:
        async with open_commands(settings, Connectors(store, events)) as commands:
            await commands.give(REQUEST)

    asyncio.run(given())

    assert len(events.events(STUDY_COMMAND)) == 1
    assert list(settings.outbox_dir.iterdir()) == []


def test_what_a_process_cannot_publish_it_leaves_to_a_gateway_with_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.lifespan.STOP_S", 0.01)
    store, events, settings = MemoryObjectStore(), MemoryEventLog(), intake_in(tmp_path)
    connectors = Connectors(store, events)

    async def lived() -> None:
        async with open_intake(settings, QuarantineSettings(), connectors, Background()):
            events.outage = Outage.REFUSES
            with pytest.raises(Unavailable):
                async with open_commands(settings, connectors) as commands:
                    await commands.give(REQUEST)
            events.outage = Outage.NONE
            async with asyncio.timeout(10):
                while not events.events(STUDY_COMMAND):  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.01)

    asyncio.run(lived())

    assert list(settings.outbox_dir.iterdir()) == []


def test_a_process_with_an_intake_gives_commands_through_its_outbox(tmp_path: Path) -> None:
    store, events, settings = MemoryObjectStore(), MemoryEventLog(), intake_in(tmp_path)

    async def given() -> int:
        async with open_intake(settings, QuarantineSettings(), Connectors(store, events), Background()) as intake:
            await commands_of(intake).give(REQUEST)
            return len(list(settings.outbox_dir.iterdir()))

    assert asyncio.run(given()) == 1
    assert len(events.events(STUDY_COMMAND)) == 1

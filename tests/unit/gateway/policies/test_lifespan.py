"""A process puts policies through the outbox of its intake, or through one of its own."""

import asyncio
from pathlib import Path

from gateway.intake.lifespan import Connectors, open_intake
from gateway.policies.lifespan import open_policies, policies_of
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.tasks import Background
from schemas.settings.intake import QuarantineSettings
from schemas.topics import POLICY_CHANGED
from tests.support.worlds.gateway import intake_in
from tests.support.worlds.processes.putting import PUT


def test_a_policy_of_its_own_process_leaves_no_journal(tmp_path: Path) -> None:
    store, events, settings = MemoryObjectStore(), MemoryEventLog(), intake_in(tmp_path)

    async def put() -> None:
        async with open_policies(settings, Connectors(store, events)) as policies:
            await policies.put(PUT)

    asyncio.run(put())

    assert len(events.events(POLICY_CHANGED)) == 1
    assert list(settings.outbox_dir.iterdir()) == []


def test_a_process_with_an_intake_puts_policies_through_its_outbox(tmp_path: Path) -> None:
    store, events, settings = MemoryObjectStore(), MemoryEventLog(), intake_in(tmp_path)

    async def put() -> int:
        async with open_intake(settings, QuarantineSettings(), Connectors(store, events), Background()) as intake:
            await policies_of(intake, store).put(PUT)
            return len(list(settings.outbox_dir.iterdir()))

    assert asyncio.run(put()) == 1
    assert len(events.events(POLICY_CHANGED)) == 1

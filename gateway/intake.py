"""What every door leads to: the use case, its outbox at work, and the memory that data sets on their way share."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

import structlog

from gateway.accept import Acceptance, Inside, Rebuilding
from gateway.outbox import Outbox, Outside, heal
from gateway.quarantine import Quarantine
from gateway.spool import Bounds, Room
from operators.ports import EventLog, ObjectStore
from schemas.settings import GatewaySettings

STOP_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Connectors:
    """What a gateway is given of the outside."""

    store: ObjectStore
    events: EventLog


@dataclass(frozen=True)
class Intake:
    """What the doors of one process share."""

    acceptance: Acceptance
    outbox: Outbox
    room: Room


@contextlib.asynccontextmanager
async def intake(settings: GatewaySettings, connectors: Connectors) -> AsyncIterator[Intake]:
    """Work off the outbox, and what dead processes left of theirs, while this is entered; settle it on leaving.

    Starts whether or not store and broker answer.
    """
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    outside = Outside(
        events=connectors.events,
        rebuild=Rebuilding(connectors.store, settings.spool_dir),
        heal_s=settings.heal_s,
        clock=monotonic,
        sleep=asyncio.sleep,
    )
    outbox = Outbox.create(settings.outbox_dir, outside)
    tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(heal(settings.outbox_dir, outside))]
    for task in tasks:
        task.add_done_callback(_fail_loudly)
    room = Room(settings.memory_process_bytes)
    bounds = Bounds(settings.memory_instance_bytes, settings.instance_bytes, settings.spool_dir)
    quarantine = Quarantine(connectors.store)
    acceptance = Acceptance(Inside(connectors.store, connectors.events, outbox, quarantine, room, bounds))
    try:
        yield Intake(acceptance, outbox, room)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(outbox.settle(), STOP_S)
        outbox.close()


def _fail_loudly(task: "asyncio.Task[object]") -> None:
    """Nothing may end the outbox's work but its own cancelling: without it this process should not go on."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("outbox_failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)

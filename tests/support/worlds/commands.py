"""Processes that give commands, over one store and one broker in memory, which outlive them."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.commands.giving import CommandPorts, Commands, GivenCommand
from gateway.commands.request import CommandRequest
from gateway.intake.outbox.outbox import Outbox
from gateway.intake.rebuild import Rebuilder
from operators.store.commands import COMMANDS
from schemas.events import StudyCommand
from schemas.objects import Bucket
from schemas.topics import STUDY_COMMAND
from tests.support.worlds.intake import IntakeWorld

DELETE = CommandRequest(
    tenant="local", study_uid="1.2.3", action="delete", who="loopback", why="sent to the wrong archive"
)
FIRST_ID, SECOND_ID = "6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21", "7f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21"

# A command that such a request has become.
DELETED = StudyCommand(
    event_id=FIRST_ID,
    tenant="local",
    occurred_at=datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC),
    study_uid="1.2.3",
    action="delete",
    who="loopback",
    why="sent to the wrong archive",
)


@dataclass
class CommandingProcess:
    """The commands and the outbox of one process."""

    world: IntakeWorld
    outbox: Outbox

    @classmethod
    def of(cls, world: IntakeWorld) -> "CommandingProcess":
        """Return a new process."""
        return cls(world, Outbox.create(world.folder, world.outbox_ports()))

    @property
    def commands(self) -> Commands:
        world = self.world
        rebuilder = Rebuilder(world.tiers, world.folder)
        return Commands(CommandPorts(rebuilder, world.events, self.outbox, world.store))

    def give(self, request: CommandRequest) -> GivenCommand:
        """Store and publish one command."""
        return asyncio.run(self.commands.give(request))

    def die(self) -> None:
        """Release the journal's lock and nothing else, as the kernel does for a killed process."""
        self.outbox._ledger.journal.close()


def published(world: IntakeWorld) -> list[StudyCommand]:
    """Return the events of all commands."""
    return [event for event in world.events.events(STUDY_COMMAND) if isinstance(event, StudyCommand)]


def stored(world: IntakeWorld) -> dict[str, StudyCommand]:
    """Return the commands in the store by their ids."""
    found: dict[str, Any] = {
        key: held.data for (bucket, key), held in world.store.objects.items() if bucket is Bucket.HOT and "/_" in key
    }
    return {command.event_id: command for command in (COMMANDS.event_in(key, data) for key, data in found.items())}

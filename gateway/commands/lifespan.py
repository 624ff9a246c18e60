"""Commands as a process gives them: over the intake that it has, or over an outbox of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.commands.giving import CommandPorts, Commands
from gateway.intake.lifespan import Connectors, Intake, open_outbox
from gateway.intake.outbox.outbox import Outbox, OutboxPorts
from gateway.intake.rebuild import Rebuilder
from schemas.settings.intake import IntakeSettings


def commands_of(intake: Intake) -> Commands:
    """Return the commands of a process that has an intake, through its outbox."""
    return _commands(intake.rebuilder, intake.outbox, intake.ports)


@asynccontextmanager
async def open_commands(settings: IntakeSettings, connectors: Connectors) -> AsyncIterator[Commands]:
    """Open commands with a journal of their own in the outbox's folder."""
    async with open_outbox(settings, connectors) as (outbox, ports, rebuilder):
        yield _commands(rebuilder, outbox, ports)


def _commands(rebuilder: Rebuilder, outbox: Outbox, ports: OutboxPorts) -> Commands:
    return Commands(CommandPorts(rebuilder, ports.events, outbox, ports.time, ports.reached))

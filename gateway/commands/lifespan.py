"""Commands as a process gives them: over the intake that it has, or over an outbox of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.commands.giving import CommandPorts, Commands
from gateway.intake.lifespan import Connectors, Intake, outbox_ports, rebuilder_of, settle_and_close
from gateway.intake.outbox.outbox import Outbox, OutboxPorts
from gateway.intake.rebuild import Rebuilder
from schemas.settings.intake import IntakeSettings


def commands_of(intake: Intake) -> Commands:
    """Return the commands of a process that has an intake, through its outbox."""
    return _commands(intake.rebuilder, intake.outbox, intake.ports)


@asynccontextmanager
async def open_commands(settings: IntakeSettings, connectors: Connectors) -> AsyncIterator[Commands]:
    """Open commands with a journal of their own in the outbox's folder; after the block, give the outbox a while to finish.

    What it has not finished by then, or when the process is killed, a gateway with the same folder does.
    """
    rebuilder = rebuilder_of(settings, connectors)
    ports = outbox_ports(settings, connectors, rebuilder)
    outbox = Outbox.create(settings.outbox_dir, ports)
    try:
        yield _commands(rebuilder, outbox, ports)
    finally:
        await settle_and_close(outbox)


def _commands(rebuilder: Rebuilder, outbox: Outbox, ports: OutboxPorts) -> Commands:
    return Commands(CommandPorts(rebuilder, ports.events, outbox, ports.time, ports.reached))

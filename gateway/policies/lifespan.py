"""Policies as a process puts them: over the intake that it has, or over an outbox of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.intake.lifespan import Connectors, Intake, open_outbox
from gateway.policies.putting import Policies, PolicyPorts
from operators.store.ports import ObjectStore
from schemas.settings.intake import IntakeSettings


def policies_of(intake: Intake, store: ObjectStore) -> Policies:
    """Return the policies of a process that has an intake over this store, through its outbox."""
    return Policies(PolicyPorts(store, intake.ports.events, intake.outbox, intake.ports.reached))


@asynccontextmanager
async def open_policies(settings: IntakeSettings, connectors: Connectors) -> AsyncIterator[Policies]:
    """Open policies with a journal of their own in the outbox's folder, as commands are opened."""
    async with open_outbox(settings, connectors) as (outbox, ports, _):
        yield Policies(PolicyPorts(connectors.store, connectors.events, outbox, ports.reached))

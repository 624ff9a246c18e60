"""Publish again what the object store tells: events of instances, commands, policies and quarantine, and transfers' ends.

    python -m pipelines.batch.rebuild [--tenant NAME] [--study UID] [--stored-from TIME] [--stored-to TIME]

It reads objects alone, and changes none. Run it when the broker has lost records, or when catalog, broker and jobs begin
anew: the jobs then make the tables again. On an archive that is whole it changes nothing that is shown. A time selects the
studies of which the store took an object then, and each of these is published as a whole. Settings are FLUORO_STORE_*,
FLUORO_BROKER_*, FLUORO_INTAKE_* and FLUORO_QUARANTINE_* of the gateways, and FLUORO_BATCH_*. What stands behind
-- is given to Beam. What objects do not tell is listed in docs/operations.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from operators.dicom.scan import limits_of
from pipelines.batch import console, walk
from pipelines.batch.console import BatchCommand
from pipelines.batch.rebuild.work import Rebuild
from pipelines.batch.selection import Selection, selection_of
from pipelines.batch.servers import open_servers
from pipelines.batch.walk import Size
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.jobs import BatchSettings
from schemas.settings.reading import load_all
from schemas.settings.servers import BrokerSettings, StoreSettings

NAME, LEFT_OUT = "rebuild", "done, but some objects were left out"


@dataclass(frozen=True)
class RebuildSettings:
    """The sections of settings that a rebuild reads; those of the intake must be the gateways' own."""

    store: StoreSettings
    broker: BrokerSettings
    intake: IntakeSettings
    quarantine: QuarantineSettings
    batch: BatchSettings


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a rebuild; return the exit status. Raises SettingsError, RunRefused and Unavailable."""
    options, beam_arguments = console.parsed(console.make_parser(NAME, __doc__ or "", LEFT_OUT), arguments)
    settings, selection = load_all(RebuildSettings, environment, with_store_keys=True), selection_of(options)
    look = partial(_look, settings, selection)
    command = BatchCommand(NAME, work_of(settings), selection, settings.batch.runs_dir, look)
    return console.carry_out(command, options, beam_arguments)


def work_of(settings: RebuildSettings) -> Rebuild:
    """Return the work of these settings, which is sent to the workers with them."""
    opened = partial(open_servers, settings.store, settings.broker)
    return Rebuild(opened, timedelta(days=settings.quarantine.days), limits_of(settings.intake), settings.batch.at_once)


async def _look(settings: RebuildSettings, selection: Selection) -> Size:
    """Return the size of the selection, once store and broker have answered; raises Unavailable."""
    async with open_servers(settings.store, settings.broker) as (store, events):
        await store.check()
        await events.check()
        return await walk.measured(store, selection)

"""Compare every stored object with the catalog, and every row of the catalog with the store.

    python -m pipelines.batch.verify [--tenant NAME] [--study UID] [--stored-from TIME] [--stored-to TIME] [--repair]

Each object is read to its end and hashed. What is damaged is marked, so that nobody is served from it; with --repair the
event of what has no row is published again. The report is a file of JSON, with keys and no patient data. A time selects
the studies of which the store took an object then. Settings are FLUORO_STORE_*, FLUORO_CATALOG_* (role writer),
FLUORO_BROKER_* and FLUORO_INTAKE_* of the gateways for --repair, FLUORO_VERIFY_* and FLUORO_BATCH_*. What stands
behind -- is given to Beam. docs/operations.md says what is found, and what to do then.
"""

import asyncio
import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from operators.dicom.scan import limits_of
from pipelines.batch import console, walk
from pipelines.batch.console import BatchCommand
from pipelines.batch.journal import ABOUT, JournalReader, run_name, write_whole
from pipelines.batch.selection import Selection, selection_of
from pipelines.batch.terminal import DONE, LEFT_OUT, say
from pipelines.batch.verify import passes
from pipelines.batch.verify.findings import VerificationReport
from pipelines.batch.verify.work import Verify, VerifyServers, open_verify_servers
from pipelines.batch.walk import Size
from schemas.settings.intake import IntakeSettings
from schemas.settings.jobs import BatchSettings
from schemas.settings.reading import load_all
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.verify import VerifySettings

NAME = "verify"
WRONG_FOUND = "something is wrong, and was not published again"


@dataclass(frozen=True)
class VerifyCommandSettings:
    """The sections of settings that a verification reads."""

    store: StoreSettings
    catalog: CatalogSettings
    broker: BrokerSettings
    intake: IntakeSettings
    verify: VerifySettings
    batch: BatchSettings


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a verification; return the exit status. Raises SettingsError, RunRefused and Unavailable."""
    options, beam_arguments = console.parsed(make_parser(), arguments)
    settings, selection = load_all(VerifyCommandSettings, environment, with_store_keys=True), selection_of(options)
    options.run = run_name(options, NAME)
    work, runs = work_of(settings, options), settings.batch.runs_dir
    command = BatchCommand(NAME, work, selection, runs, partial(_look, work, selection), "found wrong")
    status = console.carry_out(command, options, beam_arguments)
    return reported(runs, options, selection) if status in (DONE, LEFT_OUT) else status


def make_parser() -> ArgumentParser:
    """Return the parser of the arguments."""
    parser = console.make_parser(NAME, __doc__ or "", WRONG_FOUND)
    parser.add_argument("--repair", action="store_true", help="publish again the events of objects that have no row")
    share = "how much of a core it may take (default: FLUORO_VERIFY_CPU_SHARE); 1 makes no pauses"
    parser.add_argument("--cpu-share", type=_share, metavar="SHARE", help=share)
    parser.add_argument("--json", action="store_true", help="print the report to standard output")
    return parser


def work_of(settings: VerifyCommandSettings, options: Namespace) -> Verify:
    """Return the work of these settings, which is sent to the workers with them."""
    verify = settings.verify
    broker = settings.broker if options.repair else None
    opened = partial(open_verify_servers, settings.store, settings.catalog, broker)
    return Verify(opened, options.cpu_share or verify.cpu_share, verify.grace_s, limits_of(settings.intake))


def reported(runs: Path, options: Namespace, selection: Selection) -> int:
    """Write the report of a run that is finished; return the exit status. A pass over everything is kept as the last one."""
    folder = runs / options.run
    report = VerificationReport.of(JournalReader(folder).read())
    as_json = {**json.loads((folder / ABOUT).read_text()), **report.as_json()}
    if selection == Selection():
        passes.keep_last(runs, as_json, passes.now())
    written = folder / "report.json"
    write_whole(written, json.dumps(as_json, indent=2) + "\n")
    if options.json:
        print(json.dumps(as_json, indent=2))
    say(f"The report is {written}.")
    return DONE if report.is_clean else LEFT_OUT


async def _look(work: Verify, selection: Selection) -> Size:
    """Return the size of the selection, once the servers have answered; raises Unavailable."""
    async with work.opened() as servers:
        await _check(servers)
        return await walk.measured(servers.store, selection)


async def _check(servers: VerifyServers) -> None:
    await servers.store.check()
    await asyncio.to_thread(servers.catalog.studies, None, None, 1)
    if servers.events is not None:
        await servers.events.check()


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ArgumentTypeError(f"{text!r} should be a number above 0 and at most 1")
    return share

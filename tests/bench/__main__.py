"""The benchmarks: this archive on a stack of its own, with Orthanc beside it, all on loopback.

    python -m tests.bench [--only ingest,delays] [--rounds 5] [--json FILE] [--slow] [--data FOLDER]

Prints the table as Markdown on standard output, and the progress on standard error. The archives take turns within each
round; a figure is the median of the rounds. Orthanc is left out where it cannot be fetched. The auditor looks for
whatever was lost. Exit status 0 when it finds nothing wrong, 130 when stopped.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from deploy.errors import Failed
from tests.audit.auditor import audit
from tests.bench.archives import Archive, fluoro
from tests.bench.ingest import section as ingest
from tests.bench.ingest.senders import NotStored
from tests.bench.jobs import delays, drain
from tests.bench.machine import host
from tests.bench.orthanc.servers import with_postgres, with_sqlite
from tests.bench.plan import Plan, Section, say
from tests.bench.reads import qido, wado
from tests.bench.reads.http_load import WrongAnswer
from tests.bench.report.results import Results
from tests.bench.report.table import table
from tests.bench.stacks import own_stack
from tests.support.machine.arguments import count
from tests.support.machine.debian_tools import Programs, ProgramsUnavailable, dcmtk, orthanc
from tests.support.machine.running_stack import address_of, end_on_term, ledgers_of, new_ledger, running_stack

AUDIT_S = 120.0
# In this order. The auditor comes before those that write events and rows of instances that do not exist.
AUDITED: dict[str, Section] = {"ingest": ingest.section, "delays": delays.section, "wado": wado.section}
MADE_UP: dict[str, Section] = {"drain": drain.section, "qido": qido.section}
SECTIONS = AUDITED | MADE_UP


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; return the exit status."""
    given = parsed(arguments)
    end_on_term()
    # The databases run as another user, who must be able to enter.
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="fluoro-bench-") as name, ExitStack() as servers:
            folder = Path(name)
            folder.chmod(0o755)
            return run(given, folder, servers)
    except (Failed, NotStored, WrongAnswer, ProgramsUnavailable, TimeoutError) as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's values."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_data = f"measure the stack that runs on this data folder, without {' and '.join(MADE_UP)} unless they are named"
    wanted.add_argument("--only", type=sections, help=f"of {','.join(SECTIONS)}")
    wanted.add_argument("--rounds", type=count(1), default=5, help="after one that warms up (default 5)")
    wanted.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    wanted.add_argument(
        "--slow", action="store_true", help="also what takes long: searches in Orthanc, and among a million studies"
    )
    wanted.add_argument("--data", type=Path, metavar="FOLDER", help=on_data)
    wanted.add_argument("--without-orthanc", action="store_true", help="measure this archive alone")
    given = wanted.parse_args(arguments)
    given.only = given.only or tuple(AUDITED if given.data else SECTIONS)
    return given


def sections(text: str) -> tuple[str, ...]:
    """Return the names of sections that are listed with commas."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} should be one of {', '.join(SECTIONS)}")
    return names


def run(given: argparse.Namespace, folder: Path, servers: ExitStack) -> int:
    """Start the archives, run the sections, audit; return the exit status."""
    beside = None if given.without_orthanc else orthanc_or_none()
    say("the stack starts")
    stack = running_stack(given.data) if given.data else servers.enter_context(own_stack(folder / "fluoro"))
    archives = [fluoro(stack), *(servers.enter_context(one) for one in orthancs(beside, folder))]
    with new_ledger(stack) as ledger:
        plan = Plan(stack, archives, dcmtk(), ledger, folder, given.rounds, given.data is None, given.slow)
        results = Results(host.now(), host.commit(), host.facts(beside), given.rounds, {})
        results = measured(results, AUDITED, plan, given)
        say("the auditor reads everything")
        verdict = audit(address_of(stack), ledgers_of(stack), wait_s=AUDIT_S)
        results = measured(results, MADE_UP, plan, given)
    sys.stdout.write(f"{table(results)}\nThe auditor: {verdict.line}\n")
    return 0 if verdict.clean else 1


def measured(results: Results, wanted: Mapping[str, Section], plan: Plan, given: argparse.Namespace) -> Results:
    """Return the results with those of more sections; the JSON is written after each, in case the run is stopped."""
    for name in (name for name in wanted if name in given.only):
        results = replace(results, sections={**results.sections, name: wanted[name](plan)})
        if given.json:
            given.json.write_text(results.text(), encoding="utf-8")
    return results


def orthanc_or_none() -> Programs | None:
    """Return Orthanc, or say why there is none."""
    try:
        return orthanc()
    except ProgramsUnavailable as unavailable:
        say(f"without Orthanc: {unavailable}")
        return None


def orthancs(programs: Programs | None, folder: Path) -> list[AbstractContextManager[Archive]]:
    """Return what starts the Orthancs."""
    if programs is None:
        return []
    say("Orthanc starts, with SQLite and with PostgreSQL")
    return [with_sqlite(programs, folder / "sqlite"), with_postgres(programs, folder / "postgres")]


if __name__ == "__main__":
    sys.exit(main())

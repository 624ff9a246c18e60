"""A batch pipeline at the terminal: a first look at its servers, its run with progress, and what was left out."""

import asyncio
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.errors import Unavailable
from pipelines.batch.journal import INTERRUPTED, Run, add_run
from pipelines.batch.progress import ProgressDisplay, Totals
from pipelines.batch.running import BatchPlan, Work, add_running, run_plan
from pipelines.batch.selection import Selection, add_selection
from pipelines.batch.terminal import DONE, LEFT_OUT, in_run, printable, say
from pipelines.batch.walk import Size

STATUSES = (
    "Exit status: 0 done, 1 not done: the same --run goes on, 2 wrong arguments or settings, 3 {left_out},"
    " 130 stopped by Ctrl-C"
)
# What stands behind it is for Beam.
BEAMS = "--"


@dataclass(frozen=True)
class BatchCommand:
    """What a batch pipeline's command runs: its name, its work, the part of the store, and where its runs lie.

    `look` returns the size of the part, once the servers have answered; it raises Unavailable. `left_out` says what
    became of the objects that its studies note as left out.
    """

    name: str
    work: Work
    selection: Selection
    runs: Path
    look: Callable[[], Coroutine[Any, Any, Size]]
    left_out: str = "left out"


def make_parser(name: str, about: str, left_out: str) -> ArgumentParser:
    """Return the parser of a batch pipeline's arguments; `left_out` says what its exit status 3 means."""
    parser = ArgumentParser(
        prog=f"python -m pipelines.batch.{name}",
        description=about,
        epilog=STATUSES.format(left_out=left_out),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_selection(parser)
    add_run(parser)
    add_running(parser)
    return parser


def parsed(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[Namespace, Sequence[str]]:
    """Return the options, and the arguments behind --, which are Beam's: it ignores those that it does not know."""
    own, beams = list(arguments), list[str]()
    if BEAMS in own:
        own, beams = own[: own.index(BEAMS)], own[own.index(BEAMS) + 1 :]
    return parser.parse_args(own), beams


def carry_out(command: BatchCommand, options: Namespace, beam_arguments: Sequence[str]) -> int:
    """Run a pipeline to its end, with progress on standard error; return the exit status.

    Raises RunRefused, and Unavailable if a server does not even answer the first question: no run begins then.
    """
    size = asyncio.run(command.look())
    about = {"pipeline": command.name, **command.selection.as_json()}
    return in_run(command.runs, options, about, lambda run: _run(command, run, size, options, beam_arguments))


def _run(command: BatchCommand, run: Run, size: Size, options: Namespace, beam_arguments: Sequence[str]) -> int:
    plan = BatchPlan(command.name, command.work, command.selection, run.folder, options.shares)
    display = ProgressDisplay(run.folder, size)
    display.totals.word = command.left_out
    with display.running():
        run_plan(plan, options, beam_arguments)
    if stopped := display.totals.stopped:
        raise KeyboardInterrupt if stopped.what == INTERRUPTED else Unavailable(stopped.what, stopped.why)
    say(summary(command.name, display.totals))
    return LEFT_OUT if display.totals.left_out else DONE


def summary(name: str, totals: Totals) -> str:
    """Return what was done, in lines."""
    counts = ", ".join(f"{count} {what}" for what, count in totals.counts.items() if what != "objects")
    lines = [f"{name}: done: {counts or 'nothing was there'}."]
    if totals.left_out:
        lines += [
            f"{totals.left_out} objects were {totals.word}:",
            *(f"  {printable(key)}: {why}" for key, why in totals.named.items()),
        ]
    if totals.left_out > len(totals.named):
        lines.append("  and more; the journal names all of them")
    return "\n".join(lines)

"""A batch pipeline at the terminal: its run by name, progress, what was left out, and the exit status."""

import sys
from argparse import Namespace
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.errors import Unavailable
from pipelines.batch.journal import INTERRUPTED, Run, RunRefused, StoppedWorker, run_name
from pipelines.batch.progress import ProgressDisplay, Totals
from pipelines.batch.running import BatchPlan, Work, run_plan
from pipelines.batch.selection import Selection
from pipelines.batch.walk import Size

DONE, NOT_DONE, WRONG, LEFT_OUT, STOPPED_BY_USER = 0, 1, 2, 3, 130
STATUSES = (
    "Exit status: 0 done, 1 not done: the same --run goes on, 2 wrong arguments or settings, 3 done, but some objects"
    " were left out, 130 stopped by Ctrl-C"
)


@dataclass(frozen=True)
class BatchCommand:
    """What a batch pipeline's command runs: its name, its work, the part of the store, and where its runs lie.

    `left_out` says what became of the objects that its studies note as left out.
    """

    name: str
    work: Work
    selection: Selection
    runs: Path
    size: Size
    left_out: str = "left out"


def carry_out(command: BatchCommand, options: Namespace, beam_arguments: Sequence[str]) -> int:
    """Run a pipeline to its end, with progress on standard error; return the exit status."""
    name, about = run_name(options, command.name), {"pipeline": command.name, **command.selection.as_json()}
    try:
        with Run.opened(command.runs, name, about, again=options.again) as run:
            if run.finished_at:
                _say(f"Run {name} was finished at {run.finished_at}: --again begins it anew.")
                return DONE
            _say(f"Run {name}: if it is interrupted, --run {name} goes on. Its journal is {run.folder}.")
            return _run(command, run, options, beam_arguments)
    except RunRefused as refused:
        _say(str(refused))
        return WRONG


def _run(command: BatchCommand, run: Run, options: Namespace, beam_arguments: Sequence[str]) -> int:
    plan = BatchPlan(command.name, command.work, command.selection, run.folder, options.shares)
    display = ProgressDisplay(run.folder, command.size)
    display.totals.word = command.left_out
    try:
        with display.running():
            run_plan(plan, options, beam_arguments)
    except KeyboardInterrupt:
        display.totals.stopped = StoppedWorker(INTERRUPTED, "")
    if stopped := display.totals.stopped:
        is_interrupted = stopped.what == INTERRUPTED
        _say(f"{'Interrupted' if is_interrupted else told(stopped)}: --run {run.folder.name} goes on.")
        return STOPPED_BY_USER if is_interrupted else NOT_DONE
    run.finish()
    _say(summary(command.name, display.totals))
    return LEFT_OUT if display.totals.left_out else DONE


def summary(name: str, totals: Totals) -> str:
    """Return what was done, in lines."""
    counts = ", ".join(f"{count} {what}" for what, count in totals.counts.items() if what != "objects")
    lines = [f"{name}: done: {counts or 'nothing was there'}."]
    if totals.left_out:
        lines += [
            f"{totals.left_out} objects were {totals.word}:",
            *(f"  {key}: {why}" for key, why in totals.named.items()),
        ]
    if totals.left_out > len(totals.named):
        lines.append("  and more; the journal names all of them")
    return "\n".join(lines)


SERVERS = {"catalog": "the catalog's database", "store": "the object store", "broker": "the broker"}


def told(error: Any) -> str:
    """Return a line about a server that cannot be used, from `what` and `why` of an Unavailable."""
    server = next((name for beginning, name in SERVERS.items() if error.what.startswith(beginning)), error.what)
    return f"{server} cannot be used: {error.why}" if error.why else f"{server} does not answer"


def answered(check: Coroutine[Any, Any, Size], run: Any) -> Size | None:
    """Return the result of a first look at the servers; None, after a line, when one cannot be used."""
    try:
        found: Size = run(check)
    except Unavailable as error:
        _say(told(error))
        return None
    return found


def _say(text: str) -> None:
    # Standard output is for programs.
    print(text, file=sys.stderr, flush=True)

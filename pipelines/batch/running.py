"""How a batch pipeline is run: a Beam pipeline over shares of the studies, with a journal, on any runner.

Each share is walked by one worker with one event loop. A runner with several workers is given several shares (--shares);
the journal's folder must then be one that all of them reach.
"""

import asyncio
import logging
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
from apache_beam.runners.runner import create_runner

from operators.errors import Unavailable
from pipelines.batch.journal import INTERRUPTED, JOURNAL, Finished, FinishedPrefixes, RunJournal
from pipelines.batch.selection import Selection
from pipelines.batch.walk import Share

# Beam's runner for batches in this process. What Beam calls DirectRunner looks for another runner first, which it would
# download.
RUNNER = "FnApiRunner"
JOURNAL_TROUBLE = re.compile(rf"(?:^|Unavailable: ){JOURNAL}: (.*?)(?: \[while running|$)", re.MULTILINE)


@dataclass(frozen=True)
class Shift:
    """The work of one worker: the share of the studies that it walks, without those that are finished."""

    selection: Selection
    share: Share
    finished: FinishedPrefixes
    journal: RunJournal


# The work itself: it walks the share, does each study, and notes each one that is finished. It is pickled for the workers.
Work = Callable[[Shift], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class BatchPlan:
    """A pipeline's name, its work, the part of the store that it works on, and the folder of its run."""

    name: str
    work: Work
    selection: Selection
    folder: Path
    shares: int = 1


class Shares(beam.DoFn):  # type: ignore[misc]
    """The walk of a share in an event loop of its own; yields what was counted, by name."""

    def __init__(self, plan: BatchPlan) -> None:
        super().__init__()
        self._plan = plan

    def process(self, share: Share) -> Iterator[tuple[str, int]]:
        """Walk a share. A server that cannot be used stops it, which the journal notes; the next run goes on there."""
        plan = self._plan
        with CountingJournal(plan.folder) as journal:
            shift = Shift(plan.selection, share, journal.finished, journal)
            try:
                asyncio.run(plan.work(shift))
            except Unavailable as error:
                if error.what == JOURNAL:
                    # Behind a torn line nobody would read why the worker has stopped, and the run would count as done.
                    raise
                journal.stop(error.what, error.why)
            except KeyboardInterrupt:
                # Beam would make another error of it.
                journal.stop(INTERRUPTED)
        for name, count in journal.counts.items():
            Metrics.counter(plan.name, name).inc(count)
        yield from journal.counts.items()


class CountingJournal(RunJournal):
    """A journal that adds up what is counted in its studies, and knows which are finished, those of other workers too."""

    def __init__(self, folder: Path) -> None:
        self.finished = FinishedPrefixes.of(folder)
        self.counts: Counter[str] = Counter()
        super().__init__(folder)

    def finish(self, finished: Finished) -> None:
        """Note that a study is finished, and add its counts."""
        super().finish(finished)
        self.finished.add(finished.prefix)
        self.counts.update({"left_out": len(finished.left_out), **finished.counts})


def build(pipeline: beam.Pipeline, plan: BatchPlan) -> beam.PCollection:
    """Add a plan to a Beam pipeline; returns a collection of the counts of all shares, added up by name."""
    shares = [(number, plan.shares) for number in range(plan.shares)]
    return (
        pipeline
        | "shares" >> beam.Create(shares)
        # So that a runner may give each share to another worker.
        | "spread" >> beam.Reshuffle()
        | plan.name >> beam.ParDo(Shares(plan))
        | "counts" >> beam.CombinePerKey(sum)
    )


def add_running(parser: ArgumentParser) -> None:
    """Add the arguments that say how a pipeline is run."""
    parser.add_argument(
        "--runner", type=_runner, default=RUNNER, help=f"Beam's runner (default: {RUNNER}, in this process)"
    )
    shares = "how many workers share the studies, for a runner that has several (default: 1)"
    parser.add_argument("--shares", type=_shares, default=1, metavar="NUMBER", help=shares)


def run_plan(plan: BatchPlan, options: Namespace, beam_arguments: Sequence[str]) -> None:
    """Run a plan to its end on the runner that the arguments name; raises Unavailable if the journal cannot be written."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    pipeline_options = PipelineOptions(["--runner", options.runner, *beam_arguments])
    pipeline_options.view_as(SetupOptions).save_main_session = False
    try:
        with beam.Pipeline(options=pipeline_options) as pipeline:
            build(pipeline, plan)
    except (RuntimeError, Unavailable) as error:
        # A runner passes on the text of what a worker has raised. The worker could not note it: its disk is full.
        if said := JOURNAL_TROUBLE.search(str(error)):
            raise Unavailable(JOURNAL, said[1]) from error
        raise


def _runner(text: str) -> str:
    try:
        create_runner(text)
    except (ValueError, ImportError, AttributeError) as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _shares(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number

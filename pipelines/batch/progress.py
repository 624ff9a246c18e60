"""The progress of a run on the terminal: what is done, how fast, and how long the rest may take."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

from pipelines.batch.journal import Finished, JournalReader, StoppedWorker
from pipelines.batch.walk import Size

# The estimate rests on the rates of so many spans, each of so many seconds at least.
SPANS, SPAN_S = 12, 5.0
FEWEST_SPANS = 3
# How often a line is printed: on a terminal in place of the last one, elsewhere below it.
TERMINAL_S, FILE_S = 1.0, 30.0
# Of the objects that were left out, so many are named on the terminal.
MOST_NAMED = 20


@dataclass
class Totals:
    """What the journal of a run says until now."""

    counts: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    # The first of them, with their reasons.
    named: dict[str, str] = field(default_factory=dict)
    stopped: StoppedWorker | None = None
    # What the pipeline says of what was left out.
    word: str = "left out"

    def add(self, entry: Finished | StoppedWorker) -> None:
        """Add an entry of the journal."""
        if isinstance(entry, StoppedWorker):
            self.stopped = entry
            return
        self.counts.update(entry.counts)
        self.left_out += len(entry.left_out)
        for key, reason in entry.left_out.items():
            if len(self.named) < MOST_NAMED:
                self.named[key] = reason


@dataclass
class Estimate:
    """How long the rest may take: between the times that the fastest and the slowest of the last spans would need."""

    whole: int
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SPANS + 1))

    def note(self, now: float, done: int) -> None:
        """Note how much is done at a moment, in seconds of any clock."""
        if not self._marks or now - self._marks[-1][0] >= SPAN_S:
            self._marks.append((now, done))

    def left_s(self) -> tuple[float, float] | None:
        """Return the shortest and the longest time that the rest may take; None as long as nothing is known."""
        marks = list(self._marks)
        spans = pairwise(marks)
        rates = sorted((done - before) / (at - since) for (since, before), (at, done) in spans)
        if len(rates) < FEWEST_SPANS or rates[-1] <= 0:
            return None
        left = max(self.whole - marks[-1][1], 0)
        slowest = rates[0] or (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
        return left / rates[-1], left / slowest


def duration(seconds: float) -> str:
    """Return a length of time in words that are no more exact than an estimate is."""
    if seconds < 90:  # noqa: PLR2004
        return f"{max(round(seconds / 5) * 5, 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"  # noqa: PLR2004


def line(totals: Totals, size: Size, rate: float, left_s: tuple[float, float] | None) -> str:
    """Return the line of progress."""
    counts = totals.counts
    parts = [
        f"{counts['studies']} of {size.studies} studies",
        f"{counts['objects']} of {size.objects} objects",
        f"{rate:.0f}/s",
    ]
    if left_s:
        least, most = map(duration, left_s)
        parts.append(f"{least} left" if least == most else f"{least} to {most} left")
    return ", ".join(parts) + (f", {totals.left_out} {totals.word}" if totals.left_out else "")


class ProgressDisplay:
    """The display of a run's journal while it grows, in a thread."""

    def __init__(
        self, folder: Path, size: Size, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.totals = Totals()
        self._reader, self._size, self._stream, self._clock = JournalReader(folder), size, stream, clock
        self._estimate = Estimate(size.objects)
        self._began = 0.0
        self._before = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the progress during the block; `totals` are complete after it."""
        self.read()
        # What an earlier attempt has done has nothing to do with the present rate.
        self._began, self._before, self.totals.stopped = self._clock(), self.totals.counts["objects"], None
        ended = Event()
        thread = Thread(target=self._show, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.read()
            self._print()
            if self._stream.isatty():
                print(file=self._stream)

    def read(self) -> None:
        """Read what is new in the journal."""
        for entry in self._reader.read():
            self.totals.add(entry)

    def _show(self, ended: Event) -> None:
        while not ended.wait(TERMINAL_S if self._stream.isatty() else FILE_S):
            self.read()
            self._print()

    def _print(self) -> None:
        now, done = self._clock(), self.totals.counts["objects"]
        self._estimate.note(now, done)
        rate = (done - self._before) / max(now - self._began, 0.001)
        text = line(self.totals, self._size, rate, self._estimate.left_s())
        if self._stream.isatty():
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)

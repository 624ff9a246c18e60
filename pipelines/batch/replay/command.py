"""Send rejected records to their topics once more: `python -m pipelines.batch.replay`.

A record that a job could not process is in the topic record-rejected, with its key and bytes. Once its cause is mended,
this command appends it to its topic again, as it was, so that the jobs that read that topic process it. Without --send
it prints what it would send, and sends nothing: topic, partition, offset, reason, sizes, and no patient data.

A record is sent once, however many jobs have rejected it, and records of one key in the order in which they lay. What
the jobs know already changes nothing. After each portion the command waits until the jobs have read it, says what was
rejected again, and sends no more once that is much: a job that rejects too many records stops.

A time without a zone is this machine's own, and a date is a whole day. The settings are FLUORO_BROKER_* and FLUORO_BATCH_*;
see .env.example. Exit status: 0 done, 1 not all was sent (the same --run goes on), or some came back, 2 for wrong arguments
or settings, 130 stopped by Ctrl-C.
"""

import math
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from operators.connectors.kafka.positions import Positions
from operators.stream.letters import DeadLetter, LetterSelection, RejectedRecord, RejectedRecords
from pipelines.batch.journal import Finished, FinishedPrefixes, Run, RunJournal, add_run
from pipelines.batch.replay.dead_letters import LetterReading, Spans, spans_of
from pipelines.batch.replay.letter_selection import add_selection, number, selection_of
from pipelines.batch.replay.resending import MOST_BACK, Resending, why_not
from pipelines.batch.terminal import DONE, NOT_DONE, aligned, in_run, say
from schemas.settings.jobs import BatchSettings
from schemas.settings.reading import load_all
from schemas.settings.servers import BrokerSettings

NAME = "replay"
WAIT_S = 60.0
PROGRESS_S = 2.0
NOT_LOOKED = "; nobody has looked what came back"
HEADINGS = ("TOPIC", "PARTITION", "OFFSET", "BYTES", "REJECTED BY", "TIMES", "REASON")


@dataclass(frozen=True)
class ReplaySettings:
    """The sections of settings that a replay reads."""

    broker: BrokerSettings
    batch: BatchSettings


@dataclass
class Progress:
    """What is being done, said on standard error every few seconds."""

    next_at: float = field(default_factory=lambda: time.monotonic() + PROGRESS_S)

    def say(self, line: str) -> None:
        """Print the line if the last one is some seconds old."""
        if time.monotonic() >= self.next_at:
            self.next_at = time.monotonic() + PROGRESS_S
            say(line)


@dataclass(frozen=True)
class Replay:
    """What is asked for: which dead letters, of which spans of their topic, without the records that were sent before."""

    broker: BrokerSettings
    positions: Positions
    selection: LetterSelection
    spans: Spans
    progress: Progress
    finished: FinishedPrefixes = field(default_factory=FinishedPrefixes)

    def letters(self, left_out: Counter[tuple[str, str]] | None = None) -> Iterator[DeadLetter]:
        """Yield the selected dead letters whose records can be sent; count the others by topic and the reason why not."""
        reading = LetterReading(self.broker, self.spans)
        for letter in reading.letters():
            self.progress.say(f"read {reading.done} of {reading.records} dead letters")
            if not self.selection.includes(letter):
                continue
            if (reason := why_not(letter.event.origin_topic)) is None:
                yield letter
            elif left_out is not None:
                left_out[letter.event.origin_topic, reason] += 1
        if reading.unreadable and left_out is not None:
            say(f"{reading.unreadable} records of the topic are no dead letters of this release")

    def found(self) -> RejectedRecords:
        """Return the records to send, and say what cannot be sent."""
        records, left_out = RejectedRecords(), Counter[tuple[str, str]]()
        for letter in self.letters(left_out):
            if letter.record_id.hex() not in self.finished:
                records.add(letter)
        for (topic, reason), count in left_out.items():
            say(f"{count} dead letters of {topic} are left out: {reason}")
        return records

    def in_order(self, records: RejectedRecords) -> Iterator[DeadLetter]:
        """Yield a dead letter of each record, those of one key in the order in which their records lay."""
        queue = records.queue()
        for letter in self.letters():
            yield from queue.put(letter)
        yield from queue.rest()


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print or send what the arguments ask for; return the exit status.

    Raises SettingsError, RunRefused, Unavailable and NotDone.
    """
    options = make_parser().parse_args(arguments)
    settings, selection = load_all(ReplaySettings, environment), selection_of(options)
    positions = Positions(settings.broker)
    spans = spans_of(positions, selection.rejected_from, selection.rejected_to)
    asked = Replay(settings.broker, positions, selection, spans, Progress())
    if not options.send:
        print_plan(asked.found())
        return DONE
    about = {"pipeline": NAME, **selection.as_json()}
    return in_run(settings.batch.runs_dir, options, about, lambda run: send(asked, run, options))


def print_plan(records: RejectedRecords) -> None:
    """Print what would be sent, a line for each record."""
    found = records.in_order()
    if found:
        print("\n".join(aligned([HEADINGS, *map(columns, found)])))
    size = sum(one.size_bytes for one in found)
    told = f"{len(found)} records would be sent, {size} bytes."
    print(f"{told} Nothing was sent: --send sends them." if found else "Nothing to send.")


def columns(record: RejectedRecord) -> tuple[str, ...]:
    """Return the columns of a record in the plan."""
    topic, partition, offset = record.origin
    by, why = ",".join(sorted(record.operators)), ",".join(sorted(record.reasons))
    return (topic, str(partition), str(offset), str(record.size_bytes), by, str(record.times), why)


def send(everything: Replay, run: Run, options: Namespace) -> int:
    """Send the records, and print what became of them; return the exit status. Raises Unavailable and NotDone."""
    asked = replace(everything, finished=FinishedPrefixes.of(run.folder))
    records = asked.found()
    total = len(records.by_id)
    with RunJournal(run.folder) as journal:

        def acknowledged(letter: DeadLetter) -> None:
            journal.finish(Finished(letter.record_id.hex()))
            asked.progress.say(f"sent {resending.sent} of {total} records")

        resending = Resending(asked.broker, asked.positions, options.wait, acknowledged, options.most_back)
        try:
            resending.send(asked.in_order(records))
        finally:
            print_result(resending, total)
    return NOT_DONE if resending.came_back or resending.refused else DONE


def print_result(resending: Resending, total: int) -> None:
    """Print what was sent, and what came back: where it lies now, and why it was rejected."""
    for one in resending.came_back:
        topic, partition, offset = one.sent.origin
        where = (
            f"{topic}/{partition} {offset}, now at {one.again.event.origin_partition}/{one.again.event.origin_offset}"
        )
        print(f"rejected again: {where}: {one.again.event.reason}, by {one.again.event.operator}")
    refused = f", {resending.refused} refused by the broker for their size" if resending.refused else ""
    print(f"{resending.sent} of {total} records sent{refused}{came_back(resending)}.")


def came_back(resending: Resending) -> str:
    """Return how many came back of those that the jobs have read."""
    back = f", {len(resending.came_back)} rejected again"
    if resending.looked_at == resending.sent:
        return back
    return f"{back} of the {resending.looked_at} that the jobs have read" if resending.looked_at else NOT_LOOKED


def seconds(text: str) -> float:
    """Read a number of seconds; raises ArgumentTypeError."""
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise ArgumentTypeError(f"{text!r} should be a number of seconds, 0 or more")


def make_parser() -> ArgumentParser:
    """Return the parser of the arguments."""
    parser = ArgumentParser(
        prog="python -m pipelines.batch.replay",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_selection(parser)
    add_run(parser)
    parser.add_argument("--send", action="store_true", help="send the records (default: print them)")
    waiting = "how long to wait for the jobs to read a portion; 0: send all, and do not look what comes back"
    parser.add_argument(
        "--wait", type=seconds, default=WAIT_S, metavar="SECONDS", help=f"{waiting} (default: {WAIT_S:g})"
    )
    back = "end the replay once more than this many were rejected again"
    parser.add_argument(
        "--most-back", type=number, default=MOST_BACK, metavar="NUMBER", help=f"{back} (default: {MOST_BACK})"
    )
    return parser

"""The dead-letter commands: what jobs could not process, why, and where it lay.

A dead letter in the topic record-rejected is a record that a job could not process: it has the record's place, key and
bytes, and the reason. They are kept for 7 days. `list` counts them, `show` describes one; neither prints patient data
without --patient-data. Once the cause is mended, `python -m pipelines.batch.replay` sends records to their topics again.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from deploy.commands.command import CommandGroup, OperatorCommand
from deploy.commands.output import as_json, details, print_line, table
from deploy.commands.sections import variables
from deploy.errors import Failed
from operators.connectors.kafka.positions import Positions
from operators.errors import Rejected
from operators.stream.arrival import EVENT_OF, arrival
from operators.stream.letters import DeadLetter, LetterSelection
from operators.stream.step import Arrival, Record
from pipelines.batch.replay.dead_letters import LetterReading, spans_of
from pipelines.batch.replay.letter_selection import add_selection, selection_of
from schemas.codec import UnknownSchema
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings

NONE = "No dead letters."
HEADINGS = ("JOB", "REASON", "TOPIC", "DEAD LETTERS", "RECORDS", "FIRST", "LAST")
EACH = ("REJECTED", "JOB", "REASON", "TOPIC", "PARTITION", "OFFSET", "BYTES", "EVENT ID")


@dataclass
class Cause:
    """Dead letters of one job and topic with one reason: how many, of how many records, and when."""

    job: str
    reason: str
    topic: str
    first: datetime
    last: datetime
    dead_letters: int = 0
    records: set[bytes] = field(default_factory=set)

    def add(self, letter: DeadLetter) -> None:
        """Count a dead letter."""
        self.dead_letters += 1
        self.records.add(letter.record_id)
        self.first, self.last = min(self.first, letter.rejected_at), max(self.last, letter.rejected_at)


def list_(options: Namespace) -> None:
    """List why jobs could not process records, and how many; or each dead letter, with --each."""
    found = letters(selection_of(options))
    rows = map(described, found) if options.each else (counted(one) for one in causes(found))
    if options.json:
        for row in rows:
            print_line(as_json(row))
    elif lines := [tuple(row.values()) for row in rows]:
        print_line(table(EACH if options.each else HEADINGS, lines))
    else:
        print_line(NONE)


def letters(selection: LetterSelection) -> Iterator[DeadLetter]:
    """Yield the selected dead letters, the earliest first. Raises SettingsError and Unavailable."""
    broker = load(BrokerSettings, variables())
    spans = spans_of(Positions(broker), selection.rejected_from, selection.rejected_to)
    return filter(selection.includes, LetterReading(broker, spans).letters())


def causes(found: Iterator[DeadLetter]) -> list[Cause]:
    """Return the dead letters counted by job, reason and topic."""
    by_cause: dict[tuple[str, str, str], Cause] = {}
    for one in found:
        cause = one.event.operator, one.event.reason, one.event.origin_topic
        by_cause.setdefault(cause, Cause(*cause, one.rejected_at, one.rejected_at)).add(one)
    return [by_cause[cause] for cause in sorted(by_cause)]


def counted(cause: Cause) -> dict[str, Any]:
    """Return the names and values that are printed of a cause."""
    return {
        "operator": cause.job,
        "reason": cause.reason,
        "origin_topic": cause.topic,
        "dead_letters": cause.dead_letters,
        "records": len(cause.records),
        "first": cause.first,
        "last": cause.last,
    }


def described(letter: DeadLetter) -> dict[str, Any]:
    """Return the names and values that are printed of a dead letter in a list; no patient data."""
    event = letter.event
    return {
        "rejected_at": letter.rejected_at,
        "operator": event.operator,
        "reason": event.reason,
        "origin_topic": event.origin_topic,
        "origin_partition": event.origin_partition,
        "origin_offset": event.origin_offset,
        "size_bytes": len(event.origin_value or b""),
        "event_id": event.event_id,
    }


def show(options: Namespace) -> None:
    """Describe a dead letter, and say what its record is to this release."""
    found = next(letters(LetterSelection(event_ids=frozenset({options.event_id}))), None)
    if found is None:
        raise Failed(
            f"there is no dead letter with the event id {options.event_id}: dead-letters list --each lists them"
        )
    told = described(found) | inspected(found)
    if options.patient_data:
        told |= content(found)
    print_line(as_json(told) if options.json else details(told))


def inspected(letter: DeadLetter) -> dict[str, Any]:
    """Return what can be said of a rejected record without its content."""
    event = letter.event
    return {
        "tenant": event.tenant,
        "origin_at": event.origin_at or "unknown",
        "sha256": sha256(event.origin_value or b"").hexdigest(),
        "this_release_reads": read_now(letter),
    }


def read_now(letter: DeadLetter) -> str:
    """Return the kind of event that this release reads in the record, or why it reads none."""
    if letter.event.origin_topic not in EVENT_OF:
        return "nothing: no topic of ours"
    try:
        return type(_arrival(letter).event).__name__
    except Rejected as error:
        return f"nothing: {error.reason}"
    except UnknownSchema:
        return "nothing yet: its schema is not in schemas/avro"


def content(letter: DeadLetter) -> dict[str, Any]:
    """Return the record's key, bytes and, if it can be read, event."""
    event = letter.event
    told = {"origin_key": (event.origin_key or b"").decode(errors="replace"), "origin_value": event.origin_value or b""}
    try:
        return {**told, "event": as_json(asdict(_arrival(letter).event))}
    except (Rejected, UnknownSchema, KeyError):
        return told


def _arrival(letter: DeadLetter) -> Arrival:
    event = letter.event
    return arrival(Record(*letter.origin, 0, event.origin_key or b"", event.origin_value or b""))


def _add_list_arguments(parser: ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--each", action="store_true", help="print a line for each dead letter, with its event id")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")


def _add_show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("event_id", metavar="EVENT_ID", help="the event id, as list --each prints it")
    parser.add_argument("--json", action="store_true", help="print a line of JSON")
    parser.add_argument("--patient-data", action="store_true", help="print the record's key, bytes and event, too")


GROUP = CommandGroup(
    "dead-letters",
    __doc__ or "",
    (OperatorCommand("list", list_, _add_list_arguments), OperatorCommand("show", show, _add_show_arguments)),
)

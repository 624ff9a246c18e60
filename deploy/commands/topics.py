"""The topic commands: list the topics of the broker, and read the records of one as text or as lines of JSON.

`read` prints the records of a span, the earliest first, and ends; it changes nothing and commits no offset. Topics with
patient data are read only with --patient-data. A time without a zone is this machine's own, and 2026-11-30T08:15Z or
2026-11-30T08:15+01:00 say theirs. What the topics are for is in docs/topics.md.
"""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from deploy.commands.command import DEFAULT_MOST, CommandGroup, OperatorCommand, list_length
from deploy.commands.output import as_json, print_line, printable, table
from deploy.commands.sections import variables
from deploy.commands.times import before, span, told
from deploy.errors import Failed
from operators.connectors.kafka.positions import Partition, Positions, is_unknown_topic
from operators.connectors.kafka.reading import TopicReader
from operators.errors import Unavailable
from operators.stream.step import Record
from pipelines.batch.spans import SpanEnd, beginning, end
from schemas import codec
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import STUDY_FACTS, TOPICS, Topic

HEADINGS = ("TOPIC", "KEY", "WRITTEN BY", "READ BY", "KEPT", "PATIENT DATA")
# Not a wall, which only the broker's ACLs are: it keeps names off screens and out of files by mistake.
PATIENT_DATA = "{name} holds patient data: say --patient-data to have it printed"
NO_TOPIC = "the broker has no topic {name}: python -m deploy.prepare topics makes it"
ASKED = "Time asked for: {asked}; the records' times are UTC."
MORE = "There are more: this is the --limit of {limit}."

# The options that are a span's ends, by the names of their values.
SPAN = ("beginning", "end")

# Why a topic may hold nothing, although all is well.
NOTHING = {STUDY_FACTS.name: "nothing in this time; study-facts is written only with FLUORO_FACTS_KEY"}

# An offset, or a moment.
Place = int | datetime


def list_(options: Namespace) -> None:
    """List the topics: keys, who writes and reads each, how long records are kept, if they hold patient data."""
    if options.json:
        for topic in TOPICS:
            print_line(as_json(described(topic)))
    else:
        print_line(table(HEADINGS, map(columns, TOPICS)))


def described(topic: Topic) -> dict[str, Any]:
    """Return the names and values that are printed of a topic."""
    return {
        "topic": topic.name,
        "event": topic.event.__name__,
        "key": topic.key,
        "producers": topic.producers,
        "consumers": topic.consumers,
        "retention_ms": topic.retention_ms,
        "patient_data": topic.restricted,
    }


def columns(topic: Topic) -> tuple[str, ...]:
    """Return the columns of a topic in the list."""
    held = "yes" if topic.restricted else "no"
    return (topic.name, topic.key, ", ".join(topic.producers), ", ".join(topic.consumers), topic.kept, held)


def read(options: Namespace) -> None:
    """Print the records of a topic, the earliest first."""
    topic: Topic = options.topic
    if topic.restricted and not options.patient_data:
        raise Failed(PATIENT_DATA.format(name=topic.name))
    broker, begin = load(BrokerSettings, variables()), first(options, datetime.now(UTC))
    if (asked := told(_moment(begin), _moment(options.end))) and not options.json:
        print_line(ASKED.format(asked=asked), sys.stderr)
    with TopicReader(broker, topic.name, spans(broker, topic, begin, options)) as reader:
        printed = print_records(reader.records(), options.limit, as_lines_of_json=options.json)
    explain_nothing(topic, printed)


def first(options: Namespace, now: datetime) -> Place | None:
    """Return the place at which the asked records begin; None for the earliest record."""
    if options.since is None:
        found: Place | None = options.beginning
        return found
    return before(_moment(options.end) or now, options.since)


def spans(broker: BrokerSettings, topic: Topic, begin: Place | None, options: Namespace) -> dict[int, range]:
    """Return the offsets to read of each partition; nothing that comes later is read. Raises Unavailable and Failed."""
    positions = Positions(broker)
    try:
        extents = positions.extents([topic.name])
        begins = _offsets(positions, topic, begin)
        ends = _offsets(positions, topic, options.end)
    except Unavailable as error:
        raise Failed(NO_TOPIC.format(name=topic.name)) if is_unknown_topic(error) else error from error
    found = {
        place[1]: range(max(begins(place, extent.earliest), extent.earliest), min(ends(place, extent.end), extent.end))
        for place, extent in extents.items()
    }
    if options.partition is None:
        return found
    if options.partition not in found:
        raise Failed(f"{topic.name} has partitions 0 to {len(found) - 1}")
    return {options.partition: found[options.partition]}


def _offsets(positions: Positions, topic: Topic, place: Place | None) -> Callable[[Partition, int], int]:
    """Return a function of a partition and of an offset: it returns the place's offset there, the given one without it."""
    if place is None:
        return lambda _, offset: offset
    if isinstance(place, int):
        return lambda _, __: place
    return positions.offsets_at([topic.name], unix_ms(place)).get


def unix_ms(moment: datetime) -> int:
    """Return a moment in Unix milliseconds: the time that is printed of a record, read again, is that record's.

    Moments before 1970 are 0: the broker's protocol gives negative times meanings of their own.
    """
    return max(round(moment.timestamp() * 1000), 0)


def print_records(records: Iterator[Record], limit: int, *, as_lines_of_json: bool) -> int:
    """Print at most `limit` records, and a line on standard error when there are more; return how many were printed."""
    printed = 0
    for printed, record in enumerate(islice(records, limit), start=1):  # noqa: B007 (the last one is returned)
        shown = decoded(record)
        print_line(as_json(shown) if as_lines_of_json else line(shown))
    if next(records, None) is not None:
        print_line(MORE.format(limit=limit), sys.stderr)
    return printed


def explain_nothing(topic: Topic, printed: int) -> None:
    """Print a line on standard error when nothing was printed of a topic that only a setting fills."""
    if not printed and topic.name in NOTHING:
        print_line(NOTHING[topic.name], sys.stderr)


def decoded(record: Record) -> dict[str, Any]:
    """Return what is printed of a record: where it is, and its event; or why there is none, without its bytes."""
    at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "time": at}
    try:
        event = codec.decode(record.value)
    except (codec.NotAnEvent, codec.UnknownSchema) as error:
        return {**place, "error": str(error), "size_bytes": len(record.value)}
    key = record.key.decode(errors="replace")
    return {**place, "key": key, "event": type(event).__name__, "value": asdict(event)}


def line(shown: dict[str, Any]) -> str:
    """Return a line for people about a record."""
    where = f"{printable(shown['time'])}  {shown['partition']}:{shown['offset']}"
    if "error" in shown:
        return f"{where}  cannot be decoded: {shown['error']}, {shown['size_bytes']} bytes"
    return f"{where}  {printable(shown['key'])}  {shown['event']} {as_json(shown['value'])}"


def topic_named(text: str) -> Topic:
    """Return the topic with this name; raises ArgumentTypeError, which names all topics."""
    topics = {topic.name: topic for topic in TOPICS}
    if text not in topics:
        raise ArgumentTypeError(f"there is no topic {text!r}; there are {', '.join(topics)}")
    return topics[text]


def first_place(text: str) -> Place:
    """Read an offset or the beginning of a time; raises ArgumentTypeError."""
    return _place(text, beginning)


def end_place(text: str) -> Place:
    """Read an offset or the end of a time; raises ArgumentTypeError."""
    return _place(text, end)


def _moment(place: Place | None) -> datetime | None:
    return place if isinstance(place, datetime) else None


def _place(text: str, moment: Callable[[str], datetime]) -> Place:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return moment(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; or an offset") from None


def _add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each topic")


def _add_read_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("topic", type=topic_named, metavar="TOPIC", help="a topic, as topics list names it")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--from",
        type=first_place,
        dest="beginning",
        action=SpanEnd,
        const=SPAN,
        metavar="PLACE",
        help="an offset, a date or a time (default: the earliest record)",
    )
    begin.add_argument(
        "--since", type=span, metavar="SPAN", help="for this long before --to, or before now: 90m, 12h, 7d"
    )
    parser.add_argument(
        "--to",
        type=end_place,
        dest="end",
        action=SpanEnd,
        const=SPAN,
        metavar="PLACE",
        help="before this offset or time, or until the end of this date (default: all that is there now)",
    )
    parser.add_argument("--partition", type=int, metavar="NUMBER", help="only this partition (default: all)")
    parser.add_argument(
        "--limit", type=list_length, default=DEFAULT_MOST, help=f"at most this many (default: {DEFAULT_MOST})"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each record")
    parser.add_argument("--patient-data", action="store_true", help="read a topic even if it holds patient data")


GROUP = CommandGroup(
    "topics",
    __doc__ or "",
    (OperatorCommand("list", list_, _add_list_arguments), OperatorCommand("read", read, _add_read_arguments)),
)

"""The arguments that select dead letters, by what they are about and when they were written."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from operators.stream.letters import LetterSelection
from pipelines.batch.selection import tenant_name
from pipelines.batch.spans import SpanEnd, beginning, end
from pipelines.jobs import JOBS
from schemas.topics import TOPICS

SPAN = ("rejected_from", "rejected_to")


def add_selection(parser: ArgumentParser) -> None:
    """Add the arguments that select dead letters; what is given several times selects each of its values."""
    operators, topics = [job.name for job in JOBS], [topic.name for topic in TOPICS]
    add = parser.add_argument
    add("--operator", action="append", default=[], choices=operators, help="rejected by this job")
    add("--reason", action="append", default=[], metavar="CODE", help="rejected for this reason, such as not-an-event")
    add("--topic", action="append", default=[], choices=topics, metavar="TOPIC", help="records of this topic")
    add("--partition", type=number, metavar="NUMBER", help="records that lay in this partition of their topic")
    add("--offset", type=offsets, metavar="FIRST[-LAST]", help="records at these offsets")
    add("--tenant", type=tenant_name, help="only of this tenant (default: all tenants)")
    for name, read, told in (
        ("from", beginning, "at this time or later"),
        ("to", end, "before this time or this date's end"),
    ):
        add(f"--rejected-{name}", action=SpanEnd, const=SPAN, type=read, metavar="TIME", help=f"rejected {told}")
    add("--event-id", action="append", default=[], metavar="ID", help="the dead letter with this event id")


def selection_of(options: Namespace) -> LetterSelection:
    """Return the selection that the arguments name."""
    first, last = options.offset or (None, None)
    return LetterSelection(
        operators=frozenset(options.operator),
        reasons=frozenset(options.reason),
        topics=frozenset(options.topic),
        partition=options.partition,
        first=first,
        last=last,
        tenant=options.tenant,
        rejected_from=options.rejected_from,
        rejected_to=options.rejected_to,
        event_ids=frozenset(options.event_id),
    )


def number(text: str) -> int:
    """Read a partition or an offset; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} should be a whole number, 0 or more")
    return int(text)


def offsets(text: str) -> tuple[int, int]:
    """Read an offset, or the first and the last of several; raises ArgumentTypeError."""
    first, _, last = text.partition("-")
    found = number(first), number(last or first)
    if found[0] > found[1]:
        raise ArgumentTypeError(f"{text!r} should be the first offset and the last one, such as 17-42")
    return found

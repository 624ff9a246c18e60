"""Times on the command line: spans such as 90m, dates and times of ISO 8601, and the time that was asked for, in words.

A time without a zone is this machine's own; 2026-11-30T08:15Z and 2026-11-30T08:15+01:00 say theirs. A date is a whole
day: as a beginning it is its first moment, as an end the first moment after it.
"""

import re
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

SPAN = re.compile(r"([0-9]{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
EXAMPLES = "2026-11-30, 2026-11-30T08:15, which is this machine's time, or 2026-11-30T08:15+01:00"


def span(text: str) -> timedelta:
    """Read a span such as 90m, 12h or 7d; raises ArgumentTypeError."""
    if not (parts := SPAN.fullmatch(text)):
        raise ArgumentTypeError(f"{text!r} should be a number with s, m, h or d behind it, such as 90m")
    return timedelta(**{UNITS[parts[2]]: int(parts[1])})


def before(moment: datetime, length: timedelta) -> datetime:
    """Return the moment that is so long before another one, or the first date that there is."""
    with suppress(OverflowError):
        return moment - length
    return EARLIEST


def beginning(text: str) -> datetime:
    """Read a date or a time as the first moment of a time; raises ArgumentTypeError."""
    return _moment(text, days=0)


def end(text: str) -> datetime:
    """Read a date or a time as the first moment after a time; raises ArgumentTypeError."""
    return _moment(text, days=1)


def told(begin: datetime | None, until: datetime | None) -> str:
    """Return the asked time in words, with this machine's zone; None where it has no beginning or no end."""
    bounds = (("from", begin), ("until", until))
    return " ".join(f"{word} {at.astimezone().isoformat(' ', 'seconds')}" for word, at in bounds if at)


def _moment(text: str, days: int) -> datetime:
    """Return the moment of a text; that of a date is the beginning of the day so many days later."""
    with suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text) + timedelta(days=days if _is_date(text) else 0)
        return found if found.tzinfo else found.astimezone()
    raise ArgumentTypeError(f"{text!r} should be a date or a time, such as {EXAMPLES}")


def _is_date(text: str) -> bool:
    with suppress(ValueError):
        return bool(date.fromisoformat(text))
    return False

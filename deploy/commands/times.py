"""Times on the command line: spans such as 90m, and the time that was asked for, in words."""

import re
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import UTC, datetime, timedelta

SPAN = re.compile(r"([0-9]{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


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


def told(begin: datetime | None, until: datetime | None) -> str:
    """Return the asked time in words, with this machine's zone; None where it has no beginning or no end."""
    bounds = (("from", begin), ("until", until))
    return " ".join(f"{word} {at.astimezone().isoformat(' ', 'seconds')}" for word, at in bounds if at)

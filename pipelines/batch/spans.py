"""A span of time on the command line: its ends are dates or times of ISO 8601, and it ends after it begins.

A time without a zone is this machine's own; 2026-11-30T08:15Z and 2026-11-30T08:15+01:00 say theirs. A date is a whole
day: as a beginning it is its first moment, as an end the first moment after it.
"""

from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

EXAMPLES = "2026-11-30, 2026-11-30T08:15, which is this machine's time, or 2026-11-30T08:15Z"


class SpanEnd(Action):
    """One end of a span, of which `const` names both; a span that would hold nothing is a wrong argument."""

    def __call__(self, _: ArgumentParser, options: Namespace, value: Any, __: str | None = None) -> None:
        """Keep the value; raises ArgumentError."""
        setattr(options, self.dest, value)
        first, last = (getattr(options, name, None) for name in self.const)
        # One may be an offset and the other a time.
        if type(first) is type(last) and first is not None and last <= first:
            raise ArgumentError(self, "the span ends before it begins")


def beginning(text: str) -> datetime:
    """Read a date or a time as the first moment of a time; raises ArgumentTypeError."""
    return _moment(text, days=0)


def end(text: str) -> datetime:
    """Read a date as the first moment after it, a time as itself; raises ArgumentTypeError."""
    return _moment(text, days=1)


def _moment(text: str, days: int) -> datetime:
    """Return the moment of a text; that of a date is the beginning of the day so many days later."""
    with suppress(ValueError, OverflowError):
        return (datetime.fromisoformat(text) + timedelta(days=days if _is_date(text) else 0)).astimezone(UTC)
    raise ArgumentTypeError(f"{text!r} should be a date or a time, such as {EXAMPLES}")


def _is_date(text: str) -> bool:
    with suppress(ValueError):
        return bool(date.fromisoformat(text))
    return False

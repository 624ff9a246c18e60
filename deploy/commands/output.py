"""Format and print the output of commands: tables, details, lines of JSON."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from pipelines.batch import terminal


def print_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line and flush it, so that a closed pipe raises here and not when the interpreter exits."""
    print(line, file=stream, flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as aligned text, with the headings first."""
    cells = [tuple(headings), *(tuple(printable(value) for value in row) for row in rows)]
    return "\n".join(terminal.aligned(cells))


def details(values: Mapping[str, Any]) -> str:
    """Return names and values, a line each."""
    width = max(map(len, values))
    return "\n".join(f"{name:<{width}}  {printable(value)}" for name, value in values.items())


def printable(value: Any) -> str:
    """Return a value as text that cannot control a terminal, since senders choose some of the values."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return terminal.printable(str(value)) or "-"


def as_json(values: Mapping[str, Any]) -> str:
    """Return values as one line of JSON: times in ISO 8601 with six digits after the second, bytes in base64."""
    return json.dumps(values, default=_json_text)


def _json_text(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else str(value)

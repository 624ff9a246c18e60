"""A batch command at the terminal: a line for each way in which it can fail, and the exit status.

It imports nothing that takes long, so that a command hears Ctrl-C from its first moment on.
"""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from operators.errors import Unavailable
from pipelines.batch.journal import Run, RunRefused, run_name
from schemas.settings.reading import SettingsError
from schemas.telemetry import set_up_logs

DONE, NOT_DONE, WRONG, LEFT_OUT, STOPPED_BY_USER = 0, 1, 2, 3, 130
# The name that people know a server by, for each beginning of Unavailable.what.
SERVERS = {
    "catalog": "the catalog's database",
    "store": "the object store",
    "broker": "the broker",
    "journal": "the run's folder",
    "temporary": "the disk of temporary files",
}


class NotDone(Exception):
    """A command cannot do what was asked, or not all of it; the text says why."""


def started(name: str) -> int:
    """Import and run the command `pipelines.batch.NAME.command`; return its exit status."""

    def imported() -> int:
        status: int = import_module(f"pipelines.batch.{name}.command").main(sys.argv[1:], os.environ)
        return status

    set_up_logs(name, without=["broker_client_error"])
    # Beam warns, while it is imported, that a client of another cloud's tables is missing.
    logging.getLogger().addFilter(lambda record: "apitools" not in str(record.msg))
    return ended(imported)


def ended(command: Callable[[], int]) -> int:
    """Run a command; return its exit status, after a line about what kept it from its work."""
    try:
        return command()
    except (SettingsError, RunRefused) as error:
        return _failed(str(error), WRONG)
    except (NotDone, Unavailable) as error:
        return _failed(told(error), NOT_DONE)
    except BrokenPipeError:
        # The reader of the output has closed the pipe. What is still buffered must not raise again at exit.
        sys.stdout = None
        return NOT_DONE
    except KeyboardInterrupt:
        return _failed("Interrupted.", STOPPED_BY_USER)


def in_run(runs: Path, options: Namespace, about: Mapping[str, Any], work: Callable[[Run], int]) -> int:
    """Do work in the run that the options name, unless it is finished; return the exit status.

    `about` says what the run does, its pipeline first. Raises RunRefused.
    """
    name = run_name(options, about["pipeline"])
    with Run.opened(runs, name, about, again=options.again) as run:
        if run.finished_at:
            say(f"Run {name} was finished at {run.finished_at}: --again begins it anew.")
            return DONE
        say(f"Run {name}: if it is interrupted, --run {name} goes on. Its journal is {run.folder}.")
        try:
            status = work(run)
            run.finish()
        except (NotDone, Unavailable) as error:
            return _failed(f"{told(error)}: --run {name} goes on.", NOT_DONE)
        except KeyboardInterrupt:
            return _failed(f"Interrupted: --run {name} goes on.", STOPPED_BY_USER)
        return status


def told(error: NotDone | Unavailable) -> str:
    """Return a line about what kept a command from its work."""
    if not isinstance(error, Unavailable):
        return str(error)
    server = next((name for beginning, name in SERVERS.items() if error.what.startswith(beginning)), error.what)
    return f"{server} cannot be used: {error.why}" if error.why else f"{server} does not answer"


def printable(text: str) -> str:
    """Return a text that cannot control a terminal: anybody who may write to the store or the broker chose some."""
    return "".join(character if character.isprintable() else "?" for character in text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines in which the cells of a column begin at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield printable("  ".join(cells).rstrip())


def say(text: str) -> None:
    """Print a line on standard error: standard output is for what was asked for."""
    print(text, file=sys.stderr, flush=True)


def _failed(line: str, status: int) -> int:
    say(line)
    return status

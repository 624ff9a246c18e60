"""Run a command, and turn its failure into a line for people and an exit status."""

import sys
from collections.abc import Callable

from deploy.commands.output import print_line
from deploy.errors import Failed
from operators.errors import Rejected, Unavailable
from schemas.settings.reading import SettingsError

# The name that people know a server by, for each beginning of Unavailable.what.
SERVERS = {"catalog": "the catalog's database", "store": "the object store", "broker": "the broker"}


def server_name(error: Unavailable) -> str:
    """Return the name of the server that does not answer, as people know it."""
    return next((name for beginning, name in SERVERS.items() if error.what.startswith(beginning)), error.what)


def run(command: Callable[[], None]) -> int:
    """Run a command, and print a line when it fails.

    Returns the exit status: 0 done, 1 not done, 2 for settings that cannot be used, 130 stopped by Ctrl-C.
    """
    try:
        command()
    except SettingsError as error:
        return _fail(str(error), 2)
    except (Failed, Unavailable, Rejected) as error:
        return _fail(_line(error))
    except BrokenPipeError:
        # The reader of the output has closed the pipe. What is still buffered must not raise again at exit.
        sys.stdout = None
    except KeyboardInterrupt:
        return 130
    return 0


def _line(error: Exception) -> str:
    if isinstance(error, Unavailable):
        cause = f"cannot be used: {error.why}" if error.why else "does not answer: try again"
        return f"{server_name(error)} {cause}"
    if isinstance(error, Rejected):
        return f"the object was not written by this archive: {error.reason}"
    return str(error)


def _fail(line: str, status: int = 1) -> int:
    print_line(line, sys.stderr)
    return status

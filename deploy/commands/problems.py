"""The line that people read, and the exit status, when a command fails."""

import sys
from collections.abc import Callable

from deploy.commands.output import print_line
from deploy.errors import Failed
from operators.errors import Rejected, Unavailable
from schemas.settings.reading import SettingsError

# What people call a server, by the beginning of what Unavailable calls it.
SERVERS = {"catalog": "the catalog's database", "store": "the object store", "broker": "the broker"}


def server_name(error: Unavailable) -> str:
    """Return what people call the server that does not answer."""
    return next((name for what, name in SERVERS.items() if error.what.startswith(what)), error.what)


def run(command: Callable[[], None]) -> int:
    """Run a command and print its problem, if it has one, in a line.

    Returns the exit status: 0 done, 1 not done, 2 for settings that cannot be used, 130 stopped by Ctrl-C.
    """
    try:
        command()
    except SettingsError as error:
        return _fail(str(error), 2)
    except (Failed, Unavailable, Rejected) as error:
        return _fail(_line(error))
    except BrokenPipeError:
        # Whoever reads the output has read enough. What is still buffered must not raise again at exit.
        sys.stdout = None
    except KeyboardInterrupt:
        return 130
    return 0


def _line(error: Exception) -> str:
    if isinstance(error, Unavailable):
        return f"{server_name(error)} does not answer: try again"
    if isinstance(error, Rejected):
        return f"the object is none that this archive has written: {error.reason}"
    return str(error)


def _fail(line: str, status: int = 1) -> int:
    print_line(line, sys.stderr)
    return status

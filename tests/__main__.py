"""Run all tests, or those at these paths and the laws beside them: `python -m tests [PATH...]`.

Most tests of servers wait for most of their time: one in three seconds of the processor's is theirs. So the whole
archives (tests/e2e, tests/faults) and the other tests of servers run side by side, each group on a stack of its own. What
starts no stack mostly computes: it runs beside both at a lower priority, as the bounds of the laws are of CPU time. Exit
status 0 when all groups have passed. What pytest prints of the groups beside comes last.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TypeAlias

PYTEST = (sys.executable, "-m", "pytest")
Pytest: TypeAlias = "subprocess.Popen[bytes]"


@dataclass(frozen=True)
class Beside:
    """A group of tests that runs beside the others; these do not have them."""

    paths: tuple[str, ...]
    niceness: int = 0


# At 5, a third of the share of a server where both want the processor; at 19 a busy machine gave the laws a thirtieth of it.
LAWS = Beside(("tests/laws",), niceness=5)
WITHOUT_STACK = Beside(
    (
        "tests/unit",
        "tests/audit",
        "tests/support",
        "tests/integration/gateway",
        "tests/integration/web/test_process.py",
        "tests/fuzz",
        "tests/bench",
        *LAWS.paths,
    ),
    niceness=5,
)
PARTS = Beside(("tests/integration",))


def run(paths: Sequence[str], beside: Sequence[Beside]) -> int:
    """Run all groups, each test once; return the status of the tests at `paths`, or the first of another group that is not 0.

    No path means every test that is in no group beside. A group does not have the tests of another group below its paths.
    """
    with ExitStack() as files:
        kept = [files.enter_context(tempfile.TemporaryFile()) for _ in beside]
        started = [subprocess.Popen([*PYTEST, *ignored(paths, beside), *paths])]
        started += [begun(group, beside, printed) for group, printed in zip(beside, kept, strict=True)]
        with passed_on(started):
            statuses = [process.wait() for process in started]
        for printed in kept:
            printed.seek(0)
            os.write(sys.stdout.fileno(), printed.read())
    return next(filter(None, statuses), 0)


def ignored(paths: Sequence[str], groups: Sequence[Beside]) -> list[str]:
    """Return pytest's options for the paths of other groups, but not for one above these paths."""
    others = [path for group in groups for path in group.paths if path not in paths]
    return [f"--ignore={other}" for other in others if not any(path.startswith(f"{other}/") for path in paths)]


def begun(group: Beside, groups: Sequence[Beside], printed: IO[bytes]) -> Pytest:
    """Begin a group, and keep what it prints."""
    # pytest's memory of failures is that of the tests that are in no such group.
    options = ["-p", "no:cacheprovider", *ignored(group.paths, groups)]
    command = ["nice", f"-n{group.niceness}", *PYTEST, *options, *group.paths]
    return subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)


@contextmanager
def passed_on(groups: Sequence[Pytest]) -> Iterator[None]:
    """For the block, have all groups end when this process is asked to; they stop their servers before they end."""

    def end(*_: object) -> None:
        for group in groups:
            group.terminate()

    # Ctrl-C reaches the groups by itself.
    before = signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


if __name__ == "__main__":
    chosen = sys.argv[1:]
    sys.exit(run(chosen, (LAWS,) if chosen else (PARTS, WITHOUT_STACK)))

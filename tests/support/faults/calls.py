"""The calls by which a process reaches its disk and its peers, in their order, as strace sees them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# The head and the text of a call, or of one half of a call that another thread's has come between.
OPEN = r"\d+<(?:[\w-]+:\[[^\]]*\]|[^>]*)>"
LINE = re.compile(
    rf"(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\((?P<file>{OPEN}))(?P<rest>.*)"
)
UNFINISHED = "<unfinished ...>"
SENDS, RECEIVES = ("sendto", "sendmsg", "write", "writev"), ("recvfrom", "recvmsg", "read", "readv")
# As much of each text as names what it is.
SHOWN_BYTES = 64


@dataclass(frozen=True)
class Call:
    """A call: its name, the open file or connection (its number, with path or addresses), and the text of what it moved.

    What is sent has its place where the call began, what is received where it has returned.
    """

    name: str
    file: str
    text: str

    @property
    def sends(self) -> bool:
        """True if the call gives something to a file or a peer."""
        return self.name in SENDS


@contextmanager
def traced(pid: int, to: Path) -> Iterator[None]:
    """Write the calls of a process and its threads into a file for the block; skip the test without strace."""
    strace = shutil.which("strace") or pytest.skip("strace is not installed")
    names = ",".join((*SENDS, *RECEIVES))
    command = [strace, "-f", "-yy", "-x", "-s", str(SHOWN_BYTES), "-e", f"trace={names}", "-o", str(to), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:
        try:
            assert tracing.stderr
            if "attached" not in (said := tracing.stderr.readline()):
                pytest.skip(f"strace may not look at a process here: {said.strip()}")
            yield
        finally:
            tracing.terminate()
            tracing.communicate()


def calls(trace: Path) -> list[Call]:
    """Return the calls of a trace."""
    found: list[tuple[int, Call]] = []
    begun: dict[str, tuple[int, str, str, str]] = {}
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        if (match := LINE.match(line)) is None:
            continue
        thread, rest = match["thread"], match["rest"]
        if rest.endswith(UNFINISHED):
            begun[thread] = (number, match["name"], match["file"], rest)
            continue
        here = (number, match["name"], match["file"], "")
        start, name, file, before = begun.pop(thread, (number, "", "", "")) if match["resumed"] else here
        if name:
            found.append((start if name in SENDS else number, Call(name, file, before + rest)))
    return [call for _, call in sorted(found, key=lambda one: one[0])]

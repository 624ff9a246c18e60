"""What tests of the decoding processes share: a job to render, and a way to write as native code in a process could."""

from pathlib import Path

from operators.connectors.sandbox.protocol import ANSWER
from tests.support.data.render_jobs import job_of
from tests.support.worlds.reading import part10

# Renders to a picture of two rows and three columns.
_JOB = job_of(part10())
assert _JOB
GOOD_JOB = _JOB
# An answer of nine bytes to a job that nobody gave.
FORGED_ANSWER = bytes(ANSWER.size - 8) + len(b"another's").to_bytes(8, "little") + b"another's"
STANDARD_OUTPUT, ANSWERS = 1, 3


def write_as(pid: int, descriptor: int, data: bytes) -> None:
    """Write into what a process holds under a descriptor."""
    with Path(f"/proc/{pid}/fd/{descriptor}").open("wb", buffering=0) as sink:
        sink.write(data)

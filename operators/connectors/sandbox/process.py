"""A decoding process, as its parent uses it: start, jobs and answers, end."""

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from operators.connectors.sandbox.protocol import ANSWER, JOB, NONCE_BYTES, READY
from operators.dicom.reasons import Reason
from operators.errors import Unavailable
from operators.imaging.job import RenderJob, pack_job
from operators.imaging.reasons import (
    BAD_DESCRIPTION,
    BAD_PALETTE,
    EMPTY_REGION,
    NO_PIXELS,
    OUT_OF_MEMORY,
    TOO_LARGE,
    UNDECODABLE,
    UNSUPPORTED,
    UNSUPPORTED_COLOURS,
)
from schemas.settings.web import RenderSettings

ROOT = Path(__file__).parents[3]
# The whole environment of a decoding process: it contains no secret and keeps libraries from starting threads.
ENVIRONMENT = {"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# The largest pipe that Linux allows an unprivileged user; most frames fit into it.
PIPE_BYTES = 2**20
READ_BYTES = 2**20
MOST_REASON_BYTES = 100
MOST_PICTURE_BYTES = 256 * 2**20
START_S = 30.0
END_S = 5.0
# The known reasons: '' for success, the reasons in operators/imaging/reasons.py, and the reasons of the header scan.
REASONS = frozenset(
    {
        *("", UNDECODABLE, UNSUPPORTED, TOO_LARGE, BAD_DESCRIPTION, NO_PIXELS, BAD_PALETTE, UNSUPPORTED_COLOURS),
        *(EMPTY_REGION, OUT_OF_MEMORY, *Reason),
    }
)


class ProcessDied(Exception):
    """A decoding process ended during a job or answered wrongly; `code` is its exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class SandboxProcess:
    """A running decoding process (decoder.py), used by one thread at a time."""

    def __init__(self, limits: RenderSettings) -> None:
        self.jobs = 0
        self._process = subprocess.Popen(  # noqa: S603 - a fixed module, run by this interpreter
            [
                *(sys.executable, "-m", "operators.connectors.sandbox.decoder", "--parent", str(os.getpid())),
                *("--memory-bytes", str(limits.memory_bytes), "--cpu-s", str(limits.cpu_s)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd=ROOT,
            bufsize=0,
        )
        self.pid = self._process.pid
        pipes = (self._process.stdin, self._process.stdout)
        self._in, self._out = (pipe.fileno() for pipe in pipes if pipe)
        for descriptor in (self._in, self._out):
            os.set_blocking(descriptor, False)
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def wait_until_ready(self) -> "SandboxProcess":
        """Return the process once it is ready for jobs; if it does not start, end it and raise Unavailable."""
        try:
            self._receive(READY, time.monotonic() + START_S)
        except (BrokenPipeError, EOFError, ProcessDied, TimeoutError):
            self.end()
            raise Unavailable("renderer") from None
        return self

    def is_idle(self) -> bool:
        """True if the process lives and has written nothing since its last answer; only then may it get a job."""
        try:
            os.read(self._out, 1)
        except BlockingIOError:
            return True
        return False

    def render(self, job: RenderJob, seconds: float) -> tuple[str, bytes]:
        """Return a reason code and no picture, or '' and the picture.

        Raises ProcessDied, and TimeoutError when the job takes longer than `seconds`: the caller must then end the
        process.
        """
        deadline = time.monotonic() + seconds
        self.jobs += 1
        fields_json, nonce = pack_job(job), os.urandom(NONCE_BYTES)
        head = JOB.pack(nonce, len(fields_json), len(job.header), len(job.frame))
        try:
            self._write((head + fields_json, job.header, job.frame), deadline)
            return self._receive(nonce, deadline)
        except (BrokenPipeError, EOFError):
            raise ProcessDied(self._process.wait(END_S)) from None

    def kill(self) -> None:
        """Kill the process, from any thread; in the thread that waits for its answer ProcessDied is raised."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _receive(self, nonce: bytes, deadline: float) -> tuple[str, bytes]:
        answered, reason_bytes, picture_bytes = ANSWER.unpack(self._read(ANSWER.size, deadline))
        if answered != nonce or reason_bytes > MOST_REASON_BYTES or picture_bytes > MOST_PICTURE_BYTES:
            raise ProcessDied(0)
        reason = self._read(reason_bytes, deadline).decode("ascii", "replace")
        return _known(reason), self._read(picture_bytes, deadline)

    def _write(self, pieces: Sequence[bytes], deadline: float) -> None:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                try:
                    left = left[os.write(self._in, left) :]
                except BlockingIOError:
                    _wait_for(self._in, select.POLLOUT, deadline)

    def _read(self, size_bytes: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size_bytes:
            try:
                piece = os.read(self._out, min(size_bytes - len(found), READ_BYTES))
            except BlockingIOError:
                _wait_for(self._out, select.POLLIN, deadline)
                continue
            if not piece:
                raise EOFError
            found += piece
        return bytes(found)


def _known(reason: str) -> str:
    """Return a reason in REASONS: a hostile frame could make the process answer anything."""
    return reason if reason in REASONS else UNDECODABLE


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError

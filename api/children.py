"""Child processes that decode and render: each can be killed, each has its limits, none can take the server along."""

import asyncio
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog

from api.render_child import ANSWER, JOB, NONCE_BYTES, READY
from operators.dicom.scan import Reason
from operators.errors import RETRY_AFTER, Unavailable
from operators.http.problem import Problem
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
from schemas.telemetry import API_CHILDREN_ENDED, API_RENDERED

ROOT = Path(__file__).parents[1]
# All that a child is told of this process; libraries that would start a thread for each core stay with one.
ENVIRONMENT = {"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# What Linux lets anyone make of a pipe: a usual frame goes through at once.
PIPE_BYTES = 2**20
READ_BYTES = 2**20
MOST_REASON_BYTES = 100
MOST_PICTURE_BYTES = 256 * 2**20
# A child that has answered so many jobs makes room for a new one: what libraries leak stays small.
JOBS = 2000
STARTING_S = 30.0
ENDING_S = 5.0


# PS3.18 table 10.4.3-1: a frame that cannot be rendered has no representation that the client could accept.
TOO_COSTLY = "too-costly"
CRASHED = UNDECODABLE
NOT_RENDERABLE = 406
ADVICE = "this frame cannot be rendered here: retrieve the frame or the instance as stored"
BAD_REQUESTS = {EMPTY_REGION: "the viewport's source region must have pixels in common with the image"}
# No reason, those of operators/imaging/render.py, and those of the scan.
REASONS = frozenset(
    {
        *("", UNDECODABLE, UNSUPPORTED, TOO_LARGE, BAD_DESCRIPTION, NO_PIXELS, BAD_PALETTE, UNSUPPORTED_COLOURS),
        *(EMPTY_REGION, OUT_OF_MEMORY, *Reason),
    }
)
# How a child's end is counted and answered: XCPU is its own limit, whoever sends KILL (the kernel, where memory is
# short) says nothing of the frame, everything else is a decoder's crash.
ENDS = {-signal.SIGXCPU: ("cpu", TOO_COSTLY), -signal.SIGKILL: ("killed", "")}

log = structlog.get_logger()


class Gone(Exception):
    """The child ended over a job; `code` is its exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Child:
    """One process of api/render_child.py, spoken to by one thread at a time."""

    def __init__(self, settings: RenderSettings) -> None:
        self.jobs = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that runs this one
            [
                *(sys.executable, "-m", "api.render_child", "--parent", str(os.getpid())),
                *("--memory-bytes", str(settings.memory_bytes), "--cpu-s", str(settings.cpu_s)),
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

    def started(self) -> "Child":
        """Return this child once it is ready; raises Unavailable when it does not start, and ends it then."""
        try:
            self._answer(READY, time.monotonic() + STARTING_S)
        except (BrokenPipeError, EOFError, Gone, TimeoutError):
            self.end()
            raise Unavailable("renderer") from None
        return self

    def is_quiet(self) -> bool:
        """True if the process lives and has said nothing that it was not asked: only then ask it."""
        try:
            os.read(self._out, 1)
        except BlockingIOError:
            return True
        return False

    def ask(self, job: RenderJob, seconds: float) -> tuple[str, bytes]:
        """Return a reason why the frame cannot be rendered, or none and the picture.

        Raises Gone when the child ends over it, TimeoutError when it takes longer: end it then.
        """
        deadline = time.monotonic() + seconds
        self.jobs += 1
        words, nonce = pack_job(job), os.urandom(NONCE_BYTES)
        head = JOB.pack(nonce, len(words), len(job.header), len(job.frame))
        try:
            self._write((head + words, job.header, job.frame), deadline)
            return self._answer(nonce, deadline)
        except (BrokenPipeError, EOFError):
            raise Gone(self._process.wait(ENDING_S)) from None

    def _answer(self, nonce: bytes, deadline: float) -> tuple[str, bytes]:
        said, reason_size, size = ANSWER.unpack(self._read(ANSWER.size, deadline))
        if said != nonce or reason_size > MOST_REASON_BYTES or size > MOST_PICTURE_BYTES:
            raise Gone(0)
        return _known(self._read(reason_size, deadline).decode("ascii", "replace")), self._read(size, deadline)

    def kill(self) -> None:
        """Break off what the process is doing; whoever waits for its answer gets Gone."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _write(self, pieces: Sequence[bytes], deadline: float) -> None:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                try:
                    left = left[os.write(self._in, left) :]
                except BlockingIOError:
                    _await(self._in, select.POLLOUT, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            try:
                piece = os.read(self._out, min(size - len(found), READ_BYTES))
            except BlockingIOError:
                _await(self._out, select.POLLIN, deadline)
                continue
            if not piece:
                raise EOFError
            found += piece
        return bytes(found)


def _known(reason: str) -> str:
    """Return the reason, if it is one: a child that a decoder has taken over may say anything."""
    return reason if reason in REASONS else CRASHED


def _await(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError


class Children:
    """A few children, started when first needed; each works on one job at a time and is used again."""

    def __init__(self, settings: RenderSettings) -> None:
        self._settings = settings
        self._idle: list[Child] = []
        self._at_work: set[Child] = set()
        self._threads = ThreadPoolExecutor(settings.processes, "rendering")
        # As many again may fetch their frame meanwhile: no child waits for the store, no more frames lie in memory.
        self._turns = asyncio.Semaphore(2 * settings.processes)
        self._waiting = 0
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._is_open = True

    async def rendered(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return the picture of the job that `fetch` gives, once it is its turn.

        Raises Problem: 503 when too many wait, 406 or 400 when the frame cannot be rendered that way; Unavailable
        when a child was killed, or took too long without using its seconds of CPU, so that another try may be better.
        """
        if self._waiting >= self._settings.queue:
            API_RENDERED.labels("queue-full").inc()
            raise Problem(503, "renderer-busy", "too many images wait: try again soon", RETRY_AFTER)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        work = asyncio.ensure_future(self._work(fetch))
        self._under_way.add(work)
        work.add_done_callback(self._done)
        # A client that leaves does not interrupt: a child in the middle of a job could only be killed.
        return await asyncio.shield(work)

    def close(self) -> None:
        """End every child; what is under way ends with its child."""
        self._is_open = False
        for child in tuple(self._at_work):
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().end()

    async def _work(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        job = await fetch()
        reason, picture = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, job)
        API_RENDERED.labels(reason or "rendered").inc()
        if reason:
            advice = BAD_REQUESTS.get(reason)
            raise Problem(400, reason, advice) if advice else Problem(NOT_RENDERABLE, reason, ADVICE)
        return picture

    def _done(self, work: "asyncio.Task[bytes]") -> None:
        self._under_way.discard(work)
        self._turns.release()
        if not work.cancelled():
            work.exception()  # whoever waited for it may have gone

    def _ask(self, job: RenderJob) -> tuple[str, bytes]:
        """Have a child do the job, in a thread of its own."""
        child = self._ready()
        try:
            reason, picture = child.ask(job, self._settings.wall_s)
        except Gone as gone:
            why, reason = ENDS.get(gone.code, ("crashed", CRASHED))
            self._ended(child, why)
            if not reason:
                raise Unavailable("renderer") from None
            return reason, b""
        except TimeoutError:
            self._ended(child, "wall")
            raise Unavailable("renderer") from None
        except BaseException:
            child.end()
            raise
        finally:
            self._at_work.discard(child)
        if reason == OUT_OF_MEMORY:
            self._ended(child, "memory")
        elif child.jobs >= JOBS:
            self._ended(child, "replaced")
        elif self._is_open:
            self._idle.append(child)
        else:
            child.end()
        return reason, picture

    def _ready(self) -> Child:
        """Return an idle child that is as it was left, else a new one; whoever closes this pool kills it from now on."""
        while self._idle:
            child = self._idle.pop()
            self._at_work.add(child)
            if child.is_quiet():
                return child
            self._at_work.discard(child)
            self._ended(child, "idle")
        child = Child(self._settings)
        self._at_work.add(child)
        if not self._is_open:
            child.kill()
        try:
            return child.started()
        except BaseException:
            self._at_work.discard(child)
            raise

    def _ended(self, child: Child, why: str) -> None:
        child.end()
        API_CHILDREN_ENDED.labels(why).inc()
        if why != "replaced":
            log.warning("child-ended", why=why, pid=child.pid)

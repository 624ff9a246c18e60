"""A pool of decoding processes: it assigns jobs to processes, and answers for processes that die."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from operators.connectors.sandbox.process import ProcessDied, SandboxProcess
from operators.errors import Unavailable
from operators.imaging.job import RenderJob
from operators.imaging.ports import FrameRejected, RendererBusy
from operators.imaging.reasons import OUT_OF_MEMORY, UNDECODABLE
from operators.tasks import supervised
from schemas.settings.web import RenderSettings
from schemas.telemetry import API_CHILDREN_ENDED, API_RENDERED

# A process is replaced after this many jobs, so that leaks in libraries stay small.
JOBS_PER_PROCESS = 2000
TOO_COSTLY = "too-costly"
# By exit code, the cause of a process's death and the reason code for its frame. SIGXCPU is the process's own limit on
# CPU time. SIGKILL comes from outside (the kernel, when memory is short) and is no fault of the frame.
DEATHS = {-signal.SIGXCPU: ("cpu", TOO_COSTLY), -signal.SIGKILL: ("killed", "")}
# Any other death is a decoder's crash.
CRASH = ("crashed", UNDECODABLE)

log = structlog.get_logger()


class Sandbox:
    """A Renderer with a few processes, started when first needed and reused; each runs one job at a time."""

    def __init__(self, limits: RenderSettings) -> None:
        self._limits = limits
        self._idle: list[SandboxProcess] = []
        self._at_work: set[SandboxProcess] = set()
        self._threads = ThreadPoolExecutor(limits.processes, "rendering")
        # While a process renders, the next job for it is fetched, so that it need not wait for the store; more frames
        # are not in memory.
        self._turns = asyncio.Semaphore(2 * limits.processes)
        self._waiting = 0
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._is_open = True

    async def render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return the picture of the job that `fetch` returns, as Renderer promises.

        Raises Unavailable when the process could not start, was killed, or did not answer within `wall_s`.
        """
        if self._waiting >= self._limits.queue:
            API_RENDERED.labels("queue-full").inc()
            raise RendererBusy
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        work = supervised("rendering", self._fetch_and_render(fetch), is_awaited=True)
        self._under_way.add(work)
        work.add_done_callback(self._finish)
        # Cancelling the caller does not cancel the job: a process in the middle of a job could only be killed.
        return await asyncio.shield(work)

    def close(self) -> None:
        """Kill every process; jobs in progress raise Unavailable."""
        self._is_open = False
        for process in tuple(self._at_work):
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().end()

    async def _fetch_and_render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        job = await fetch()
        reason, picture = await asyncio.get_running_loop().run_in_executor(self._threads, self._render, job)
        API_RENDERED.labels(reason or "rendered").inc()
        if reason:
            raise FrameRejected(reason)
        return picture

    def _finish(self, work: "asyncio.Task[bytes]") -> None:
        self._under_way.discard(work)
        self._turns.release()
        if not work.cancelled():
            work.exception()  # asyncio would complain about an exception that a cancelled caller never retrieves

    def _render(self, job: RenderJob) -> tuple[str, bytes]:
        """Return a process's answer to a job, or the reason why the job killed the process; called in a thread."""
        process = self._ready_process()
        try:
            reason, picture = process.render(job, self._limits.wall_s)
        except ProcessDied as death:
            cause, reason = DEATHS.get(death.code, CRASH)
            self._end(process, cause)
            if not reason:
                raise Unavailable("renderer") from None
            return reason, b""
        except TimeoutError:
            self._end(process, "wall")
            raise Unavailable("renderer") from None
        except BaseException:
            process.end()
            raise
        finally:
            self._at_work.discard(process)
        self._use_again(process, reason)
        return reason, picture

    def _use_again(self, process: SandboxProcess, reason: str) -> None:
        """Make a process idle after its answer, unless it must be replaced."""
        if reason == OUT_OF_MEMORY:
            self._end(process, "memory")
        elif process.jobs >= JOBS_PER_PROCESS:
            self._end(process, "replaced")
        elif self._is_open:
            self._idle.append(process)
        else:
            process.end()

    def _ready_process(self) -> SandboxProcess:
        """Return an idle or a new process that is ready for a job; from now on `close` kills it."""
        while self._idle:
            process = self._idle.pop()
            self._at_work.add(process)
            if process.is_idle():
                return process
            self._at_work.discard(process)
            self._end(process, "idle")
        process = SandboxProcess(self._limits)
        self._at_work.add(process)
        if not self._is_open:
            process.kill()
        try:
            return process.wait_until_ready()
        except BaseException:
            self._at_work.discard(process)
            raise

    def _end(self, process: SandboxProcess, cause: str) -> None:
        process.end()
        API_CHILDREN_ENDED.labels(cause).inc()
        if cause != "replaced":
            log.warning("sandbox_process_ended", why=cause, pid=process.pid)

"""A pool of decoding processes: which of them renders a job, and what becomes of the job when it dies."""

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
from schemas.settings.web import RenderSettings
from schemas.telemetry import API_CHILDREN_ENDED, API_RENDERED

# A process is replaced after this many jobs: what libraries leak stays small.
JOBS = 2000
TOO_COSTLY = "too-costly"
# Why a process died, and the reason why its frame cannot be rendered, by exit code. XCPU is the process's own limit.
# KILL comes from elsewhere (from the kernel, where memory is short) and means nothing about the frame.
DEATHS = {-signal.SIGXCPU: ("cpu", TOO_COSTLY), -signal.SIGKILL: ("killed", "")}
# Any other death is a decoder's crash.
CRASH = ("crashed", UNDECODABLE)

log = structlog.get_logger()


class Sandbox:
    """A Renderer of a few processes, started when first needed and used again, each for one job at a time."""

    def __init__(self, limits: RenderSettings) -> None:
        self._limits = limits
        self._idle: list[SandboxProcess] = []
        self._at_work: set[SandboxProcess] = set()
        self._threads = ThreadPoolExecutor(limits.processes, "rendering")
        # While every process renders, the next job of each is being fetched: no process waits for the store, and no
        # more frames than these lie in memory.
        self._turns = asyncio.Semaphore(2 * limits.processes)
        self._waiting = 0
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._is_open = True

    async def render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return the picture of the job that `fetch` returns, as Renderer promises.

        Unavailable means that the process was killed, or hung without using its seconds of CPU.
        """
        if self._waiting >= self._limits.queue:
            API_RENDERED.labels("queue-full").inc()
            raise RendererBusy
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        work = asyncio.ensure_future(self._fetch_and_render(fetch))
        self._under_way.add(work)
        work.add_done_callback(self._finish)
        # A caller that is cancelled cancels no job: a process in the middle of one could only be killed.
        return await asyncio.shield(work)

    def close(self) -> None:
        """Kill every process; the jobs under way raise Unavailable."""
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
            work.exception()  # a caller that was cancelled takes no exception

    def _render(self, job: RenderJob) -> tuple[str, bytes]:
        """Return a process's answer to a job, or the reason why it died over it; called in a thread."""
        process = self._ready_process()
        try:
            reason, picture = process.render(job, self._limits.wall_s)
        except ProcessDied as death:
            why, reason = DEATHS.get(death.code, CRASH)
            self._end(process, why)
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
        """Make a process idle after it answered, unless it has to be replaced."""
        if reason == OUT_OF_MEMORY:
            self._end(process, "memory")
        elif process.jobs >= JOBS:
            self._end(process, "replaced")
        elif self._is_open:
            self._idle.append(process)
        else:
            process.end()

    def _ready_process(self) -> SandboxProcess:
        """Return a process that takes jobs, an idle one or a new one; from now on `close` kills it."""
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

    def _end(self, process: SandboxProcess, why: str) -> None:
        process.end()
        API_CHILDREN_ENDED.labels(why).inc()
        if why != "replaced":
            log.warning("sandbox_process_ended", why=why, pid=process.pid)

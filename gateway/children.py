"""The processes of a gateway. When one ends, its parent starts another in its place, and the others do not notice."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType

import structlog

from gateway.intake.lifespan import STOP_S
from operators.restarts import Restarts

# A process that is not ready after this time is killed.
READY_S = 30.0
NO_ROOM_S = 1.0
FORK = multiprocessing.get_context("fork")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How a process ends that was told to stop; one that was not ready yet is ended by the signal itself.
STOPPED_WELL = (0, *(-number for number in STOP_SIGNALS))

log = structlog.get_logger()


@dataclass(frozen=True)
class Post:
    """What a process is told at its start: its index in the gateway, and how many processes have had that index."""

    index: int
    starts: int


# What a process does; it calls its second argument once it is ready.
Work = Callable[[Post, Callable[[], None]], None]


@dataclass
class Child:
    """The present process of one index; None between two processes."""

    index: int
    process: ForkProcess | None = None
    ready: Connection | None = None
    is_ready: bool = False
    began: float = 0.0
    due: float = 0.0
    restarts: Restarts = field(default_factory=Restarts)

    def start(self, work: Work, now: float) -> None:
        """Start a process; raises OSError when the system has no room for one."""
        self.restarts.starts += 1
        ready, theirs = FORK.Pipe(duplex=False)
        post = Post(self.index, self.restarts.starts)
        process = FORK.Process(target=_work, args=(work, post, theirs), name=f"gateway-{self.index}")
        self.began, self.is_ready = now, False
        try:
            process.start()
        except OSError:
            # Not to be waited for: its other end is closed, so that it is readable all the time.
            ready.close()
            raise
        finally:
            theirs.close()
        self.process, self.ready = process, ready

    def look(self, now: float) -> int | None:
        """Note whether the process is ready; return its exit code once it has ended. Kill it if it is never ready."""
        if self.process is None:
            return None
        if self.ready and self.ready.poll():
            self.is_ready = _was_sent(self.ready)
            self.ready.close()
            self.ready = None
        if not self.is_ready and now > self.began + READY_S:
            self.process.kill()
        return self.process.exitcode

    def end(self, now: float) -> None:
        """Note that the process has ended, and when the next one is due."""
        self.restarts.add(now - self.began, was_healthy=self.is_ready)
        self.due = now + self.restarts.wait_s()
        self.process, self.is_ready = None, False
        if self.ready:
            self.ready.close()
            self.ready = None

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.process:
            self.process.terminate()

    def awaited(self) -> Iterator[Connection | int]:
        """Yield the objects that become readable when the process is ready, or has ended."""
        if self.process:
            yield self.process.sentinel
        if self.ready:
            yield self.ready


class Children:
    """All processes of a gateway, as their parent keeps them until a signal stops it."""

    def __init__(self, count: int, work: Work, ended: Callable[[int], None]) -> None:
        """Take what each process does, and what is called with the index of a process that has ended."""
        self._children = [Child(index) for index in range(count)]
        self._work = work
        self._ended = ended
        self._is_stopping = False
        self._woken, self._wake = FORK.Pipe(duplex=False)

    def run(self, when_ready: Callable[[], None]) -> bool:
        """Keep every process running; `when_ready` is called once all are ready for the first time.

        Returns True when a signal has stopped them and all ended well, and False when one has ended MAX_STARTS times in a
        row without becoming ready, which ends all others.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        has_called = False
        while not (self._is_stopping or any(child.restarts.is_hopeless for child in self._children)):
            self._start_due()
            self._wait()
            self._look()
            if not has_called and all(child.is_ready for child in self._children):
                has_called = True
                when_ready()
        return self._end() and self._is_stopping

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._wake.send_bytes(b"stop")
        for child in self._children:
            child.terminate()

    def _start_due(self) -> None:
        for child in self._children:
            with _signals_held():
                now = time.monotonic()
                if child.process is None and child.due <= now and not self._is_stopping:
                    self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        """Start a process; one for which the system has no room is tried again, however often: the others go on."""
        try:
            child.start(self._work, now)
        except OSError as error:
            log.error("gateway_process_not_started", index=child.index, errno=error.errno)  # noqa: TRY400 - no trace needed
            child.due = now + NO_ROOM_S

    def _wait(self) -> None:
        """Wait until a process is ready or has ended, one is due, one has not become ready in time, or a signal came."""
        awaited = [one for child in self._children for one in child.awaited()]
        moments = [
            child.began + READY_S if child.process else child.due for child in self._children if not child.is_ready
        ]
        wait([self._woken, *awaited], max(min(moments) - time.monotonic(), 0) if moments else None)

    def _look(self) -> None:
        for child in self._children:
            now = time.monotonic()
            exit_code = child.look(now)
            if exit_code is None or self._is_stopping:
                continue
            log.error("gateway_process_ended", index=child.index, exit_code=exit_code, was_ready=child.is_ready)
            child.end(now)
            self._ended(child.index)

    def _end(self) -> bool:
        """Stop every process, and kill what does not stop in time; return True if all stopped well."""
        started = [child.process for child in self._children if child.process]
        for process in started:
            process.terminate()
        for process in started:
            process.join(4 * STOP_S)
            if process.is_alive():
                process.kill()
                process.join()
        return all(process.exitcode in STOPPED_WELL for process in started)


def _was_sent(ready: Connection) -> bool:
    try:
        return bool(ready.recv_bytes())
    except EOFError:
        return False


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold the stop signals back during the block, so that no process is started after them without being stopped."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _work(work: Work, post: Post, ready: Connection) -> None:
    # The handlers of the parent would stop its other processes.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    work(post, lambda: ready.send_bytes(b"ready"))

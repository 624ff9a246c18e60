"""A pool of decoding processes: a process that dies fails one job at most, and a full queue refuses jobs."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from operators.connectors.sandbox.pool import Sandbox
from operators.connectors.sandbox.process import ENVIRONMENT
from operators.errors import Unavailable
from operators.imaging.job import RenderJob
from operators.imaging.ports import FrameRejected, RendererBusy
from schemas.settings.web import RenderSettings
from schemas.telemetry import API_CHILDREN_ENDED
from tests.support.data.render_jobs import job_of, opened
from tests.support.machine.sandbox import ANSWERS, FORGED_ANSWER, GOOD_JOB, STANDARD_OUTPUT, write_as
from tests.support.worlds.pictures import image


def ended(why: str) -> float:
    return float(API_CHILDREN_ENDED.labels(why)._value.get())


@contextmanager
def sandbox(**changes: Any) -> Iterator[Sandbox]:
    """Yield a pool of one process."""
    pool = Sandbox(RenderSettings(processes=1, **changes))
    try:
        yield pool
    finally:
        pool.close()


async def render(pool: Sandbox, job: RenderJob = GOOD_JOB) -> bytes:
    """Return the picture of a job that need not be fetched."""

    async def fetch() -> RenderJob:
        return job

    return await pool.render(fetch)


async def pid_of(pool: Sandbox) -> int:
    """Run a job, and return the id of the pool's only process, which is idle then."""
    await render(pool)
    return pool._idle[0].pid


async def end_at_work(pool: Sandbox, number: signal.Signals) -> bytes:
    """End the pool's process by a signal in the middle of a job; return the job's picture or raise its error."""
    pid = await pid_of(pool)
    os.kill(pid, signal.SIGSTOP)
    work = asyncio.ensure_future(render(pool))
    async with asyncio.timeout(10):
        while not pool._at_work:  # noqa: ASYNC110 - the thread that takes the process notifies nobody
            await asyncio.sleep(0.01)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    return await work


@pytest.mark.fault("F24", "a decoding process dies of a signal, by its number: {number:d}")
@pytest.mark.parametrize(
    ("number", "reason", "why"),
    [
        (signal.SIGSEGV, "undecodable-frame", "crashed"),
        (signal.SIGABRT, "undecodable-frame", "crashed"),
        (signal.SIGXCPU, "too-costly", "cpu"),
    ],
)
def test_a_process_that_dies_fails_only_its_own_job(number: signal.Signals, reason: str, why: str) -> None:
    async def run() -> None:
        with sandbox() as pool:
            before = ended(why)
            with pytest.raises(FrameRejected, match=reason):
                await end_at_work(pool, number)

            assert ended(why) == before + 1
            assert opened(await render(pool)).shape == (2, 3)

    asyncio.run(run())


def test_a_job_whose_process_was_killed_from_outside_may_be_tried_again() -> None:
    async def run() -> None:
        with sandbox() as pool:
            before = ended("killed")
            with pytest.raises(Unavailable):
                await end_at_work(pool, signal.SIGKILL)

            assert ended("killed") == before + 1

    asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_died_while_idle_fails_no_job(number: signal.Signals) -> None:
    async def run() -> None:
        with sandbox() as pool:
            pid, before = await pid_of(pool), ended("idle")
            os.kill(pid, number)
            async with asyncio.timeout(10):
                while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - the kernel notifies nobody
                    await asyncio.sleep(0.01)

            assert await pid_of(pool) != pid
            assert ended("idle") == before + 1

    asyncio.run(run())


def test_output_that_a_library_prints_is_not_part_of_an_answer() -> None:
    async def run() -> None:
        with sandbox() as pool:
            pid = await pid_of(pool)
            write_as(pid, STANDARD_OUTPUT, FORGED_ANSWER)
            shown = await render(pool)

            assert opened(shown).shape == (2, 3)
            assert pool._idle[0].pid == pid

    asyncio.run(run())


def test_a_process_that_wrote_without_a_job_is_replaced() -> None:
    async def run() -> None:
        with sandbox() as pool:
            pid = await pid_of(pool)
            write_as(pid, ANSWERS, FORGED_ANSWER)
            shown = await render(pool)

            assert opened(shown).shape == (2, 3)
            assert pool._idle[0].pid != pid

    asyncio.run(run())


def test_closing_does_not_wait_for_a_starting_process() -> None:
    async def run() -> None:
        with sandbox() as pool:
            work = asyncio.ensure_future(render(pool))
            async with asyncio.timeout(10):
                while not pool._at_work:  # noqa: ASYNC110 - the thread that starts the process notifies nobody
                    await asyncio.sleep(0.001)
            (starting,) = pool._at_work
            os.kill(starting.pid, signal.SIGSTOP)
            await asyncio.wait_for(asyncio.to_thread(pool.close), 5)

            with pytest.raises(Unavailable):
                await work

    asyncio.run(run())


@pytest.mark.fault("F24", "a decoding process hangs")
def test_a_process_that_hangs_is_ended_and_its_job_may_be_tried_again() -> None:
    async def run() -> None:
        with sandbox(wall_s=2.0) as pool:
            hung = await pid_of(pool)
            os.kill(hung, signal.SIGSTOP)
            with pytest.raises(Unavailable):
                await render(pool)

            assert not psutil.pid_exists(hung)
            assert await pid_of(pool) != hung

    asyncio.run(run())


def test_a_process_that_cannot_start_is_unavailable_and_does_not_reject_the_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PYTHONHOME", "/nowhere")

    async def run() -> None:
        with sandbox() as pool, pytest.raises(Unavailable):
            await render(pool)

    asyncio.run(run())


def test_a_process_that_runs_out_of_memory_is_replaced() -> None:
    planes = {"SamplesPerPixel": 3, "PlanarConfiguration": 1, "PhotometricInterpretation": "RGB"}
    large = image({"Rows": 4700, "Columns": 4700, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, **planes})

    async def run() -> None:
        with sandbox(memory_bytes=256 * 2**20) as pool:
            first, job = await pid_of(pool), job_of(large)
            assert job
            with pytest.raises(FrameRejected, match="out-of-memory"):
                await render(pool, job)

            assert await pid_of(pool) != first

    asyncio.run(run())


def test_closing_does_not_wait_for_a_hanging_process() -> None:
    async def run() -> None:
        with sandbox() as pool:
            hung = await pid_of(pool)
            os.kill(hung, signal.SIGSTOP)
            work = asyncio.ensure_future(render(pool))
            async with asyncio.timeout(10):
                while pool._idle:  # noqa: ASYNC110 - the thread that takes the process notifies nobody
                    await asyncio.sleep(0.01)
            await asyncio.wait_for(asyncio.to_thread(pool.close), 10)

            assert not psutil.pid_exists(hung)
            with pytest.raises(Unavailable):
                await work

    asyncio.run(run())


def test_a_job_is_refused_when_too_many_are_waiting() -> None:
    async def run() -> list[Any]:
        with sandbox(queue=2) as pool:
            await pid_of(pool)
            works = [render(pool) for _ in range(20)]
            return await asyncio.gather(*works, return_exceptions=True)

    found = asyncio.run(run())
    refused = [one for one in found if isinstance(one, RendererBusy)]

    assert len(found) - len(refused) == 4
    assert all(isinstance(one, bytes) for one in found if one not in refused)


def test_a_cancelled_caller_does_not_end_a_process() -> None:
    async def run() -> None:
        with sandbox() as pool:
            first = await pid_of(pool)
            work = asyncio.ensure_future(render(pool))
            await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

            assert await pid_of(pool) == first

    asyncio.run(run())


async def pid_after_third_job(pool: Sandbox) -> int:
    """Run the third job, which is the last of the process; return the id of the next process."""
    await render(pool)
    return await pid_of(pool)


def test_a_process_is_replaced_after_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.connectors.sandbox.pool.JOBS_PER_PROCESS", 3)

    async def run() -> list[int]:
        with sandbox() as pool:
            return [await pid_of(pool), await pid_of(pool), await pid_after_third_job(pool)]

    first, second, third = asyncio.run(run())

    assert first == second != third

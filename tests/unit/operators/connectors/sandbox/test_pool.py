"""A pool of decoding processes: what dies costs one job at most, and what is full refuses."""

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
    """Return a pool of one process."""
    pool = Sandbox(RenderSettings(processes=1, **changes))
    try:
        yield pool
    finally:
        pool.close()


async def render(pool: Sandbox, job: RenderJob = GOOD_JOB) -> bytes:
    """Return the picture of a job that is there at once."""

    async def fetch() -> RenderJob:
        return job

    return await pool.render(fetch)


async def pid_of(pool: Sandbox) -> int:
    """Return the id of the pool's one idle process, after a job that starts the process if need be."""
    await render(pool)
    return pool._idle[0].pid


async def end_at_work(pool: Sandbox, number: signal.Signals) -> bytes:
    """End the pool's process by a signal in the middle of a job, and return what becomes of the job."""
    pid = await pid_of(pool)
    os.kill(pid, signal.SIGSTOP)
    work = asyncio.ensure_future(render(pool))
    async with asyncio.timeout(10):
        while not pool._at_work:  # noqa: ASYNC110 - the thread that takes the process notifies nobody
            await asyncio.sleep(0.01)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    return await work


@pytest.mark.parametrize(
    ("number", "reason", "why"),
    [
        (signal.SIGSEGV, "undecodable-frame", "crashed"),
        (signal.SIGABRT, "undecodable-frame", "crashed"),
        (signal.SIGXCPU, "too-costly", "cpu"),
    ],
)
def test_a_process_that_dies_over_a_job_costs_that_job_alone(number: signal.Signals, reason: str, why: str) -> None:
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
def test_a_process_that_died_while_idle_costs_no_job(number: signal.Signals) -> None:
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


def test_what_a_library_prints_is_part_of_no_answer() -> None:
    async def run() -> None:
        with sandbox() as pool:
            pid = await pid_of(pool)
            write_as(pid, STANDARD_OUTPUT, FORGED_ANSWER)
            shown = await render(pool)

            assert opened(shown).shape == (2, 3)
            assert pool._idle[0].pid == pid

    asyncio.run(run())


def test_a_process_that_wrote_unasked_is_replaced() -> None:
    async def run() -> None:
        with sandbox() as pool:
            pid = await pid_of(pool)
            write_as(pid, ANSWERS, FORGED_ANSWER)
            shown = await render(pool)

            assert opened(shown).shape == (2, 3)
            assert pool._idle[0].pid != pid

    asyncio.run(run())


def test_closing_waits_for_no_process_that_is_starting() -> None:
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


def test_a_process_that_cannot_start_is_unavailable_and_no_fault_of_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_closing_waits_for_no_process_that_hangs() -> None:
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


def test_when_too_many_jobs_wait_the_next_is_refused() -> None:
    async def run() -> list[Any]:
        with sandbox(queue=2) as pool:
            await pid_of(pool)
            works = [render(pool) for _ in range(20)]
            return await asyncio.gather(*works, return_exceptions=True)

    found = asyncio.run(run())
    refused = [one for one in found if isinstance(one, RendererBusy)]

    assert len(found) - len(refused) == 4
    assert all(isinstance(one, bytes) for one in found if one not in refused)


def test_a_caller_that_is_cancelled_costs_no_process() -> None:
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


async def pid_after_the_third(pool: Sandbox) -> int:
    await render(pool)
    return await pid_of(pool)


def test_a_process_is_replaced_after_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.connectors.sandbox.pool.JOBS_PER_PROCESS", 3)

    async def run() -> list[int]:
        with sandbox() as pool:
            return [await pid_of(pool), await pid_of(pool), await pid_after_the_third(pool)]

    first, second, third = asyncio.run(run())

    assert first == second != third

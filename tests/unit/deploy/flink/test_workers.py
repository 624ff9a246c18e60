"""A worker that died while its job is idle is missed, once the job had all its workers and Flink does not act itself."""

import os
import subprocess
import sys

import pytest

from deploy.flink.workers import BOOT, LOOKS, WorkerWatch, python_workers
from deploy.local.supervision import processes

SLEEPER = "import time; time.sleep(600)"


ALL, NONE, RESTARTING = (1, True), (0, True), (0, False)


@pytest.mark.parametrize(
    ("looks", "losses"),
    [
        ([NONE] * LOOKS, 1),
        ([ALL, *[NONE] * LOOKS], 1),
        ([ALL, *[NONE] * (LOOKS - 1)], 0),
        ([*[NONE] * (LOOKS - 1), RESTARTING, *[NONE] * (LOOKS - 1)], 0),
        ([*[NONE] * (LOOKS - 1), ALL, *[NONE] * (LOOKS - 1)], 0),
        ([ALL, (2, True), *[ALL] * LOOKS], 0),
        ([*[NONE] * LOOKS, ALL, *[NONE] * LOOKS], 2),
        ([*[NONE] * LOOKS, *[NONE] * LOOKS], 1),
        ([*[NONE] * LOOKS, *[NONE] * 2 * LOOKS, *[NONE] * 4 * LOOKS], 3),
    ],
)
def test_a_worker_that_several_looks_miss_is_lost_and_jobs_that_never_get_it_are_submitted_ever_more_slowly(
    looks: list[tuple[int, bool]], losses: int
) -> None:
    watch = WorkerWatch()
    found = [watch.is_lost(workers, 1, all_run=all_run) for workers, all_run in looks]

    assert found.count(True) == losses


def test_the_workers_below_a_process_are_found_by_their_command() -> None:
    commands = [[sys.executable, "-c", SLEEPER, BOOT.decode()], [sys.executable, "-c", SLEEPER]]
    # Stacks that run beside this test have workers of their own.
    others = python_workers(os.getpid())
    started = [subprocess.Popen(command) for command in commands]
    try:
        found = [worker for worker in python_workers(os.getpid()) if worker not in others]
        assert found == [processes.identify(started[0].pid)]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_process_that_has_ended_has_no_workers() -> None:
    assert python_workers(2**22 + 1) == ()

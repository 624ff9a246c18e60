"""Two faults at once while studies are being sent, chosen by a seed: nothing is lost, nothing doubled, all is settled.

    FLUORO_TEST_FAULTS=full FLUORO_TEST_SEED=7 FLUORO_TEST_PAIRS=6 .venv/bin/python -m pytest tests/faults/test_pairs.py

repeats the first six pairs of a seed. Without a seed each run chooses another one, and the table of the run names it.
"""

import os
import random
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from deploy.local.running import RunningStack, wait_until
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.recovery import standing_still, until_whole
from tests.support.kills.victims import KINDS, living
from tests.support.proof import Proof

SEED = int(os.environ.get("FLUORO_TEST_SEED") or random.randrange(10**6))
PAIRS = int(os.environ.get("FLUORO_TEST_PAIRS", "1"))
VICTIMS = ("gateway process", "web process", "jobs' JVM", "broker", "store", "database")
# How much later the second fault begins, and how long both last then.
AFTER_S, BOTH_S = 4.0, 12.0
WHOLE_S = 120.0


class Fault(Protocol):
    """What happens to a process for the length of a block."""

    def __call__(self, process: psutil.Process, /) -> AbstractContextManager[None]: ...


@contextmanager
def standing(process: psutil.Process) -> Iterator[None]:
    """Hold a process still for the block; whoever watches over it may put another in its place."""
    with suppress(psutil.NoSuchProcess), standing_still(process):
        yield


@contextmanager
def killed(process: psutil.Process) -> Iterator[None]:
    """Kill a process; nobody waits until another is in its place."""
    process.kill()
    yield


FAULTS: Mapping[str, Fault] = {"stands still": standing, "is killed": killed}


def pairs() -> list[tuple[str, str, str, str, int]]:
    """Return what happens to which process, what to which other one meanwhile, and the seed."""
    chance = random.Random(SEED)
    chosen = chance.sample([*permutations(VICTIMS, 2)], PAIRS)
    return [(one, chance.choice([*FAULTS]), other, chance.choice([*FAULTS]), SEED) for one, other in chosen]


def found(stack: RunningStack, kind: str) -> psutil.Process:
    """Return a process of a kind, once there is one."""
    wait_until(lambda: bool(living(KINDS[kind], stack)), WHOLE_S, f"there is no {kind}")
    return living(KINDS[kind], stack)[0]


@pytest.mark.fault("F27", "seed {seed}: the {one} {fault}, and the {other} {then}", full=True)
@pytest.mark.parametrize(("one", "fault", "other", "then", "seed"), pairs(), ids=map(str, range(PAIRS)))
def test_two_faults_at_once_lose_and_double_nothing(  # noqa: PLR0913, PLR0917 - what happens to whom
    one: str, fault: str, other: str, then: str, seed: int, proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    paths = files(Volume(studies=4, slices=INSTANCES // 4, size=64, seed=10**6 + seed), tmp_path / "sent")

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(proof.send, paths)
        with ExitStack() as faults:
            for victim, what, lasts_s in ((one, fault, AFTER_S), (other, then, BOTH_S)):
                faults.enter_context(FAULTS[what](found(proof.archive, victim)))
                time.sleep(lasts_s)
        with healing.timed():
            until_whole(proof, tmp_path, WHOLE_S)
        tally = sending.result()

    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}

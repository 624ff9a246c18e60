"""Work is paused so that its CPU time is at most its share of the time, whatever it waits for otherwise."""

import asyncio
from dataclasses import dataclass

import pytest

from pipelines.batch.verify.pace import LEAST_PAUSE_S, REMEMBERED_S, CpuPace


@dataclass
class Machine:
    """A machine in virtual time: work takes CPU time, waiting and sleeping do not."""

    cpu: float = 0.0
    clock: float = 0.0

    def pace(self, share: float) -> CpuPace:
        return CpuPace(share, lambda: self.cpu, lambda: self.clock, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def work(self, seconds: float) -> None:
        self.cpu += seconds
        self.clock += seconds

    def run(self, share: float, pieces: int, piece_s: float, wait_s: float = 0.0) -> float:
        """Return the part of the time that the work took, after these pieces with a wait before each."""

        async def worked() -> None:
            pace = self.pace(share)
            for _ in range(pieces):
                self.clock += wait_s
                self.work(piece_s)
                await pace.keep()

        began_cpu, began = self.cpu, self.clock
        asyncio.run(worked())
        return (self.cpu - began_cpu) / (self.clock - began)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("piece_s", [0.0001, 0.01, 0.5])
def test_the_work_takes_its_share_of_a_core(share: float, piece_s: float) -> None:
    # The first pieces may come before the first pause is worth its while.
    assert Machine().run(share, pieces=20_000, piece_s=piece_s) == pytest.approx(share, rel=0.1)


def test_work_that_waits_for_its_store_is_not_paused_besides() -> None:
    assert Machine().run(0.5, pieces=100, piece_s=0.01, wait_s=0.02) == pytest.approx(1 / 3)


def test_a_share_of_a_whole_core_makes_no_pause() -> None:
    assert Machine().run(1, pieces=100, piece_s=1.0) == 1


def test_unused_time_is_made_up_for_a_second_at_most() -> None:
    machine = Machine()
    pace = machine.pace(0.1)
    machine.clock += 3600
    asyncio.run(_worked(machine, pace, pieces=1000, piece_s=0.001))

    assert machine.clock - 3600 >= 1000 * 0.001 / 0.1 - REMEMBERED_S - LEAST_PAUSE_S


async def _worked(machine: Machine, pace: CpuPace, pieces: int, piece_s: float) -> None:
    for _ in range(pieces):
        machine.work(piece_s)
        await pace.keep()

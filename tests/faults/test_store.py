"""A store that is down, slow or full costs senders time, and nothing else."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, IS_FULL, Healing
from tests.support.faults.recovery import standing_still, until_whole
from tests.support.faults.senders import echo, send_one, stow_one
from tests.support.machine.running_stack import processes_of
from tests.support.proof import Proof

DOWN_S = 20 if IS_FULL else 12
ANSWERED_S, ECHOED_S, HEALED_S = 15.0, 2.0, 30.0


@pytest.mark.fault("F5", f"the store's process stands still for {DOWN_S} s")
def test_while_the_store_is_down_all_are_told_to_try_again(proof: Proof, tmp_path: Path, healing: Healing) -> None:
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=501), tmp_path / "sent")

    with ThreadPoolExecutor(3) as pool:
        with standing_still(processes_of(proof.archive, "minio")[0]):
            began = time.monotonic()
            sending = pool.submit(proof.send, paths)
            doors = [pool.submit(door, proof, seed) for seed, door in ((502, send_one), (503, stow_one))]
            echoed_s = [echo(proof.peer) for _ in range(5)]
            answers = [door.result() for door in doors]
            is_acknowledged = sending.done()
            time.sleep(max(began + DOWN_S - time.monotonic(), 0))
        with healing.timed():
            until_whole(proof, tmp_path, HEALED_S)
        tally = sending.result()

    assert [answer.status for answer in answers] == ["A700", str(httpx.codes.SERVICE_UNAVAILABLE)]
    assert max(answer.took_s for answer in answers) < ANSWERED_S
    assert max(echoed_s) < ECHOED_S
    assert not is_acknowledged
    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}

"""While the store or the broker stands still, both doors tell senders in time to try again; then everything is stored."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, IS_FULL, Healing
from tests.support.faults.reading import Reading
from tests.support.faults.recovery import standing_still, until_whole
from tests.support.faults.senders import WatchedLedger, echo, send_one, stow_one
from tests.support.machine.running_stack import processes_of
from tests.support.proof import Proof
from tests.support.senders.sender import send

DOWN_S = 20 if IS_FULL else 12
ANSWERED_S, ECHOED_S, HEALED_S = 15.0, 2.0, 30.0


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("minio", marks=pytest.mark.fault("F5", f"the store's process stands still for {DOWN_S} s")),
        pytest.param("kafka", marks=pytest.mark.fault("F10", f"the broker's process stands still for {DOWN_S} s")),
    ],
)
def test_while_a_server_is_down_both_doors_say_try_again_in_time(
    server: str, proof: Proof, tmp_path: Path, healing: Healing
) -> None:
    seed = {"minio": 500, "kafka": 510}[server]
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=seed), tmp_path / "sent")

    with ThreadPoolExecutor(3) as pool, WatchedLedger(proof.ledger.path) as ledger, Reading(proof.archive) as reading:
        sending = pool.submit(send, paths, proof.peer, ledger)
        ledger.wait_acked(INSTANCES // 5)
        with standing_still(processes_of(proof.archive, server)[0]):
            began = time.monotonic()
            doors = [pool.submit(door, proof, seed + 1 + number) for number, door in enumerate((send_one, stow_one))]
            echoed_s = [echo(proof.peer) for _ in range(5)]
            answers = [door.result() for door in doors]
            time.sleep(max(began + DOWN_S - time.monotonic(), 0))
            acked_meanwhile = ledger.acked_between(began + 1, began + DOWN_S)
        with healing.timed():
            until_whole(proof, tmp_path, HEALED_S)
        tally = sending.result()

    assert [answer.status for answer in answers] == ["A700", str(httpx.codes.SERVICE_UNAVAILABLE)]
    assert max(answer.took_s for answer in answers) < ANSWERED_S
    assert max(echoed_s) < ECHOED_S
    assert acked_meanwhile == 0
    # Queries need neither of them.
    assert set(reading.statuses) <= {httpx.codes.OK, httpx.codes.NO_CONTENT}
    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}

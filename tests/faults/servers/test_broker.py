"""What the broker has taken and acknowledges too late is sent again, and shown once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.proxy import WORKS, Fault
from tests.support.faults.recovery import until_whole
from tests.support.faults.senders import WatchedLedger
from tests.support.faults.servers.faulty_archive import FaultyArchive
from tests.support.senders.sender import send

# Later than a gateway waits for an acknowledgement.
LATE_S = 10.0
HEALED_S = 60.0


@pytest.mark.fault("F11", f"the broker's answers come {LATE_S:.0f} s late, then it is killed", full=True)
def test_events_that_are_acknowledged_too_late_are_shown_once(
    faulty: FaultyArchive, tmp_path: Path, healing: Healing
) -> None:
    proof = faulty.proof
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=620), tmp_path / "sent")

    with ThreadPoolExecutor(1) as pool, WatchedLedger(proof.ledger.path) as ledger:
        sending = pool.submit(send, paths, proof.peer, ledger)
        ledger.wait_acked(INSTANCES // 5)
        faulty.proxies["kafka"].fault = Fault(delay_s=LATE_S)
        wait_until(lambda: ledger.refused > 0, HEALED_S, "nothing is refused")
        proof.archive.kill("kafka")
        faulty.proxies["kafka"].fault = WORKS
        with healing.timed():
            until_whole(proof, tmp_path, HEALED_S)
        tally = sending.result()

    assert tally.statuses["A700"] > 0
    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}

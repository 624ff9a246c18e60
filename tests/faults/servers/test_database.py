"""Whatever becomes of the database, what is acknowledged comes to be shown, and readers hear 503 at worst."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from deploy.local.running import RunningStack
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import RECORD_REJECTED
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.reading import Reading
from tests.support.faults.recovery import until_whole
from tests.support.faults.senders import WatchedLedger
from tests.support.faults.servers import database
from tests.support.proof import Proof
from tests.support.senders.sender import send
from tests.support.servers.records import records

HEALED_S = 60.0
ANSWERS = {httpx.codes.OK, httpx.codes.NO_CONTENT, httpx.codes.SERVICE_UNAVAILABLE}
# What happens, its row of the matrix, how the table says it, and whether only a full run has it.
FAULTS: list[tuple[Callable[[RunningStack], None], str, str, bool]] = [
    (database.killed, "F14", "the database is killed", False),
    (database.restarted, "F14", "the database is restarted, which ends all sessions", True),
    (database.stormed, "F14", f"all sessions end, and others take every place for {database.STORM_S:.0f} s", True),
    (database.locked, "F15", f"a table is locked for {database.LOCKED_S:.0f} s", True),
    (database.deadlocked, "F15", "the catalog job's transaction is the victim of a deadlock", True),
    (database.unserializable, "F15", f"{database.FAILURES} transactions end with a serialization failure", True),
]


def rejected(proof: Proof) -> int:
    """Return how many records were rejected so far."""
    return sum(1 for _ in records(load(BrokerSettings, proof.archive.env), RECORD_REJECTED))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.fault(row, how, full=full), id=fault.__name__)
        for fault, row, how, full in FAULTS
    ],
)
def test_no_fault_of_the_database_loses_or_rejects_anything(
    fault: Callable[[RunningStack], None], proof: Proof, tmp_path: Path, healing: Healing
) -> None:
    seed = 530 + [one for one, *_ in FAULTS].index(fault)
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=seed), tmp_path / "sent")
    before = rejected(proof)

    with ThreadPoolExecutor(1) as pool, WatchedLedger(proof.ledger.path) as ledger, Reading(proof.archive) as reading:
        sending = pool.submit(send, paths, proof.peer, ledger)
        ledger.wait_acked(INSTANCES // 5)
        fault(proof.archive)
        with healing.timed():
            until_whole(proof, tmp_path, HEALED_S)
        tally = sending.result()

    # Nobody who sends needs the database. (pynetdicom may lose an answer that comes at once.)
    assert set(tally.statuses) <= {"0000", "lost"}
    assert tally.complete, tally
    assert set(reading.statuses) <= ANSWERS
    assert rejected(proof) == before
    assert healing.audited(proof.wrong()) == {}

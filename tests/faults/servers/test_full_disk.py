"""A full disk below the store refuses what is new, one below the catalog delays it; what is stored can be read."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from deploy.local.running import wait_until
from tests.support.data.generate import Instance, Volume, files, instances
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.reading import Reading
from tests.support.faults.recovery import is_found, until_whole
from tests.support.faults.senders import WatchedLedger, send_one, stow_one
from tests.support.faults.servers.database import session
from tests.support.faults.servers.faulty_archive import FaultyArchive
from tests.support.faults.small_disk import fill
from tests.support.proof import Proof
from tests.support.senders.sender import send

HEALED_S = 60.0
ANSWERS = {httpx.codes.OK, httpx.codes.NO_CONTENT, httpx.codes.SERVICE_UNAVAILABLE}
SHOWN = "SELECT count(*) FROM instance WHERE study_uid = ANY(%s)"


def study_url(proof: Proof, study_uid: str) -> str:
    return f"{proof.archive.api_url}/dicomweb/studies/{study_uid}"


def only(seed: int) -> Instance:
    (instance,) = instances(Volume(slices=1, size=64, seed=seed))
    return instance


@pytest.mark.fault("F8", "the disk below the store is full, a tmpfs", full=True)
def test_a_full_store_refuses_what_is_new_and_shows_what_it_has(
    faulty: FaultyArchive, tmp_path: Path, healing: Healing
) -> None:
    proof = faulty.proof
    earlier = files(Volume(slices=10, size=64, seed=600), tmp_path / "earlier")
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=601), tmp_path / "sent")
    known = study_url(proof, earlier[0].parent.name)
    assert proof.send(earlier).complete
    wait_until(lambda: is_found(known + "/instances"), HEALED_S, "what was sent before is not found")

    with ThreadPoolExecutor(1) as pool, WatchedLedger(proof.ledger.path) as ledger:
        filler = fill(faulty.disks["minio"])
        sending = pool.submit(send, paths, proof.peer, ledger)
        answers = [send_one(proof, 602), stow_one(proof, 603)]
        acked = ledger.acked_between(0, float("inf"))
        read = httpx.get(known, headers={"Accept": 'multipart/related; type="application/dicom"'}, timeout=HEALED_S)
        shown = [is_found(study_url(proof, only(seed).study_uid) + "/instances") for seed in (602, 603)]
        filler.unlink()
        with healing.timed():
            until_whole(proof, tmp_path, HEALED_S)
        tally = sending.result()

    assert [answer.status for answer in answers] == ["A700", str(httpx.codes.SERVICE_UNAVAILABLE)]
    assert acked == 0
    assert read.status_code == httpx.codes.OK
    assert not any(shown)
    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}


@pytest.mark.fault("F16", "the disk below the catalog's tables is full, a tablespace on a tmpfs", full=True)
def test_with_a_full_catalog_everything_is_acknowledged_and_shown_once_there_is_room(
    faulty: FaultyArchive, tmp_path: Path, healing: Healing
) -> None:
    proof = faulty.proof
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=610), tmp_path / "sent")
    studies = sorted({path.parent.name for path in paths})

    with Reading(proof.archive) as reading, session(proof.archive, "writer") as catalog:
        filler = fill(faulty.disks["postgres"])
        tally = proof.send(paths)
        ((shown,),) = catalog.execute(SHOWN, [studies]).fetchall()
        filler.unlink()
        with healing.timed():
            until_whole(proof, tmp_path, HEALED_S)

    # Nobody who sends needs the database. (pynetdicom may lose an answer that comes at once.)
    assert set(tally.statuses) <= {"0000", "lost"}
    assert tally.complete, tally
    assert shown < INSTANCES
    assert set(reading.statuses) <= ANSWERS
    assert healing.audited(proof.wrong()) == {}

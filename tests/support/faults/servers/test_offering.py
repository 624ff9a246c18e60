"""What modalities offer is stored in the end, each instance once, whatever the archive answers meanwhile."""

from io import BytesIO
from itertools import islice
from pathlib import Path

from pydicom import dcmread

from operators.connectors.memory.stores import Outage
from tests.audit.ledger import Ledger, read
from tests.support.faults.servers.offering import SLICES, Offering, instances_of
from tests.support.senders.sender import Peer
from tests.support.worlds.gateway import gateway_in
from tests.support.worlds.running_gateway import running, wait_for


def test_offered_instances_are_valid_files_of_one_study_after_the_other() -> None:
    every = list(islice(instances_of(1), SLICES + 1))
    last = dcmread(BytesIO(b"".join((every[-1].meta, *every[-1].parts))))

    assert len({one.sop_uid for one in every}) == SLICES + 1
    assert [len({one.study_uid for one in part}) for part in (every[:SLICES], every)] == [1, 2]
    assert (last.StudyInstanceUID, last.SeriesInstanceUID) == (every[-1].study_uid, every[-1].series_uid)
    assert (last.SOPInstanceUID, last.file_meta.MediaStorageSOPInstanceUID) == (every[-1].sop_uid, every[-1].sop_uid)


def test_what_is_refused_is_offered_again_until_it_is_stored(tmp_path: Path) -> None:
    with (
        running(gateway_in(tmp_path)) as gateway,
        Ledger(tmp_path / "sent.jsonl") as ledger,
        Offering(Peer(gateway.port), ledger, 200.0, seed=1) as offering,
    ):
        wait_for(lambda: offering.acked > 20)
        gateway.store.outage = Outage.REFUSES
        wait_for(lambda: offering.refused > 20)
        gateway.store.outage = Outage.NONE

    stored = [event.sop_uid for event in gateway.stored]
    acked = {one.sop_uid for one in read(ledger.path) if one.state == "acked"}
    assert {one.sop_uid for one in offering.offered} == acked == set(stored)

"""Every study is verified once, those too of which the store has nothing, and what an event repairs is published again."""

import asyncio
import pickle
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import apache_beam as beam
import httpx
import pytest

from operators.connectors.memory.stores import MemoryEventLog, Outage, StoredBytes
from operators.errors import Unavailable
from operators.store.commands import COMMANDS
from pipelines.batch.journal import Finished, JournalReader
from pipelines.batch.running import BatchPlan, CountingJournal, Shift, build
from pipelines.batch.selection import Selection
from pipelines.batch.verify.findings import VerificationReport
from pipelines.batch.verify.work import Verify, VerifyServers, open_verify_servers
from pipelines.batch.walk import WHOLE, Share
from schemas.events import InstanceStored
from schemas.objects import Bucket
from schemas.settings.servers import CatalogSettings, StoreSettings
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND
from tests.support.verified_world import FILES, STUDY, VerifiedWorld
from tests.support.worlds.catalog_histories import command, record
from tests.support.worlds.reading import cataloged, part10

OTHER = part10(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", SOPInstanceUID="1.9.1.1")


@dataclass
class Archive:
    """An archive of two studies, and the run of a verification."""

    folder: Path
    verified: VerifiedWorld = field(default_factory=VerifiedWorld)
    log: MemoryEventLog | None = None

    def __post_init__(self) -> None:
        if not self.verified.catalog.studies("local", STUDY, 1):
            asyncio.run(self.verified.world.add(OTHER))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[VerifyServers]:
        """Yield the servers in memory."""
        yield VerifyServers(self.verified.world.objects, self.verified.catalog, self.log)

    def run(self, selection: Selection = Selection(), share: Share = WHOLE) -> VerificationReport:  # noqa: B008
        """Verify a share; return the report of all shares until now."""
        with CountingJournal(self.folder) as journal:
            shift = Shift(selection, share, journal.finished, journal)
            asyncio.run(Verify(self.opened, cpu_share=1, grace_s=0)(shift))
        return VerificationReport.of(JournalReader(self.folder).read())

    def prefixes(self) -> list[str]:
        """Return the prefix of each study in the journal."""
        entries = JournalReader(self.folder).read()
        return sorted(one.prefix for one in entries if isinstance(one, Finished) and "studies" in one.counts)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def test_every_study_is_verified_once_by_one_of_the_shares(archive: Archive) -> None:
    for share in range(3):
        report = archive.run(share=(share, 3))

    assert (report.is_clean, report.counts["objects"]) == (True, 4)
    assert archive.prefixes() == ["local/1.2.3/", "local/1.9/"]


def test_what_lies_beside_the_studies_is_verified_and_told_in_the_same_report(archive: Archive) -> None:
    archive.verified.objects[Bucket.QUARANTINE, "local/x"] = StoredBytes(b"x", {})

    report = archive.run()
    assert (report.counts["beside_studies"], report.is_clean) == (1, False)
    assert report.findings == [{"kind": "orphan", "tier": "quarantine", "key": "local/x"}]


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), ["local/1.2.3/", "local/1.9/"]),
        (Selection(study_uid="1.9"), ["local/1.9/"]),
        (Selection(study_uid="1.2.3"), ["local/1.2.3/"]),
        (Selection(tenant="other"), []),
    ],
)
def test_a_study_of_which_the_store_has_nothing_is_missed(
    archive: Archive, selection: Selection, found: list[str]
) -> None:
    for place in [place for place in archive.verified.objects if "/1.9/" in place[1]]:
        del archive.verified.objects[place]
    report = archive.run(selection)

    assert archive.prefixes() == found
    assert [one["kind"] for one in report.findings] == (["missing"] if "local/1.9/" in found else [])


def test_a_run_goes_on_where_it_was_stopped(archive: Archive) -> None:
    archive.run(Selection(study_uid="1.9"))
    archive.run()

    assert archive.prefixes() == ["local/1.2.3/", "local/1.9/"]


def test_a_server_that_is_away_stops_the_work(archive: Archive) -> None:
    archive.verified.catalog.outage = Outage.REFUSES

    with pytest.raises(Unavailable):
        archive.run()


def test_what_has_no_row_is_left_alone_unless_a_repair_is_asked_for(archive: Archive) -> None:
    archive.verified.lose_row()
    report = archive.run()

    assert [one["kind"] for one in report.findings] == ["unindexed"]
    assert not report.is_clean


def test_a_repair_publishes_the_event_of_the_object_as_it_was(archive: Archive) -> None:
    key = archive.verified.key()
    archive.verified.lose_row()
    archive.log = MemoryEventLog()
    report = archive.run()

    (event,) = archive.log.events(INSTANCE_STORED)
    (row,) = [one for one in report.findings if one["kind"] == "unindexed"]
    assert isinstance(event, InstanceStored)
    assert (event.object_key, row["repair"]) == (key, "published")
    assert report.is_clean


def test_what_a_repair_publishes_is_the_row_again(archive: Archive, tmp_path: Path) -> None:
    archive.verified.lose_row()
    archive.log = MemoryEventLog()
    archive.run()
    cataloged(archive.verified.world.catalog, [record(one) for one in archive.log.events(INSTANCE_STORED)])

    assert frame(archive).status_code == 200
    assert replace(archive, folder=Path(tempfile.mkdtemp(dir=tmp_path)), log=None).run().findings == []


def test_altered_bytes_of_a_store_that_does_not_notice_are_served_only_until_they_are_verified(
    archive: Archive,
) -> None:
    archive.verified.alter()
    assert frame(archive).status_code == 200

    archive.run()
    refused = frame(archive)
    assert (refused.status_code, refused.json()["reason"]) == (500, "object-marked")

    archive.verified.change(data=FILES[0], modified_at=archive.verified.now)
    assert frame(archive).status_code == 200


def frame(archive: Archive) -> httpx.Response:
    """Return the answer to the first frame of the first instance."""
    uids = "studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    return asyncio.run(archive.verified.world.get(f"/dicomweb/{uids}/frames/1", accept=accept))


def test_a_command_without_a_row_is_published_again(archive: Archive) -> None:
    held = command("hold", study=STUDY.study_uid)
    asyncio.run(archive.verified.world.objects.put(Bucket.HOT, COMMANDS.upload_of(held)))
    archive.log = MemoryEventLog()

    assert archive.run().is_clean
    assert archive.log.events(STUDY_COMMAND) == [held]


def test_damage_is_not_repaired_by_an_event(archive: Archive) -> None:
    archive.verified.alter()
    archive.log = MemoryEventLog()

    assert not archive.run().is_clean
    assert archive.log.records == {}


def test_the_work_is_sent_to_workers_and_translates_to_beams_portable_form(tmp_path: Path) -> None:
    work = Verify(partial(open_verify_servers, StoreSettings(), CatalogSettings(), None), 0.1, 600)
    pipeline = beam.Pipeline()
    build(pipeline, BatchPlan("verify", work, Selection(), tmp_path))

    assert pickle.loads(pickle.dumps(work)).limits == work.limits  # noqa: S301 - its own
    names = {transform.unique_name for transform in pipeline.to_runner_api().components.transforms.values()}
    assert "verify" in names

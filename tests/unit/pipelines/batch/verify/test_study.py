"""A study is verified by reading its objects: what is wrong is found, damage is marked, and what has healed is not."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from operators.connectors.memory.stores import MemoryObjectStore, Outage, StoredBytes
from operators.errors import Unavailable
from operators.store.commands import COMMANDS
from operators.store.ports import StoredObject
from pipelines.batch.verify.copies import CopyReader
from pipelines.batch.verify.pace import CpuPace
from pipelines.batch.verify.study import StudyVerifier
from schemas.objects import Bucket
from tests.support.verified_world import AT, FILES, FOLDER, STUDY, VerifiedWorld
from tests.support.worlds.catalog_histories import command, numbered, run


def test_nothing_is_wrong_with_a_study_as_it_was_stored() -> None:
    verified = VerifiedWorld().verified()

    assert (verified.objects, verified.size_bytes) == (3, sum(map(len, FILES)))
    assert (verified.findings, verified.marked, verified.unmarked) == ((), 0, 0)


def lose(archive: VerifiedWorld) -> None:
    del archive.objects[Bucket.HOT, archive.key()]


def lose_and_copy(archive: VerifiedWorld) -> None:
    archive.copy(Bucket.COLD)
    lose(archive)


def alter_and_copy(archive: VerifiedWorld) -> None:
    archive.copy(Bucket.WARM)
    archive.alter()


def add_foreign(archive: VerifiedWorld) -> None:
    archive.objects[Bucket.HOT, "local/1.2.3/note9.txt"] = StoredBytes(b"x", {})


def give_command(archive: VerifiedWorld) -> None:
    upload = COMMANDS.upload_of(command("hold", study=STUDY.study_uid))
    archive.objects[Bucket.HOT, upload.key] = StoredBytes(
        b"".join(upload.parts), {}, modified_at=AT - timedelta(days=1)
    )


def lose_command(archive: VerifiedWorld) -> None:
    run(archive.world.catalog, [numbered([command("hold", study=STUDY.study_uid)], "local")], shard=0)


@pytest.mark.parametrize(
    ("trouble", "kind", "copy"),
    [
        (lose, "missing", ""),
        (lose_and_copy, "missing", "cold"),
        (VerifiedWorld.alter, "hash", ""),
        (alter_and_copy, "hash", "warm"),
        (lambda archive: archive.change(readable_bytes=100), "hash", ""),
        (lambda archive: archive.change(data=FILES[0][:-4]), "size", ""),
        (lambda archive: archive.change(metadata={}), "envelope", ""),
        (lambda archive: archive.change(data=b"x" * len(FILES[0]), metadata={}), "hash", ""),
        (lambda archive: archive.change_row(prefix_hash="0" * 64), "stale", ""),
        (VerifiedWorld.lose_row, "unindexed", ""),
        (add_foreign, "orphan", ""),
        (give_command, "unindexed", ""),
        (lose_command, "missing", ""),
    ],
)
def test_what_is_wrong_is_found_by_its_name(trouble: Callable[[VerifiedWorld], None], kind: str, copy: str) -> None:
    archive = VerifiedWorld()
    trouble(archive)

    assert [(one.kind, one.copy) for one in archive.verified().findings] == [(kind, copy)]


def test_an_object_without_its_row_is_wrong_only_after_a_while() -> None:
    archive = VerifiedWorld(now=AT - timedelta(days=1) + timedelta(seconds=599))
    archive.lose_row()

    assert archive.verified().findings == ()


def test_what_is_damaged_is_marked_as_it_is_there_now() -> None:
    archive = VerifiedWorld()
    archive.alter()
    verified = archive.verified()

    (mark,) = archive.catalog.marks(STUDY)
    assert verified.marked == 1
    assert (mark.object_key, mark.tier, mark.reason) == (archive.key(), "hot", "hash")
    assert (mark.modified_at, mark.found_at) == (AT - timedelta(days=1), AT)


@pytest.mark.parametrize(
    "heal", [lambda archive: archive.change(data=FILES[0]), lose], ids=["it can be read again", "it is gone"]
)
def test_the_mark_of_what_is_damaged_no_more_is_removed(heal: Callable[[VerifiedWorld], None]) -> None:
    archive = VerifiedWorld()
    archive.alter()
    archive.verified()
    heal(archive)

    assert archive.verified().unmarked == 1
    assert archive.catalog.marks(STUDY) == ()


@dataclass
class ChangesOnce(MemoryObjectStore):
    """A store in which something happens once an object was looked up."""

    change: Callable[[], None] = lambda: None

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        """Return what the object was before the change."""
        found = await super().head(bucket, key)
        change, self.change = self.change, lambda: None
        change()
        return found


def verified_while(archive: VerifiedWorld, change: Callable[[], None]) -> tuple[object, ...]:
    store = ChangesOnce(objects=archive.objects, change=change)
    copies = CopyReader(store, CpuPace(1), lambda: archive.now, grace_s=600)
    return asyncio.run(StudyVerifier(copies, archive.catalog).verify(FOLDER)).findings


def test_an_object_that_moves_meanwhile_is_not_wrong() -> None:
    archive = VerifiedWorld()
    last = archive.key(3)

    def move() -> None:
        archive.objects[Bucket.COLD, last] = archive.objects.pop((Bucket.HOT, last))
        archive.change_row(3, tier="cold")

    assert verified_while(archive, move) == ()


def test_a_row_that_is_written_meanwhile_is_not_missed() -> None:
    archive = VerifiedWorld()
    row = archive.world.catalog.tables.instances[*STUDY, "1.2.3.1.2"]
    archive.lose_row(2)

    assert verified_while(archive, lambda: archive.world.catalog.tables.put_instances([row], [], [])) == ()


@pytest.mark.parametrize("server", ["store", "catalog"])
def test_servers_that_are_away_stop_it(server: str) -> None:
    archive = VerifiedWorld()
    failing = {"store": archive.world.objects, "catalog": archive.catalog}[server]
    failing.outage = Outage.REFUSES

    with pytest.raises(Unavailable):
        archive.verified()


def test_a_damaged_object_of_a_store_that_ails_as_a_whole_is_not_marked() -> None:
    archive = VerifiedWorld()
    archive.change(readable_bytes=0)
    store = ChangesOnce(objects=archive.objects)
    store.change = lambda: setattr(store, "outage", Outage.REFUSES)
    verifier = StudyVerifier(CopyReader(store, CpuPace(1), lambda: AT, grace_s=600), archive.catalog)

    with pytest.raises(Unavailable):
        asyncio.run(verifier.verify(replace(FOLDER, tiers=(Bucket.HOT,))))
    assert archive.catalog.marks(STUDY) == ()

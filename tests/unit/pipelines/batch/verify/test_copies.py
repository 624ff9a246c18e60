"""An object is what its bytes are, whatever the store says of it, and what it should be is what its key and envelope say."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from operators.connectors.memory.stores import StoredBytes
from operators.integrity.comparison import UNDESCRIBED, ContentBytes, StoredCopy
from operators.store.commands import COMMANDS
from pipelines.batch.verify.copies import Place
from schemas.objects import Bucket
from tests.support.verified_world import AT, FILES, STUDY, VerifiedWorld
from tests.support.worlds.catalog_histories import command

HELD = command("hold", study=STUDY.study_uid)


def read(archive: VerifiedWorld, key: str = "", bucket: Bucket = Bucket.HOT) -> list[StoredCopy]:
    """Return what is read at a key, by default that of the first instance."""
    return asyncio.run(archive.verifier.copies.read_all([Place(bucket, key or archive.key())]))


def as_stored(archive: VerifiedWorld) -> ContentBytes:
    row = archive.world.catalog.tables.instances[*STUDY, "1.2.3.1.1"]
    return ContentBytes(len(FILES[0]), row.prefix_hash, row.data_hash)


def test_a_whole_object_is_what_its_envelope_says() -> None:
    archive = VerifiedWorld()
    good = as_stored(archive)

    assert read(archive) == [StoredCopy(archive.key(), "hot", good, good, modified_at=AT - timedelta(days=1))]


def test_an_object_that_is_gone_is_none() -> None:
    assert read(VerifiedWorld(), bucket=Bucket.COLD) == []


def test_an_object_without_its_envelope_is_read_as_its_file_meta_says() -> None:
    archive = VerifiedWorld()
    archive.change(metadata={})

    assert [(one.said, one.read) for one in read(archive)] == [(None, as_stored(archive))]


@pytest.mark.parametrize(
    "change",
    [
        lambda archive: archive.change(readable_bytes=0),
        lambda archive: archive.change(readable_bytes=300),
        lambda archive: archive.change(data=b"no DICOM file", metadata={}),
    ],
)
def test_what_cannot_be_read_as_an_instance_has_no_content(change: Callable[[VerifiedWorld], None]) -> None:
    archive = VerifiedWorld()
    change(archive)

    assert [one.read for one in read(archive)] == [None]


@pytest.mark.parametrize("first_bytes", [1, 300, len(FILES[0])])
def test_an_object_longer_than_what_is_fetched_at_first_is_read_whole(
    monkeypatch: pytest.MonkeyPatch, first_bytes: int
) -> None:
    monkeypatch.setattr("pipelines.batch.verify.copies.FIRST_BYTES", first_bytes)
    archive = VerifiedWorld()

    assert [one.read for one in read(archive)] == [as_stored(archive)]


@pytest.mark.parametrize(("data", "read_as"), [(COMMANDS.document(HELD), UNDESCRIBED), (b"{}", None)])
def test_a_command_is_there_or_cannot_be_read(data: bytes, read_as: ContentBytes | None) -> None:
    archive = VerifiedWorld()
    key = COMMANDS.key_of(HELD)
    archive.objects[Bucket.HOT, key] = StoredBytes(data, {})

    assert [(one.said, one.read) for one in read(archive, key)] == [(read_as, read_as)]

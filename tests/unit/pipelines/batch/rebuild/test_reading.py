"""An instance's event is the same, whether all of its object is read or only what the event needs."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operators.connectors.memory.stores import MemoryObjectStore, StoredBytes
from operators.dicom.instance import data_hasher, examine, prefix_hash
from operators.dicom.part10 import split_part10
from operators.errors import Rejected, Unavailable, Unreadable
from operators.rebuild.instances import stored_event
from operators.store.ports import StoredObject
from pipelines.batch.rebuild.reading import HEAD_BYTES, InstanceReader
from schemas.events import InstanceStored
from schemas.objects import Bucket, Identity
from tests.support.data.elements import element
from tests.support.data.generate import Volume, instances
from tests.support.data.small_instances import corpus_files
from tests.support.worlds.intake import envelope_of

TAKEN_AT = datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC)
SLICE = next(iter(instances(Volume(slices=1))))
FILE = SLICE.meta + b"".join(SLICE.parts)


@dataclass
class CountingStore(MemoryObjectStore):
    """A store that counts the bytes it gives."""

    given: int = 0

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            self.given += len(chunk)
            yield chunk


def stored(whole: bytes, store: MemoryObjectStore) -> InstanceStored:
    """Put a Part 10 file into the cold tier; return its event, made from all of its bytes."""
    meta = split_part10(whole)
    data_set = memoryview(whole)[meta.prefix_length :]
    examined = examine(data_set, meta.transfer_syntax, meta.prefix_length)
    hasher = data_hasher(meta.transfer_syntax)
    hasher.update(data_set)
    identity = Identity("local", examined.study_uid, examined.series_uid, examined.sop_uid, hasher.hexdigest())
    envelope = envelope_of(
        "transfer-1",
        transfer_syntax=meta.transfer_syntax,
        prefix_length=meta.prefix_length,
        prefix_hash=prefix_hash(whole[: meta.prefix_length]),
        header_length=examined.header_length,
    )
    store.objects[Bucket.COLD, identity.key] = StoredBytes(whole, envelope.to_metadata(), modified_at=TAKEN_AT)
    return stored_event(identity, examined, StoredObject(identity.key, len(whole), envelope, "", TAKEN_AT))


def event_of(store: MemoryObjectStore, key: str) -> InstanceStored:
    return asyncio.run(InstanceReader(store).event(key, (Bucket.HOT, Bucket.COLD)))


def test_every_file_of_the_corpus_has_the_event_of_all_its_bytes(corpus: Path) -> None:
    compared = 0
    for _, whole in corpus_files(corpus):
        store = MemoryObjectStore()
        try:
            event = stored(whole, store)
        except Rejected:
            continue
        assert event_of(store, event.object_key) == event
        compared += 1

    assert compared > 500


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        element(0xFFFCFFFC, "OB", bytes(20)),
        b"no element, " * 3000,
    ],
)
def test_of_native_pixels_no_samples_are_read_but_what_is_behind_them(tail: bytes) -> None:
    store = CountingStore()
    event = stored(FILE + tail, store)

    assert event.frames.kind == "native"
    assert event_of(store, event.object_key) == event
    assert store.given == HEAD_BYTES + len(tail)


def test_a_header_that_is_longer_than_the_first_request_is_read_to_its_end() -> None:
    private = element(0x00091010, "UN", bytes(3 * HEAD_BYTES))
    at = FILE.index(b"\x10\x00\x10\x00PN")
    store = CountingStore()
    event = stored(FILE[:at] + private + FILE[at:], store)

    assert event_of(store, event.object_key) == event
    assert 3 * HEAD_BYTES < store.given < 4 * HEAD_BYTES


def key_and_store() -> tuple[str, MemoryObjectStore]:
    store = MemoryObjectStore()
    return stored(FILE, store).object_key, store


def test_an_object_under_another_instances_key_has_no_event() -> None:
    key, store = key_and_store()
    other = key.replace("/", "/1.", 1)
    store.objects[Bucket.HOT, other] = store.objects[Bucket.COLD, key]

    with pytest.raises(Rejected, match="other-instance"):
        event_of(store, other)


def test_an_object_with_another_prefix_than_its_envelope_says_has_no_event() -> None:
    key, store = key_and_store()
    held = store.objects[Bucket.COLD, key]
    store.objects[Bucket.COLD, key] = replace(held, data=b"x" + held.data[1:])

    with pytest.raises(Rejected, match="prefix-altered"):
        event_of(store, key)


@pytest.mark.parametrize("bulk", [b"", bytes(40_000)], ids=["of the first request", "of several requests"])
def test_an_object_that_was_read_whole_has_no_event_under_the_key_of_other_content(bulk: bytes) -> None:
    at = FILE.index(b"\x10\x00\x10\x00PN")
    end = FILE.index(b"\xe0\x7f\x10\x00")
    store = MemoryObjectStore()
    key = stored(FILE[:at] + element(0x00091010, "UN", bulk) + FILE[at:end], store).object_key
    other = f"{key[:-68]}{'0' * 64}.dcm"
    store.objects[Bucket.COLD, other] = store.objects[Bucket.COLD, key]

    with pytest.raises(Rejected, match="data-altered"):
        event_of(store, other)


@pytest.mark.parametrize(("key", "reason"), [("local/1.2/readme.txt", "foreign-key"), ("local/x", "foreign-key")])
def test_a_key_of_no_instance_has_no_event(key: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        event_of(MemoryObjectStore(), key)


@pytest.mark.parametrize("how", ["empty", "no metadata"])
def test_a_damaged_object_has_no_event(how: str) -> None:
    key, store = key_and_store()
    store.damage(Bucket.COLD, key, how)

    with pytest.raises(Rejected):
        event_of(store, key)


@pytest.mark.parametrize("how", ["unreadable", "broken off"])
def test_an_object_that_the_store_cannot_give_is_unreadable(how: str) -> None:
    key, store = key_and_store()
    held = store.objects[Bucket.COLD, key]
    store.objects[Bucket.COLD, key] = replace(held, readable_bytes={"unreadable": 0, "broken off": 100}[how])

    with pytest.raises(Unreadable):
        event_of(store, key)


def test_a_disk_that_takes_no_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, store = key_and_store()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(Unavailable, match="gone: No such file or directory"):
        event_of(store, key)

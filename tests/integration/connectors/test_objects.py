"""The contract of the object store's port, tested on the real store and on its memory twin."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.running import RunningStack
from operators.connectors.memory.stores import MemoryObjectStore, Outage
from operators.connectors.s3.store import S3ObjectStore
from operators.errors import Unavailable, Unreadable
from operators.store.checksum import crc32c_of
from operators.store.ports import NoEnvelope, ObjectStore, OtherSize, PlainUpload, Upload
from schemas.objects import Bucket
from schemas.settings.reading import load
from schemas.settings.servers import StoreSettings
from tests.support.machine.damaged_disk import DAMAGES, damage, damage_metadata
from tests.support.servers.faulty_servers import listening
from tests.support.worlds.intake import envelope_of

Opened = Callable[[], AsyncIterator[ObjectStore]]
Test = Callable[[ObjectStore], Awaitable[None]]
Run = Callable[[Test], None]

HOT_NAME = f"{StoreSettings.bucket_prefix}{Bucket.HOT}"
STORED = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
ENVELOPE = envelope_of("3f1c", stored_at=STORED, received_at=STORED, calling_ae="CT 1 % é")


@asynccontextmanager
async def in_memory() -> AsyncIterator[ObjectStore]:
    yield MemoryObjectStore()


@pytest.fixture(params=["memory", "s3"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return a function that runs a test on each store; tests use new keys, for the real store keeps its objects."""
    if request.param == "memory":
        opened = in_memory
    else:
        settings = load(StoreSettings, request.getfixturevalue("stack").env)

        @asynccontextmanager
        async def opened() -> AsyncIterator[ObjectStore]:
            async with S3ObjectStore(settings) as store:
                for bucket in Bucket:
                    await store.make_bucket(bucket)
                yield store

    async def inside(test: Test) -> None:
        async with opened() as store:
            await test(store)

    return lambda test: asyncio.run(inside(test))


def upload(data: bytes, name: str = "1.dcm", folder: str | None = None) -> Upload:
    key = f"local/{folder or os.urandom(8).hex()}/{name}"
    return Upload(key, (data[:7], bytearray(data[7:9]), memoryview(data)[9:]), len(data), crc32c_of(data), ENVELOPE)


async def put_without_metadata(store: ObjectStore, sent: Upload) -> None:
    """Store an object as a tool that copies bytes alone would."""
    if isinstance(store, MemoryObjectStore):
        await store.put(Bucket.HOT, sent)
        store.damage(Bucket.HOT, sent.key, "no metadata")
        return
    assert isinstance(store, S3ObjectStore)
    headers = {"content-length": str(sent.size_bytes)}
    path = store._path(Bucket.HOT, sent.key)
    async with store._request("PUT", path, headers=headers, body=b"".join(sent.parts)) as response:
        assert response.status == 200


async def whole(store: ObjectStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.read(Bucket.HOT, key, start, end)])


@pytest.mark.parametrize("size_bytes", [0, 1, 100, 600_000, 5_000_000])
def test_an_object_is_read_back_with_its_envelope(run: Run, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    sent = upload(data)

    async def test(store: ObjectStore) -> None:
        assert await store.put(Bucket.HOT, sent)
        found = await store.head(Bucket.HOT, sent.key)
        assert found is not None
        assert (found.key, found.size_bytes, found.envelope) == (sent.key, size_bytes, ENVELOPE)
        assert await whole(store, sent.key) == data

    run(test)


def test_the_store_tells_to_the_second_when_it_took_an_object_and_when_its_replacement(run: Run) -> None:
    sent = upload(b"0123456789")

    async def taken_at(store: ObjectStore, asked: datetime) -> tuple[datetime, str]:
        found = await store.head(Bucket.HOT, sent.key)
        assert found is not None
        assert found.modified_at is not None
        assert found.modified_at.microsecond == 0
        # Each of the two dates may be a second off.
        assert asked - timedelta(seconds=2) < found.modified_at < store.now() + timedelta(seconds=1)
        return found.modified_at, found.etag

    async def test(store: ObjectStore) -> None:
        await store.learn_time()
        asked = store.now()
        await store.put(Bucket.HOT, sent)
        first, etag = await taken_at(store, asked)
        while store.now() < first + timedelta(seconds=2):
            await store.check()
        asked = store.now()
        assert await store.replace(Bucket.HOT, sent, etag)
        again, _ = await taken_at(store, asked)
        assert again > first

    run(test)


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 100), (40, 60), (99, 120)])
def test_an_object_of_another_size_than_is_said_is_not_read(run: Run, start: int, end: int | None) -> None:
    sent = upload(os.urandom(100))

    async def read(store: ObjectStore, size_bytes: int) -> bytes:
        chunks = store.read(Bucket.HOT, sent.key, start, end, size_bytes=size_bytes)
        return b"".join([chunk async for chunk in chunks])

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, sent)
        assert await read(store, 100) == b"".join(sent.parts)[start:end]
        for said in (99, 101):
            with pytest.raises(OtherSize) as raised:
                await read(store, said)
            assert raised.value.size_bytes == 100

    run(test)


def test_a_key_is_written_once(run: Run) -> None:
    first = upload(b"the first content")
    second = replace(upload(b"another content"), key=first.key)

    async def test(store: ObjectStore) -> None:
        assert await store.put(Bucket.HOT, first)
        assert not await store.put(Bucket.HOT, second)
        assert await whole(store, first.key) == b"the first content"

    run(test)


async def tag_of(store: ObjectStore, key: str) -> str:
    found = await store.head(Bucket.HOT, key)
    assert found is not None
    return found.etag


def test_only_the_version_that_was_looked_at_is_replaced(run: Run) -> None:
    first = upload(b"the first content")
    second, third = (replace(upload(data), key=first.key) for data in (b"the second content", b"the third content"))

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, first)
        tag = await tag_of(store, first.key)
        assert await store.replace(Bucket.HOT, second, tag)
        assert not await store.replace(Bucket.HOT, third, tag)
        assert await whole(store, first.key) == b"the second content"

    run(test)


def test_an_absent_object_is_not_replaced(run: Run) -> None:
    sent = upload(b"some content")

    async def test(store: ObjectStore) -> None:
        assert not await store.replace(Bucket.HOT, sent, '"00000000000000000000000000000000"')
        assert await store.head(Bucket.HOT, sent.key) is None

    run(test)


def test_a_replacement_with_a_wrong_checksum_changes_nothing(run: Run) -> None:
    first = upload(b"the first content")
    second = replace(upload(b"the second content"), key=first.key, crc32c=first.crc32c)

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, first)
        with pytest.raises(Unavailable):
            await store.replace(Bucket.HOT, second, await tag_of(store, first.key))
        assert await whole(store, first.key) == b"the first content"

    run(test)


def test_one_of_many_that_replace_a_version_wins(run: Run) -> None:
    first = upload(b"the first content")
    others = [replace(upload(os.urandom(50_000)), key=first.key) for _ in range(8)]

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, first)
        tag = await tag_of(store, first.key)
        replaced = (store.replace(Bucket.HOT, other, tag) for other in others)
        won = await asyncio.gather(*replaced, return_exceptions=True)
        assert [result for result in won if result is True] == [True]

    run(test)


Damage = Callable[[str, str], None]
# A large object has a file of its own on MinIO's disk, a small one lies within its metadata.
SIZES = [20_000, 3_000_000]


@pytest.fixture
def stored_in(request: pytest.FixtureRequest, run: Run) -> tuple[Run, Callable[[ObjectStore], Damage]]:
    """Return `run`, and a function that returns the function that damages an object of a store."""

    def damaging(store: ObjectStore) -> Damage:
        if isinstance(store, MemoryObjectStore):
            return lambda key, how: store.damage(Bucket.HOT, key, {"altered": "broken off"}.get(how, "unreadable"))
        folder = request.getfixturevalue("stack").folder.root / "minio"
        return lambda key, how: damage(folder, HOT_NAME, key, how)

    return run, damaging


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("size_bytes", SIZES)
def test_an_object_that_is_damaged_on_the_disk_is_found_but_unreadable_until_it_is_replaced(
    stored_in: tuple[Run, Callable[[ObjectStore], Damage]], how: str, size_bytes: int
) -> None:
    run, damaging = stored_in
    sent = upload(os.urandom(size_bytes))

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, sent)
        damaging(store)(sent.key, how)
        found = await store.head(Bucket.HOT, sent.key)
        assert found is not None
        assert (found.size_bytes, found.envelope) == (size_bytes, ENVELOPE)
        assert not await store.put(Bucket.HOT, sent)
        with pytest.raises(Unreadable):
            await whole(store, sent.key)
        with pytest.raises(Unreadable):
            await store.fetch(Bucket.HOT, sent.key, size_bytes)
        assert await store.replace(Bucket.HOT, sent, found.etag)
        assert await whole(store, sent.key) == b"".join(sent.parts)

    run(test)


def test_an_object_without_metadata_has_no_envelope_but_a_size_and_a_tag(run: Run) -> None:
    sent = upload(b"some content")

    async def test(store: ObjectStore) -> None:
        await put_without_metadata(store, sent)
        with pytest.raises(NoEnvelope) as caught:
            await store.head(Bucket.HOT, sent.key)
        assert caught.value.size_bytes == sent.size_bytes
        assert await store.replace(Bucket.HOT, sent, caught.value.etag)
        found = await store.head(Bucket.HOT, sent.key)
        assert found is not None
        assert found.envelope == ENVELOPE

    run(test)


def test_metadata_that_are_damaged_on_the_disk_refuse_everything(stack: RunningStack) -> None:
    sent = upload(os.urandom(20_000))

    async def test() -> None:
        async with S3ObjectStore(load(StoreSettings, stack.env)) as store:
            await store.put(Bucket.HOT, sent)
            tag = await tag_of(store, sent.key)
            damage_metadata(stack.folder.root / "minio", HOT_NAME, sent.key)
            with pytest.raises(Unreadable):
                await store.head(Bucket.HOT, sent.key)
            for put in (store.put(Bucket.HOT, sent), store.replace(Bucket.HOT, sent, tag)):
                with pytest.raises(Unavailable):
                    await put

    asyncio.run(test())


def test_an_upload_without_an_envelope_is_written_once_and_read_back(run: Run) -> None:
    data = b'{"action": "delete"}'
    sent = PlainUpload(f"local/{os.urandom(8).hex()}/_commands/1.json", (data,), len(data), crc32c_of(data))
    other = replace(sent, parts=(data[::-1],), crc32c=crc32c_of(data[::-1]))

    async def test(store: ObjectStore) -> None:
        assert await store.put(Bucket.HOT, sent)
        assert not await store.put(Bucket.HOT, other)
        assert await whole(store, sent.key) == data
        assert [key async for key in store.keys(Bucket.HOT, sent.key.removesuffix("1.json"))] == [sent.key]
        with pytest.raises(NoEnvelope) as raised:
            await store.head(Bucket.HOT, sent.key)
        assert raised.value.size_bytes == len(data)
        with pytest.raises(Unavailable, match="store"):
            await store.put(Bucket.HOT, replace(other, key=f"{sent.key}.2", crc32c=sent.crc32c))

    run(test)


def test_a_wrong_checksum_stores_nothing(run: Run) -> None:
    sent = replace(upload(b"some content"), crc32c=crc32c_of(b"other content"))

    async def test(store: ObjectStore) -> None:
        with pytest.raises(Unavailable):
            await store.put(Bucket.HOT, sent)
        assert await store.head(Bucket.HOT, sent.key) is None

    run(test)


@pytest.mark.parametrize(("start", "end"), [(0, 5), (5, 9), (3, None), (0, 1000), (10, 10), (16, 20), (400, None)])
def test_a_range_equals_a_slice(run: Run, start: int, end: int | None) -> None:
    data = b"sixteen bytes it"
    sent = upload(data)

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, sent)
        assert await whole(store, sent.key, start, end) == data[start:end]

    run(test)


def test_an_absent_object_has_no_head_and_no_bytes(run: Run) -> None:
    async def test(store: ObjectStore) -> None:
        assert await store.head(Bucket.HOT, "local/nothing.dcm") is None
        with pytest.raises(KeyError):
            await whole(store, "local/nothing.dcm")

    run(test)


@pytest.mark.parametrize(
    ("size_bytes", "length"), [(100_000, 100), (100, 100), (99, 100), (0, 100), (2_000_000, 1_000_000)]
)
def test_one_request_fetches_an_envelope_and_the_first_bytes(run: Run, size_bytes: int, length: int) -> None:
    sent = upload(os.urandom(size_bytes))

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.HOT, sent)
        fetched = await store.fetch(Bucket.HOT, sent.key, length)
        assert fetched is not None
        assert fetched.stored == await store.head(Bucket.HOT, sent.key)
        assert fetched.head == b"".join(sent.parts)[:length]
        assert await store.fetch(Bucket.HOT, sent.key + "x", length) is None

    run(test)


def test_an_object_without_an_envelope_is_fetched_by_nobody(run: Run) -> None:
    sent = upload(b"foreign bytes")

    async def test(store: ObjectStore) -> None:
        await put_without_metadata(store, sent)
        with pytest.raises(NoEnvelope):
            await store.fetch(Bucket.HOT, sent.key, 5)

    run(test)


def test_keys_under_a_prefix_are_listed_in_order(run: Run) -> None:
    folder = os.urandom(8).hex()
    sent = [upload(b"x", f"{number}.dcm", folder) for number in (3, 1, 2)]

    async def test(store: ObjectStore) -> None:
        for object_ in sent:
            await store.put(Bucket.HOT, object_)
        found = [key async for key in store.keys(Bucket.HOT, f"local/{folder}/")]
        assert found == [f"local/{folder}/{number}.dcm" for number in (1, 2, 3)]

    run(test)


def test_keys_that_somebody_else_has_chosen_are_listed_as_they_are(run: Run) -> None:
    folder = f"{os.urandom(8).hex()} +%20&ü😀"
    keys = [f"local/{folder}/{name}" for name in ("\x1b[2J.dcm", "a+b c%20.dcm", "é, x: y")]

    async def test(store: ObjectStore) -> None:
        for key in keys:
            await store.put(Bucket.HOT, replace(upload(b"x"), key=key))
        assert [key async for key in store.keys(Bucket.HOT, f"local/{folder}/")] == keys
        assert [each.key async for each in store.listing(Bucket.HOT, f"local/{folder}/")] == keys
        assert folder in [name async for name in store.folders(Bucket.HOT, "local/")]
        assert all([await store.head(Bucket.HOT, key) for key in keys])

    run(test)


def test_a_listing_tells_sizes_and_when_the_store_took_the_objects(run: Run) -> None:
    folder = os.urandom(8).hex()
    sent = [upload(bytes(10 * number), f"{number}.dcm", folder) for number in (3, 1, 2)]

    async def test(store: ObjectStore) -> None:
        for object_ in sent:
            await store.put(Bucket.QUARANTINE, object_)
        found = [each async for each in store.listing(Bucket.QUARANTINE, f"local/{folder}/")]
        heads = [await store.head(Bucket.QUARANTINE, each.key) for each in found]
        assert [(each.key, each.size_bytes) for each in found] == [
            (f"local/{folder}/{number}.dcm", 10 * number) for number in (1, 2, 3)
        ]
        assert [each.modified_at for each in found] == [head.modified_at for head in heads if head]

    run(test)


def test_the_folders_directly_under_a_prefix_are_listed_in_the_order_of_keys(run: Run) -> None:
    folder = os.urandom(8).hex()
    keys = ["1.2/1/a.dcm", "1.2/2/b.dcm", "1.2.3/1/c.dcm", "_policies/x.json", "loose.dcm"]

    async def test(store: ObjectStore) -> None:
        for key in keys:
            await store.put(Bucket.HOT, upload(b"x", key, folder))
        found = [name async for name in store.folders(Bucket.HOT, f"local/{folder}/")]
        assert found == ["1.2.3", "1.2", "_policies"]

    run(test)


def test_a_deleted_object_is_gone_and_may_be_stored_again(run: Run) -> None:
    sent = upload(b"some content")

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.QUARANTINE, sent)
        for _ in range(2):
            await store.delete(Bucket.QUARANTINE, sent.key)
            assert await store.head(Bucket.QUARANTINE, sent.key) is None
        assert await store.put(Bucket.QUARANTINE, sent)

    run(test)


def test_a_quarantined_object_keeps_its_reason(run: Run) -> None:
    sent = replace(upload(b"some content"), envelope=replace(ENVELOPE, reason="no-usable-uid"))

    async def test(store: ObjectStore) -> None:
        await store.put(Bucket.QUARANTINE, sent)
        found = await store.head(Bucket.QUARANTINE, sent.key)
        assert found is not None
        assert found.envelope == sent.envelope

    run(test)


def test_the_stacks_store_accepts_a_lifecycle_rule(stack: RunningStack) -> None:
    async def test() -> bool:
        async with S3ObjectStore(load(StoreSettings, stack.env)) as store:
            return await store.expire(Bucket.QUARANTINE, 30)

    assert asyncio.run(test())


def at(port: int) -> StoreSettings:
    """Return the settings of a store at a port of this machine."""
    return StoreSettings(endpoint=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(("status", "raises"), [("501 Not Implemented", False), ("503 Slow Down", True)])
def test_only_a_store_without_lifecycle_rules_is_reported_as_such(status: str, raises: bool) -> None:  # noqa: FBT001
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"</LifecycleConfiguration>")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

    async def test() -> bool | None:
        async with listening(answer) as port, S3ObjectStore(at(port)) as store, asyncio.timeout(5):
            try:
                return await store.expire(Bucket.QUARANTINE, 30)
            except Unavailable:
                return None

    assert asyncio.run(test()) is (None if raises else False)


def test_objects_that_are_put_at_once_are_all_stored(run: Run) -> None:
    sent = [upload(os.urandom(50_000)) for _ in range(40)]

    async def test(store: ObjectStore) -> None:
        assert all(await asyncio.gather(*(store.put(Bucket.HOT, object_) for object_ in sent)))

    run(test)


def test_one_of_many_writers_of_a_key_wins(run: Run) -> None:
    sent = upload(os.urandom(50_000))

    async def test(store: ObjectStore) -> None:
        won = await asyncio.gather(*(store.put(Bucket.HOT, sent) for _ in range(8)), return_exceptions=True)
        assert [result for result in won if result is True] == [True]

    run(test)


def test_connections_idle_for_longer_than_the_time_limit_still_serve(stack: RunningStack) -> None:
    settings = replace(load(StoreSettings, stack.env), no_progress_s=0.5)
    # The size decides if the connection is paused when the last bytes arrive: of many sizes, some pause it.
    sent = [upload(os.urandom(500_000 + 50_000 * step)) for step in range(20)]

    async def slowly(store: ObjectStore, key: str) -> None:
        async for _ in store.read(Bucket.HOT, key):
            await asyncio.sleep(0.001)

    async def test() -> list[bytes]:
        async with S3ObjectStore(settings) as store:
            for object_ in sent:
                await store.put(Bucket.HOT, object_)
            await asyncio.gather(*(slowly(store, object_.key) for object_ in sent))
            await asyncio.sleep(2 * settings.no_progress_s)
            return await asyncio.gather(*(whole(store, object_.key, 0, 7) for object_ in sent))

    assert asyncio.run(test()) == [next(iter(object_.parts)) for object_ in sent]


def test_check_returns_when_the_buckets_exist(run: Run) -> None:
    async def test(store: ObjectStore) -> None:
        await store.check()

    run(test)


def test_a_store_that_refuses_is_unavailable() -> None:
    async def test() -> None:
        async with S3ObjectStore(StoreSettings(endpoint="http://127.0.0.1:1")) as real:
            for store in (real, MemoryObjectStore(Outage.REFUSES)):
                with pytest.raises(Unavailable):
                    await store.put(Bucket.HOT, upload(b"some content"))
                with pytest.raises(Unavailable):
                    await store.head(Bucket.HOT, "local/1.dcm")
                with pytest.raises(Unavailable):
                    await store.check()

    asyncio.run(test())


@pytest.mark.parametrize("closes", [True, False])
def test_an_answer_before_the_end_of_the_body_stops_the_upload(closes: bool) -> None:  # noqa: FBT001
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        if not closes:
            await reader.read()

    async def test() -> None:
        async with listening(refuse) as port, S3ObjectStore(at(port)) as store, asyncio.timeout(5):
            assert not await store.put(Bucket.HOT, upload(os.urandom(20_000_000)))

    asyncio.run(test())


def test_a_store_that_never_answers_is_unavailable_in_time() -> None:
    async def read_on(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async def test() -> None:
        async with listening(read_on) as port:
            hasty = replace(at(port), no_progress_s=0.2, connect_s=0.2)
            async with S3ObjectStore(hasty) as store, asyncio.timeout(5):
                with pytest.raises(Unavailable):
                    await store.put(Bucket.HOT, upload(os.urandom(2_000_000)))
                with pytest.raises(Unavailable):
                    await store.head(Bucket.HOT, "local/1.dcm")

    asyncio.run(test())

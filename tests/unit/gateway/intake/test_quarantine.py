"""A refused object is stored once, with its reason, and its event published; a full quarantine stores no more."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from gateway.intake.quarantine import LEAST_BYTES, Quarantine, QuarantineRules, Quota
from gateway.intake.status import QUARANTINE_FULL, of_rejected
from operators.connectors.memory.stores import DAMAGES, MemoryEventLog, MemoryObjectStore, Outage
from operators.dicom.instance import data_hasher
from operators.errors import Rejected, Unavailable
from operators.store.checksum import crc32c_of
from operators.store.ports import Position, StoredObject, Upload
from operators.store.quarantine import damaged_key
from schemas.events import Event, InstanceQuarantined
from schemas.objects import Bucket, Envelope
from schemas.telemetry import (
    GATEWAY_QUARANTINE_BYTES,
    GATEWAY_QUARANTINE_FULL,
    GATEWAY_QUARANTINE_QUOTA_BYTES,
    GATEWAY_QUARANTINED,
)
from schemas.topics import INSTANCE_QUARANTINED, Topic

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
REASON = "no-usable-uid"
FIVE, OTHER_FIVE, SIX = (content * LEAST_BYTES for content in (b"12345", b"54321", b"123456"))
SYNTAX = "1.2.840.10008.1.2.1"
PREFIX_LENGTH = 2


def hash_of(data: bytes) -> str:
    """Return the data hash of an object with these bytes."""
    hasher = data_hasher(SYNTAX)
    hasher.update(data[PREFIX_LENGTH:])
    return hasher.hexdigest()


HASH, OTHER = hash_of(FIVE), hash_of(OTHER_FIVE)


@dataclass
class QuarantineWorld:
    """A store, a broker, and a quarantine with room for ten blocks a tenant."""

    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    events: MemoryEventLog = field(default_factory=MemoryEventLog)

    def __post_init__(self) -> None:
        self.quarantine = self.opened()

    def opened(self) -> Quarantine:
        """Return the quarantine of another process."""
        return Quarantine(
            self.store, self.events, QuarantineRules(timedelta(days=30), quota_bytes=10 * LEAST_BYTES, measure_s=300)
        )

    def keep(self, data: bytes = FIVE, key: str = "", reason: str = REASON) -> None:
        asyncio.run(self.quarantine.keep(upload(data, key or f"local/{hash_of(data)}"), reason))

    @property
    def published(self) -> list[InstanceQuarantined]:
        found = self.events.events(INSTANCE_QUARANTINED)
        return [event for event in found if isinstance(event, InstanceQuarantined)]


@pytest.fixture
def world() -> QuarantineWorld:
    return QuarantineWorld()


def upload(data: bytes, key: str, stored_at: datetime = NOON) -> Upload:
    envelope = Envelope(
        stored_at=stored_at,
        received_at=NOON,
        origin="received",
        transfer_id="t-1",
        calling_ae="CT1",
        called_ae="FLUORO",
        transfer_syntax=SYNTAX,
        prefix_length=PREFIX_LENGTH,
        prefix_hash=sha256(data[:PREFIX_LENGTH]).hexdigest(),
        header_length=0,
    )
    return Upload(key, (data,), len(data), crc32c_of(data), envelope)


def counted(reason: str) -> float:
    return float(GATEWAY_QUARANTINED.labels(reason)._value.get())


def test_an_object_is_stored_with_its_reason_and_its_event_has_no_content(world: QuarantineWorld) -> None:
    before = counted(REASON)
    world.keep()

    (event,) = world.published
    stored = asyncio.run(world.store.head(Bucket.QUARANTINE, event.object_key))
    assert stored is not None
    assert (stored.envelope.reason, stored.size_bytes) == (REASON, len(FIVE))
    assert (event.state, event.reason, event.calling_ae, event.transfer_id) == ("held", REASON, "CT1", "t-1")
    assert (event.object_key, event.data_hash, event.size_bytes) == (f"local/{HASH}", HASH, len(FIVE))
    assert (event.occurred_at, event.until - event.stored_at) == (NOON, timedelta(days=30))
    assert counted(REASON) == before + 1


def test_the_same_content_again_publishes_the_first_event_again(world: QuarantineWorld) -> None:
    world.keep()
    asyncio.run(world.quarantine.keep(upload(FIVE, f"local/{HASH}", NOON + timedelta(hours=1)), "sop-uid-mismatch"))

    first, again = world.published
    assert again == first
    assert len(world.store.objects) == 1


def test_content_that_was_discarded_and_is_sent_again_has_another_event(world: QuarantineWorld) -> None:
    world.keep()
    asyncio.run(world.store.delete(Bucket.QUARANTINE, f"local/{HASH}"))
    asyncio.run(world.quarantine.keep(upload(FIVE, f"local/{HASH}", NOON + timedelta(hours=1)), REASON))

    first, again = world.published
    assert (again.event_id != first.event_id, again.occurred_at > first.occurred_at) == (True, True)


@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
@pytest.mark.parametrize("which", ["store", "events"])
def test_after_an_outage_the_same_content_can_be_sent_again(world: QuarantineWorld, which: str, outage: Outage) -> None:
    getattr(world, which).outage = outage
    with pytest.raises(Unavailable):
        world.keep()
    getattr(world, which).outage = Outage.NONE
    world.keep()

    assert len({event.event_id for event in world.published}) == 1
    assert len(world.store.objects) == 1


class SilentStore(MemoryObjectStore):
    """A store that answers a PUT, and no HEAD."""

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:  # noqa: ARG002
        await asyncio.Event().wait()
        return None


class SilentEventLog(MemoryEventLog):
    """A broker that acknowledges nothing."""

    async def publish(self, topic: Topic, event: Event) -> Position:  # noqa: ARG002
        await asyncio.Event().wait()
        return Position(0, 0)


async def keep_within_5_s(world: QuarantineWorld, data: bytes, key: str) -> None:
    async with asyncio.timeout(5):
        await world.quarantine.keep(upload(data, key), REASON)


@pytest.mark.parametrize(
    ("world", "before", "key"),
    [
        (QuarantineWorld(SilentStore()), FIVE, HASH),
        (QuarantineWorld(SilentStore()), SIX, OTHER),
        (QuarantineWorld(events=SilentEventLog()), b"", HASH),
    ],
    ids=["a repeat is looked up", "the quota is full", "the event is published"],
)
def test_what_follows_the_put_has_one_limit_of_time(
    world: QuarantineWorld, before: bytes, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.quarantine.ANNOUNCE_S", 0.01)
    if before:
        world.keep(before, f"local/{HASH}")

    with pytest.raises(Unavailable, match="slow"):
        asyncio.run(keep_within_5_s(world, OTHER_FIVE, f"local/{key}"))


def test_over_the_quota_nothing_is_stored_and_the_sender_is_told_why(world: QuarantineWorld) -> None:
    before = GATEWAY_QUARANTINE_FULL._value.get()
    world.keep(SIX)
    with pytest.raises(Rejected) as caught:
        world.keep(OTHER_FIVE, f"local/{OTHER}")
    world.keep(OTHER_FIVE, f"else/{OTHER}")

    assert of_rejected(caught.value) == QUARANTINE_FULL
    assert [key for _, key in sorted(world.store.objects)] == [f"else/{OTHER}", f"local/{hash_of(SIX)}"]
    assert sorted(event.tenant for event in world.published) == ["else", "local"]
    assert GATEWAY_QUARANTINE_FULL._value.get() == before + 1


def test_repeats_and_failures_use_up_no_quota(world: QuarantineWorld) -> None:
    world.store.outage = Outage.REFUSES
    for _ in range(3):
        with pytest.raises(Unavailable):
            world.keep()
    world.store.outage = Outage.NONE
    for _ in range(3):
        world.keep()
    world.keep(OTHER_FIVE, f"local/{OTHER}")

    assert len(world.store.objects) == 2


def test_a_new_process_counts_the_objects_of_others_once_it_has_measured(world: QuarantineWorld) -> None:
    world.keep(SIX)
    world.quarantine = world.opened()
    asyncio.run(world.quarantine.measure())
    with pytest.raises(Rejected):
        world.keep(OTHER_FIVE, f"local/{OTHER}")

    assert GATEWAY_QUARANTINE_BYTES.labels("local")._value.get() == len(SIX)


def test_the_quota_is_a_metric_so_that_an_alert_can_compare_with_it(world: QuarantineWorld) -> None:
    assert world.quarantine
    assert GATEWAY_QUARANTINE_QUOTA_BYTES._value.get() == 10 * LEAST_BYTES


def test_discarded_objects_make_room_at_the_next_measurement(world: QuarantineWorld) -> None:
    world.keep(SIX)
    asyncio.run(world.quarantine.measure())
    asyncio.run(world.store.delete(Bucket.QUARANTINE, f"local/{hash_of(SIX)}"))
    asyncio.run(world.quarantine.measure())
    assert GATEWAY_QUARANTINE_BYTES.labels("local")._value.get() == 0
    world.keep(OTHER_FIVE, f"local/{OTHER}")

    assert [key for _, key in world.store.objects] == [f"local/{OTHER}"]


def test_the_event_of_a_stored_object_is_published_again_even_when_the_quota_is_full(world: QuarantineWorld) -> None:
    before = GATEWAY_QUARANTINE_FULL._value.get()
    world.keep(SIX)
    world.keep(SIX)

    first, again = world.published
    assert again == first
    assert GATEWAY_QUARANTINE_FULL._value.get() == before


def test_many_small_objects_fill_the_quota_as_large_ones_do(world: QuarantineWorld) -> None:
    for number in range(10):
        world.keep(b"x", f"local/{number:064}")
    with pytest.raises(Rejected):
        world.keep(b"x", f"local/{HASH}")
    world.quarantine = world.opened()
    asyncio.run(world.quarantine.measure())
    with pytest.raises(Rejected):
        world.keep(b"x", f"local/{HASH}")

    assert len(world.store.objects) == 10


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_object_is_replaced_when_its_content_is_refused_again(world: QuarantineWorld, how: str) -> None:
    world.keep()
    world.store.damage(Bucket.QUARANTINE, f"local/{HASH}", how)

    later = upload(FIVE, f"local/{HASH}", NOON + timedelta(hours=1))
    asyncio.run(world.quarantine.keep(later, REASON))

    ((_, held),) = world.store.objects.items()
    first, again = world.published
    assert held.data == FIVE
    assert (again.state, again.stored_at - first.stored_at) == ("held", timedelta(hours=1))
    assert (again.data_hash, again.size_bytes) == (first.data_hash, first.size_bytes)


def test_what_is_kept_of_damaged_objects_counts_against_no_quota_and_is_no_unknown_key(world: QuarantineWorld) -> None:
    key = damaged_key("local", HASH, OTHER)
    asyncio.run(world.quarantine.keep_aside(upload(11 * FIVE, key)))
    with capture_logs() as logs:
        asyncio.run(world.quarantine.measure())
    world.keep(SIX)

    assert logs == []
    assert world.store.objects[Bucket.QUARANTINE, key].data == 11 * FIVE


def is_full(quota: Quota, blocks: int) -> bool:
    """True if the local tenant has no room for this many blocks."""
    try:
        with quota.reserved("local", blocks * LEAST_BYTES):
            return False
    except Rejected:
        return True


def test_objects_added_during_a_measurement_are_counted() -> None:
    quota = Quota(10 * LEAST_BYTES)
    with quota.reserved("local", 3 * LEAST_BYTES) as reservation:
        reservation.is_used = True
    before = quota.used()
    with quota.reserved("local", 4 * LEAST_BYTES) as reservation:
        reservation.is_used = True
    quota.measured({"local": 3 * LEAST_BYTES}, before)

    assert (is_full(quota, 3), is_full(quota, 4)) == (False, True)


@pytest.mark.parametrize(("is_new", "left"), [(True, 6), (False, 10)], ids=["new", "repeat"])
def test_an_object_that_a_measurement_misses_counts_only_if_it_is_new(is_new: bool, left: int) -> None:  # noqa: FBT001
    quota = Quota(10 * LEAST_BYTES)
    with quota.reserved("local", 4 * LEAST_BYTES) as reservation:
        before = quota.used()
        quota.measured({}, before)
        assert (is_full(quota, 6), is_full(quota, 7)) == (False, True)
        reservation.is_used = is_new

    assert (is_full(quota, left), is_full(quota, left + 1)) == (False, True)


def test_the_watch_goes_on_when_the_store_does_not_answer(world: QuarantineWorld) -> None:
    world.keep(SIX)
    world.quarantine = world.opened()
    world.store.outage = Outage.REFUSES
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.store.outage = Outage.NONE
        if len(slept) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.quarantine.watch(sleep))

    assert slept == [10, 300]
    with pytest.raises(Rejected):
        world.keep(OTHER_FIVE, f"local/{OTHER}")


def test_an_object_under_an_odd_key_disturbs_no_measurement_and_names_no_metric(world: QuarantineWorld) -> None:
    world.keep()
    ((_, key),) = world.store.objects
    kept = world.store.objects[Bucket.QUARANTINE, key]
    odd = ("Doe^John", "Doe^John/1", "", "/", "a/b/c", f"LOCAL/{HASH}")
    world.store.objects |= {(Bucket.QUARANTINE, name): kept for name in odd}
    with capture_logs() as logs:
        for _ in range(3):
            asyncio.run(world.quarantine.measure())

    assert GATEWAY_QUARANTINE_BYTES.labels("local")._value.get() == len(FIVE)
    assert "Doe" not in generate_latest(GATEWAY_QUARANTINE_BYTES).decode()
    assert [(entry["event"], entry["objects"]) for entry in logs] == [("quarantine_keys_unknown", len(odd))]

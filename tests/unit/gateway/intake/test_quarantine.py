"""What is refused is kept aside with its reason and told of, once; a full quarantine keeps nothing more."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from gateway.intake.quarantine import LEAST_BYTES, Quarantine, QuarantineRules, Quota
from gateway.intake.status import QUARANTINE_FULL, of_rejected
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage, crc32c_of
from operators.errors import Rejected, Unavailable
from operators.store.ports import Upload
from schemas.events import InstanceQuarantined
from schemas.objects import Bucket, Envelope
from schemas.telemetry import GATEWAY_QUARANTINE_BYTES, GATEWAY_QUARANTINE_FULL, GATEWAY_QUARANTINED
from schemas.topics import INSTANCE_QUARANTINED

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
HASH = "ab" * 32
OTHER = "cd" * 32
REASON = "no-usable-uid"
FIVE, OTHER_FIVE, SIX = (content * LEAST_BYTES for content in (b"12345", b"54321", b"123456"))


@dataclass
class World:
    """Store and broker, and a quarantine before them with room for ten blocks a tenant."""

    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    events: MemoryEventLog = field(default_factory=MemoryEventLog)

    def __post_init__(self) -> None:
        self.quarantine = self.opened()

    def opened(self) -> Quarantine:
        """Return a process's quarantine."""
        return Quarantine(
            self.store, self.events, QuarantineRules(timedelta(days=30), quota_bytes=10 * LEAST_BYTES, measure_s=300)
        )

    def keep(self, data: bytes = FIVE, key: str = f"local/{HASH}", reason: str = REASON) -> None:
        asyncio.run(self.quarantine.keep(upload(data, key), reason))

    @property
    def told(self) -> list[InstanceQuarantined]:
        found = self.events.events(INSTANCE_QUARANTINED)
        return [event for event in found if isinstance(event, InstanceQuarantined)]


@pytest.fixture
def world() -> World:
    return World()


def upload(data: bytes, key: str, stored_at: datetime = NOON) -> Upload:
    envelope = Envelope(
        stored_at=stored_at,
        received_at=NOON,
        origin="received",
        transfer_id="t-1",
        calling_ae="CT1",
        called_ae="FLUORO",
        transfer_syntax="1.2.840.10008.1.2.1",
        prefix_length=2,
        prefix_hash="0" * 64,
        header_length=0,
    )
    return Upload(key, (data,), len(data), crc32c_of(data), envelope)


def counted(reason: str) -> float:
    return float(GATEWAY_QUARANTINED.labels(reason)._value.get())


def test_it_is_kept_with_its_reason_and_told_of_without_a_word_of_its_content(world: World) -> None:
    before = counted(REASON)
    world.keep()

    (event,) = world.told
    stored = asyncio.run(world.store.head(Bucket.QUARANTINE, event.object_key))
    assert stored is not None
    assert (stored.envelope.reason, stored.size_bytes) == (REASON, len(FIVE))
    assert (event.state, event.reason, event.calling_ae, event.transfer_id) == ("held", REASON, "CT1", "t-1")
    assert (event.object_key, event.data_hash, event.size_bytes) == (f"local/{HASH}", HASH, len(FIVE))
    assert (event.occurred_at, event.until - event.stored_at) == (NOON, timedelta(days=30))
    assert counted(REASON) == before + 1


def test_the_same_content_again_is_told_of_as_it_was_the_first_time(world: World) -> None:
    world.keep()
    asyncio.run(world.quarantine.keep(upload(FIVE, f"local/{HASH}", NOON + timedelta(hours=1)), "sop-uid-mismatch"))

    first, again = world.told
    assert again == first
    assert len(world.store.objects) == 1


def test_what_was_let_go_and_comes_again_is_another_event(world: World) -> None:
    world.keep()
    asyncio.run(world.store.delete(Bucket.QUARANTINE, f"local/{HASH}"))
    asyncio.run(world.quarantine.keep(upload(FIVE, f"local/{HASH}", NOON + timedelta(hours=1)), REASON))

    first, again = world.told
    assert (again.event_id != first.event_id, again.occurred_at > first.occurred_at) == (True, True)


@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
@pytest.mark.parametrize("which", ["store", "events"])
def test_what_is_not_kept_or_not_told_of_is_to_be_sent_again(world: World, which: str, outage: Outage) -> None:
    getattr(world, which).outage = outage
    with pytest.raises(Unavailable):
        world.keep()
    getattr(world, which).outage = Outage.NONE
    world.keep()

    assert len({event.event_id for event in world.told}) == 1
    assert len(world.store.objects) == 1


def test_over_the_quota_nothing_is_kept_and_the_sender_hears_why(world: World) -> None:
    before = GATEWAY_QUARANTINE_FULL._value.get()
    world.keep(SIX)
    with pytest.raises(Rejected) as caught:
        world.keep(OTHER_FIVE, f"local/{OTHER}")
    world.keep(OTHER_FIVE, f"else/{OTHER}")

    assert of_rejected(caught.value) == QUARANTINE_FULL
    assert [key for _, key in sorted(world.store.objects)] == [f"else/{OTHER}", f"local/{HASH}"]
    assert sorted(event.tenant for event in world.told) == ["else", "local"]
    assert GATEWAY_QUARANTINE_FULL._value.get() == before + 1


def test_repeats_and_failures_use_up_no_quota(world: World) -> None:
    world.store.outage = Outage.REFUSES
    for _ in range(3):
        with pytest.raises(Unavailable):
            world.keep()
    world.store.outage = Outage.NONE
    for _ in range(3):
        world.keep()
    world.keep(OTHER_FIVE, f"local/{OTHER}")

    assert len(world.store.objects) == 2


def test_a_process_that_starts_knows_what_others_kept_once_it_has_looked(world: World) -> None:
    world.keep(SIX)
    world.quarantine = world.opened()
    asyncio.run(world.quarantine.measure())
    with pytest.raises(Rejected):
        world.keep(OTHER_FIVE, f"local/{OTHER}")

    assert GATEWAY_QUARANTINE_BYTES.labels("local")._value.get() == len(SIX)


def test_what_an_operator_discards_makes_room_at_the_next_look(world: World) -> None:
    world.keep(SIX)
    asyncio.run(world.quarantine.measure())
    asyncio.run(world.store.delete(Bucket.QUARANTINE, f"local/{HASH}"))
    asyncio.run(world.quarantine.measure())
    assert GATEWAY_QUARANTINE_BYTES.labels("local")._value.get() == 0
    world.keep(OTHER_FIVE, f"local/{OTHER}")

    assert [key for _, key in world.store.objects] == [f"local/{OTHER}"]


def test_what_lies_there_already_is_told_of_again_however_full_it_is(world: World) -> None:
    before = GATEWAY_QUARANTINE_FULL._value.get()
    world.keep(SIX)
    world.keep(SIX)

    first, again = world.told
    assert again == first
    assert GATEWAY_QUARANTINE_FULL._value.get() == before


def test_many_small_ones_fill_it_as_large_ones_do(world: World) -> None:
    for number in range(10):
        world.keep(b"x", f"local/{number:064}")
    with pytest.raises(Rejected):
        world.keep(b"x", f"local/{HASH}")
    world.quarantine = world.opened()
    asyncio.run(world.quarantine.measure())
    with pytest.raises(Rejected):
        world.keep(b"x", f"local/{HASH}")

    assert len(world.store.objects) == 10


def is_full(quota: Quota, blocks: int) -> bool:
    """True if so many blocks are too many."""
    try:
        with quota.reserved("local", blocks * LEAST_BYTES):
            return False
    except Rejected:
        return True


def test_what_is_added_during_a_count_is_not_forgotten() -> None:
    quota = Quota(10 * LEAST_BYTES)
    with quota.reserved("local", 3 * LEAST_BYTES) as reservation:
        reservation.is_used = True
    before = quota.used()
    with quota.reserved("local", 4 * LEAST_BYTES) as reservation:
        reservation.is_used = True
    quota.measured({"local": 3 * LEAST_BYTES}, before)

    assert (is_full(quota, 3), is_full(quota, 4)) == (False, True)


@pytest.mark.parametrize(("is_kept", "left"), [(True, 6), (False, 10)], ids=["lands-behind-the-count", "is-a-repeat"])
def test_what_is_on_its_way_when_a_count_begins_is_counted_as_it_ends(is_kept: bool, left: int) -> None:  # noqa: FBT001
    quota = Quota(10 * LEAST_BYTES)
    with quota.reserved("local", 4 * LEAST_BYTES) as reservation:
        before = quota.used()
        quota.measured({}, before)
        assert (is_full(quota, 6), is_full(quota, 7)) == (False, True)
        reservation.is_used = is_kept

    assert (is_full(quota, left), is_full(quota, left + 1)) == (False, True)


def test_a_store_that_does_not_answer_ends_no_watch(world: World) -> None:
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

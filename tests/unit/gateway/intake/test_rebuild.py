"""The event of a stored object is rebuilt from the object, whichever tier has it."""

import asyncio
import errno
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.intake.outbox.ledger import Intent
from gateway.intake.rebuild import Rebuilder
from operators.connectors.memory.stores import DAMAGES, MemoryObjectStore, Outage
from operators.errors import Unavailable, Unreadable
from operators.store.ports import StoredObject
from schemas.objects import Bucket, Envelope, Identity
from schemas.telemetry import GATEWAY_DAMAGED
from tests.support.worlds.intake import IntakeWorld, killed_during


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def test_an_event_is_rebuilt_after_the_spool_was_full_for_a_while(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    refusals = iter([OSError(errno.ENOSPC, "full")] * 3)
    real = tempfile.TemporaryFile

    def sometimes_full(**given: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return real(**given)

    monkeypatch.setattr("gateway.intake.rebuild.tempfile.TemporaryFile", sometimes_full)

    assert world.heal() == 1
    assert len(world.stored) == 1


@pytest.mark.parametrize("tier", [Bucket.HOT, Bucket.WARM, Bucket.COLD])
def test_an_object_is_found_in_every_tier(world: IntakeWorld, tier: Bucket) -> None:
    killed_during(world, world.events, Outage.LOSES_ANSWER)
    world.move(tier)

    world.heal()

    first, healed = world.stored
    assert healed == first
    assert world.ended == [("1.2.3", "lost", 1)]


def test_the_event_of_an_object_that_was_put_late_tells_when_the_store_took_it(world: IntakeWorld) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    taken_at = world.take_late(seconds=40)

    world.heal()

    (healed,) = world.stored
    assert healed.occurred_at == taken_at
    assert (taken_at - healed.stored_at).total_seconds() > 38


def only_key(world: IntakeWorld) -> str:
    ((_, key),) = world.store.objects
    return key


@pytest.mark.parametrize("how", DAMAGES)
def test_no_event_is_rebuilt_from_a_damaged_object_and_its_intent_ends_after_a_minute(
    world: IntakeWorld, how: str
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    world.store.damage(Bucket.HOT, only_key(world), how)
    damaged = dict(world.store.objects)

    world.heal()

    assert world.stored == []
    assert world.ended == [("1.2.3", "lost", 0)]
    assert 60 <= world.time.now_s <= 80
    assert world.store.objects == damaged


def test_an_event_is_rebuilt_once_a_repeat_has_replaced_the_damaged_object(world: IntakeWorld) -> None:
    dead = killed_during(world, world.events, Outage.REFUSES)
    world.store.damage(Bucket.HOT, only_key(world), "altered")
    repeat = world.gateway().accept(1).event

    world.heal()

    assert [replace(event, transfer_id="", cause=()) for event in world.stored] == [
        replace(repeat, transfer_id="", cause=())
    ] * 2
    assert {event.transfer_id for event in world.stored} == {dead.transfer.transfer_id, repeat.transfer_id}
    assert world.ended == [("1.2.3", "lost", 1)]


class MetadataLost(MemoryObjectStore):
    """A store that answers, but cannot look at one kind of object: the kind that this test stores."""

    is_lost = False
    has_buckets = True

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        if self.is_lost:
            raise Unreadable("store-500")
        return await super().head(bucket, key)

    async def check(self) -> None:
        if not self.has_buckets:
            raise Unavailable("store-500")


@pytest.mark.parametrize("reports", [1, 0], ids=["one object", "the whole store"])
def test_an_object_whose_metadata_cannot_be_read_is_reported_and_its_intent_stays(tmp_path: Path, reports: int) -> None:
    store = MetadataLost()
    world = IntakeWorld(tmp_path, store=store)
    dead = killed_during(world, world.events, Outage.REFUSES)
    before = GATEWAY_DAMAGED.labels("metadata-unreadable")._value.get()
    store.is_lost, store.has_buckets = True, reports > 0
    envelope = Envelope.from_metadata(world.store.objects[Bucket.HOT, only_key(world)].metadata)
    identity = Identity.of(only_key(world))
    intent = Intent(1, dead.transfer.transfer_id, identity, identity.key, envelope)

    with pytest.raises(Unavailable):
        asyncio.run(Rebuilder(world.tiers, world.folder)(intent))

    assert GATEWAY_DAMAGED.labels("metadata-unreadable")._value.get() == before + reports
    store.is_lost = False
    world.heal()
    assert len(world.stored) == 1

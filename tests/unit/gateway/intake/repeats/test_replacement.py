"""A damaged object is replaced byte for byte as it was stored first, or by an object that the catalog takes over."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.intake.accept import Receipt
from operators.catalog.changes import instance_change
from operators.catalog.ports import KnownRows
from operators.catalog.projection import storable_instance
from operators.catalog.rows import InstanceRow
from operators.connectors.memory.stores import DAMAGES, StoredBytes
from operators.dicom import part10
from schemas.events import InstanceStored
from schemas.objects import Bucket, Envelope
from tests.support.worlds.intake import CT, EXPLICIT, IntakeWorld, data_set

OURS = part10.part10_prefix(CT, "1.2.3.1", EXPLICIT)
THEIRS = bytes(range(128)) + OURS[128:]

Damage = Callable[[StoredBytes], StoredBytes]


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def accept(world: IntakeWorld, prefix: bytes) -> Receipt:
    """Accept instance 1 as a Part 10 file with this prefix, in a process of its own."""
    gateway = world.gateway()
    incoming = gateway.acceptance.receive_part10(CT, EXPLICIT, prefix)
    incoming.body.write(memoryview(data_set(1, "1.2.3")))
    return gateway.accept_incoming(incoming)


def damage(world: IntakeWorld, how: Damage) -> bytes:
    """Damage the only object; return its bytes as they were."""
    ((place, held),) = world.store.objects.items()
    world.store.objects[place] = how(held)
    return held.data


def date_back(world: IntakeWorld, *, dated_s: int, taken_s: int) -> None:
    """Let the only object have been dated, and taken by the store, so many seconds before now."""
    ((place, held),) = world.store.objects.items()
    envelope = Envelope.from_metadata(held.metadata)
    dated_at, taken_at = (envelope.stored_at - timedelta(seconds=each) for each in (dated_s, taken_s))
    metadata = replace(envelope, stored_at=dated_at).to_metadata()
    world.store.objects[place] = replace(held, metadata=metadata, modified_at=taken_at.replace(microsecond=0))


def object_of(world: IntakeWorld) -> bytes:
    (found,) = [held.data for (bucket, _), held in world.store.objects.items() if bucket is Bucket.HOT]
    return found


def beyond_the_prefix(held: StoredBytes) -> StoredBytes:
    return replace(held, readable_bytes=len(THEIRS))


@pytest.mark.parametrize(
    ("first", "again", "how"),
    [
        (THEIRS, THEIRS, DAMAGES["empty"]),
        (OURS, THEIRS, DAMAGES["empty"]),
        (THEIRS, OURS, DAMAGES["altered"]),
        (THEIRS, OURS, beyond_the_prefix),
        (THEIRS, OURS, DAMAGES["no metadata"]),
    ],
    ids=["it comes again", "C-STORE makes it", "it is not altered", "it can be read", "it is before the data set"],
)
def test_a_replacement_has_the_first_prefix_wherever_that_can_be_had(
    world: IntakeWorld, first: bytes, again: bytes, how: Damage
) -> None:
    stored = accept(world, first).event
    good = damage(world, how)

    repeat = accept(world, again).event

    assert object_of(world) == good
    assert (repeat.size_bytes, repeat.frames) == (stored.size_bytes, stored.frames)
    assert (repeat.header_length, repeat.prefix_hash) == (stored.header_length, stored.prefix_hash)


def test_a_replacement_with_another_prefix_makes_the_row_that_tells_of_it(world: IntakeWorld) -> None:
    first = accept(world, THEIRS[:-10] + bytes(10)).event
    damage(world, DAMAGES["empty"])

    repeat = accept(world, OURS).event

    assert object_of(world).startswith(OURS)
    assert (repeat.stored_at - first.stored_at).total_seconds() == 1e-6
    assert (repeat.event_id, repeat.received_at) == (first.event_id, first.received_at)
    before, after = storable_instance(first), storable_instance(repeat)
    known = KnownRows(5, {}, {}, {before.key: before.content}, {})
    for arrived in ([after], [before, after], [after, before]):
        (row,) = instance_change(known, arrived).shown
        assert (row.prefix_hash, row.size_bytes) == (repeat.prefix_hash, repeat.size_bytes)


def row_of(first: InstanceStored, second: InstanceStored) -> InstanceRow:
    """Return the row that these events of one instance make, in this order."""
    before, after = storable_instance(first), storable_instance(second)
    known = KnownRows(5, {}, {}, {before.key: before.content}, {})
    return instance_change(known, [after]).shown[0]


def test_a_repeat_makes_the_row_of_the_late_object_that_lies_in_place_of_a_lost_one(world: IntakeWorld) -> None:
    accept(world, THEIRS[:-10] + bytes(10))
    late = dict(world.store.objects)
    world.store.objects.clear()
    lost = accept(world, OURS).event
    world.store.objects.clear()
    world.store.objects |= late
    taken_at = world.take_late(seconds=40)

    repeat = accept(world, OURS).event

    assert repeat.stored_at < lost.stored_at < repeat.occurred_at == taken_at
    assert row_of(lost, repeat).prefix_hash == repeat.prefix_hash != lost.prefix_hash


def test_the_row_of_a_late_object_becomes_that_of_its_replacement(world: IntakeWorld) -> None:
    accept(world, THEIRS[:-10] + bytes(10))
    date_back(world, dated_s=60, taken_s=20)
    late = accept(world, OURS).event
    damage(world, DAMAGES["empty"])

    repeat = accept(world, OURS).event

    assert late.stored_at < repeat.stored_at < late.occurred_at < repeat.occurred_at
    assert row_of(late, repeat).prefix_hash == repeat.prefix_hash != late.prefix_hash


@pytest.mark.parametrize("how", ["empty", "no metadata"])
def test_bytes_before_the_data_set_that_are_no_prefix_are_not_taken(world: IntakeWorld, how: str) -> None:
    accept(world, bytes(128) + b"NONE" + OURS[132:])
    damage(world, lambda held: DAMAGES["no metadata"](DAMAGES[how](held)))

    accept(world, OURS)

    assert object_of(world) == OURS + data_set(1, "1.2.3")


def test_the_prefix_of_a_file_that_claims_a_huge_one_is_not_read(world: IntakeWorld) -> None:
    first = accept(world, THEIRS).event
    ((place, held),) = world.store.objects.items()
    claims = held.metadata | {"prefix-length": str(2**40)}
    world.store.objects[place] = replace(held, metadata=claims)

    repeat = accept(world, THEIRS).event

    assert object_of(world) == THEIRS + data_set(1, "1.2.3")
    assert repeat.prefix_length == first.prefix_length

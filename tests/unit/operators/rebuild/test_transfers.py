"""The objects of a study tell which transfers brought them, how many each, from when to when."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

from gateway.intake.transfer import TransferEnd
from operators.rebuild.transfers import RebuiltTransfers
from schemas.events import TransferEnded
from tests.support.worlds.studies import instance

MINUTE = timedelta(minutes=1)
FIRST = instance(1, "t1")
INSTANCES = (
    FIRST,
    replace(instance(2, "t1"), stored_at=FIRST.stored_at + MINUTE, size_bytes=7),
    replace(instance(3, "t1"), received_at=FIRST.received_at - MINUTE),
    instance(4, "t2"),
)


def ends(*numbers: int) -> list[TransferEnded]:
    transfers = RebuiltTransfers()
    for number in numbers:
        transfers.add(INSTANCES[number])
    return sorted(transfers.ends(), key=lambda end: end.transfer_id)


def test_an_end_counts_the_instances_of_its_transfer_and_spans_their_times() -> None:
    first, second = ends(0, 1, 2, 3)

    assert (first.transfer_id, first.instances, first.outcome) == ("t1", 3, "rebuilt")
    assert (first.began_at, first.occurred_at) == (FIRST.received_at - MINUTE, FIRST.stored_at + MINUTE)
    assert first.size_bytes == 2 * FIRST.size_bytes + 7
    assert (second.transfer_id, second.instances) == ("t2", 1)


def test_the_order_of_instances_changes_nothing() -> None:
    assert all(ends(*order) == ends(0, 1, 2, 3) for order in permutations(range(4)))


def test_a_gateways_end_of_the_transfer_has_the_same_id() -> None:
    (end,) = ends(0)
    real = TransferEnd(end.tenant, "t1", FIRST.study_uid, "well", 1, end.began_at, end.occurred_at)

    assert real.event.event_id == end.event_id

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.latency import Clock, at, made, split
from tests.bench.scu import Refused, associated, fragment_bytes, fragments
from tests.e2e.generate import Volume, instances
from tests.unit.e2e.scp import Archive, always

SMALL = Volume(studies=2, slices=5, size=32)


def test_the_cheap_sender_sends_what_was_made() -> None:
    archive = Archive(always(0))
    every = list(instances(SMALL))

    with archive.running() as peer, associated(peer, every[0].sop_class, every[0].transfer_syntax) as association:
        answers = [association.store(one) for one in every]

    assert answers == [0] * 10
    assert archive.kept == {one.sop_uid: one.data_hash for one in every}


def test_the_cheap_sender_hears_a_failure() -> None:
    one = next(instances(SMALL))

    with (
        Archive(always(0xA700)).running() as peer,
        associated(peer, one.sop_class, one.transfer_syntax) as association,
    ):
        assert association.store(one) == 0xA700


def test_the_cheap_sender_is_refused_what_the_peer_does_not_take() -> None:
    one = next(instances(SMALL))

    with Archive(always(0)).running("1.2.840.10008.1.1") as peer, pytest.raises(Refused):
        associated(peer, one.sop_class, one.transfer_syntax).__enter__()


@given(data=st.binary(min_size=1, max_size=300), maximum=st.integers(8, 80))
def test_fragments_join_to_the_data_and_only_the_last_is_marked(data: bytes, maximum: int) -> None:
    size = fragment_bytes(maximum)

    pdus = list(fragments(data, size))

    assert b"".join(pdu[12:] for pdu in pdus) == data
    assert [pdu[11] for pdu in pdus] == [0] * (len(pdus) - 1) + [2]
    assert all(len(pdu) - 6 <= maximum for pdu in pdus)
    assert size % 2 == 0


def test_every_lane_gets_whole_studies() -> None:
    every = made(SMALL)

    lanes = split(every, 2)

    assert [[len(study) for study in lane] for lane in lanes] == [[5], [5]]
    assert {one.sop_uid for lane in lanes for study in lane for one in study} == {one.sop_uid for one in every}
    assert every[0].pixels is every[-1].pixels


def test_a_delay_counts_from_the_acknowledgement() -> None:
    clock = Clock(due={"1": 0.0, "2": 1.0}, acked={"1": 1.0, "2": 2.0, "3": 3.0}, seen={"1": 1.5, "2": 3.0})

    assert clock.delays() == [0.5, 1.0]
    assert clock.unseen() == ["3"]
    assert replace(clock, acked={}).delays() == []


def test_a_percentile_is_one_of_the_values() -> None:
    ordered = [n / 1000 for n in range(1, 101)]

    assert [at(share, ordered) for share in (0.5, 0.99, 1)] == [51, 100, 100]

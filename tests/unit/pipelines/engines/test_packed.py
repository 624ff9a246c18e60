"""The records of a batch are read as Java packs them. That Java does so is tested by the jobs on real servers."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from operators.stream.step import Record
from pipelines.engines.packed import unpack
from tests.support.worlds.packed import pack

records = st.builds(
    Record,
    st.text(max_size=40),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-1, 2**62),
    st.binary(max_size=100),
    st.binary(),
)


@given(st.lists(records))
def test_a_batch_has_its_records_in_their_order(some: list[Record]) -> None:
    assert unpack(pack(*some)) == tuple(some)


def test_the_key_of_a_foreign_record_may_be_longer_than_a_short_number_says() -> None:
    long = Record("instance-stored", 3, 41, 7, b"k" * 70_000, b"v")
    after = Record("t", 0, 0, 0, b"", b"")

    assert unpack(pack(long, after)) == (long, after)


def test_numbers_are_big_endian_as_in_java() -> None:
    numbers = struct.pack(">iqqhii", 1, 2, 3, 1, 2, 3)

    assert unpack(numbers + b"t" + b"ky" + b"val") == (Record("t", 1, 2, 3, b"ky", b"val"),)

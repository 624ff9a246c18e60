"""Buffered records are packed to bytes of state and unpacked again; bytes of another layout are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.stream.newer_release import UnknownState
from operators.stream.step import Record
from pipelines.engines.packed import pack, unpack

records = st.builds(
    Record,
    st.text(max_size=40),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-1, 2**62),
    st.binary(max_size=100),
    st.binary(),
)


@given(records)
def test_a_packed_record_reads_back(one: Record) -> None:
    assert unpack(pack(one)) == one


def test_bytes_of_another_layout_are_refused() -> None:
    packed = pack(Record("t", 0, 0, 0, b"", b""))

    with pytest.raises(UnknownState, match="version 9"):
        unpack(b"\x09" + packed[1:])

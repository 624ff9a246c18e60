"""The end of a file meta is found as soon as it is there, and never where the whole file would not have it."""

import struct

import pytest

from operators.dicom.instance import META_START, Part10, split_part10
from operators.dicom.part10 import MOST_BYTES, begin_part10
from operators.errors import Rejected
from tests.support.worlds.reading import part10

GOOD = part10()
META_END = split_part10(GOOD).prefix_length
# The group length, with the 12 bytes of its own element, says how much of the file meta is to come.
GROUP_LENGTH = struct.unpack_from("<I", GOOD, META_START + 8)[0]


def with_group_length(length: int) -> bytes:
    return GOOD[: META_START + 8] + struct.pack("<I", length) + GOOD[META_START + 12 :]


FILES = {
    "good": GOOD,
    "group-length-too-long": with_group_length(2**32 - 1),
    "group-length-too-short": with_group_length(GROUP_LENGTH - 2),
    "no-group-length": GOOD[:META_START] + GOOD[META_START + 12 :],
    "no-transfer-syntax": GOOD.replace(b"\2\0\x10\0UI", b"\2\0\x11\0UI", 1),
    "no-data-set": GOOD[:META_END],
    "cut-in-its-meta": GOOD[: META_END - 9],
    "no-magic": bytes(len(GOOD)),
    "empty": b"",
}


def answer(beginning: bytes, *, is_whole: bool) -> Part10 | str | None:
    try:
        return begin_part10(beginning, is_whole=is_whole)
    except Rejected as error:
        return error.reason


def split(whole: bytes) -> Part10 | str:
    try:
        return split_part10(whole)
    except Rejected as error:
        return error.reason


@pytest.mark.parametrize("whole", FILES.values(), ids=list(FILES))
def test_what_is_said_of_a_beginning_is_said_of_the_whole_file(whole: bytes) -> None:
    said = {answer(whole[:length], is_whole=False) for length in range(len(whole) + 1)}

    assert said <= {None, split(whole)}
    assert answer(whole, is_whole=True) == split(whole)


def test_a_file_meta_is_found_with_the_first_byte_behind_it() -> None:
    assert answer(GOOD[:META_END], is_whole=False) is None
    assert answer(GOOD[: META_END + 8], is_whole=False) == split(GOOD)


def test_a_file_meta_that_does_not_end_is_given_up() -> None:
    endless = bytes(128) + b"DICM" + b"\2\0\x02\x01OB\0\0" + struct.pack("<I", 2**31)

    assert answer(endless.ljust(MOST_BYTES - 1, b"\0"), is_whole=False) is None
    assert answer(endless.ljust(MOST_BYTES, b"\0"), is_whole=False) == "truncated-meta"

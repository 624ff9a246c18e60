"""Preamble and file meta: pydicom reads ours, and those of any file are found as soon as they are complete."""

import io
import struct
import warnings
import zlib

import pydicom
import pytest

from operators.dicom.instance import prefix_hash
from operators.dicom.part10 import (
    MAX_BEGINNING_BYTES,
    META_START,
    FileMeta,
    part10_prefix,
    split_incoming_part10,
    split_part10,
)
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from tests.support.data.elements import element
from tests.support.data.small_instances import data_set, short_element
from tests.support.worlds.reading import CT, part10


def test_pydicom_reads_our_prefix() -> None:
    written = part10_prefix(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meta = pydicom.dcmread(io.BytesIO(written + data_set())).file_meta

    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert meta.FileMetaInformationGroupLength == len(written) - 144
    assert meta.ImplementationClassUID.is_valid
    assert len(written) % 2 == 0
    assert split_part10(written) == (len(written), EXPLICIT_VR_LITTLE_ENDIAN, CT, "1.2.3")


def test_our_prefix_is_the_same_for_the_same_three_uids() -> None:
    written = part10_prefix(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN)

    assert prefix_hash(written) == "a177ca7cec90b979eded8f60a712f1639a9335980fd132658af3f29171c7314d"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_our_prefix_takes_only_uids(place: int) -> None:
    arguments = [CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN]
    arguments[place] = "../1"

    with pytest.raises(Rejected, match="no-usable-uid"):
        part10_prefix(*arguments)


def meta(*elements: bytes, group_length: int | None = None) -> bytes:
    length = b"" if group_length is None else short_element(0x00020000, "UL", struct.pack("<I", group_length))
    return bytes(128) + b"DICM" + length + b"".join(elements)


SYNTAX = short_element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
DEFLATED = short_element(0x00020010, "UI", b"1.2.840.10008.1.2.1.99")


@pytest.mark.parametrize("group_length", [None, len(SYNTAX), 4_000_000_000, 99])
def test_the_data_set_begins_where_file_meta_ends_whatever_its_group_length_says(group_length: int | None) -> None:
    file_meta = meta(SYNTAX, group_length=group_length)

    assert split_part10(file_meta + data_set())[:2] == (len(file_meta), "1.2.840.10008.1.2.1")


def test_the_group_length_tells_deflated_bytes_from_file_meta() -> None:
    file_meta = meta(DEFLATED, group_length=len(DEFLATED))

    assert split_part10(file_meta + b"\x02\x00deflated").prefix_length == len(file_meta)


MORE = short_element(0x00020012, "UI", b"1.2.3\0") + short_element(0x00020016, "AE", b"SENDER")
PRIVATE = short_element(0x00020100, "UI", b"1.2.4\0") + element(0x00020102, "OB", b"\1\2\3\4")
# In the group's order, and as some anonymizers write it: what they add comes last.
GROUPS = {"sorted": SYNTAX + MORE + PRIVATE, "syntax last": MORE + PRIVATE + SYNTAX, "alone": SYNTAX}
PLACES = [*range(0, 110, 3), 2**31, 2**32 - 1]


@pytest.mark.parametrize("group_length", PLACES)
@pytest.mark.parametrize("group", GROUPS.values(), ids=list(GROUPS))
def test_file_meta_is_every_element_of_its_group_wherever_its_length_ends(group: bytes, group_length: int) -> None:
    whole = meta(group, group_length=group_length) + data_set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(io.BytesIO(whole))

    found = split_part10(whole)
    assert (found.prefix_length, found.transfer_syntax) == (
        len(whole) - len(data_set()),
        read.file_meta.TransferSyntaxUID,
    )
    assert {answer(whole[:length], is_whole=False) for length in range(len(whole) + 1)} == {None, found}


@pytest.mark.parametrize("group_length", [0, 14, len(DEFLATED), None])
def test_file_meta_of_a_deflated_data_set_may_have_a_short_group_length_too(group_length: int | None) -> None:
    file_meta = meta(DEFLATED + MORE, group_length=group_length)

    assert split_part10(file_meta + zlib.compress(data_set(), wbits=-15)).prefix_length == len(file_meta)


NO_PART10 = {
    "nothing": (b"", "not-part10"),
    "no magic": (bytes(200), "not-part10"),
    "no file meta": (meta(), "no-transfer-syntax"),
    "no transfer syntax": (meta(short_element(0x00020002, "UI", b"1.2")), "no-transfer-syntax"),
    "an empty transfer syntax": (meta(short_element(0x00020010, "UI", b"")), "no-transfer-syntax"),
    "file meta cut short": (meta(SYNTAX)[:-1], "truncated-meta"),
    "an element header cut short": (meta(SYNTAX)[:-25], "truncated-meta"),
}


@pytest.mark.parametrize("claim", NO_PART10)
def test_a_file_that_is_not_part_10_is_refused_with_its_reason(claim: str) -> None:
    whole, reason = NO_PART10[claim]

    with pytest.raises(Rejected, match=reason):
        split_part10(whole)


GOOD = part10()
META_END = split_part10(GOOD).prefix_length
# The group length, with the 12 bytes of its own element, is how much of the file meta follows.
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


def answer(beginning: bytes, *, is_whole: bool) -> FileMeta | str | None:
    try:
        return split_incoming_part10(beginning, is_whole=is_whole)
    except Rejected as error:
        return error.reason


def split(whole: bytes) -> FileMeta | str:
    try:
        return split_part10(whole)
    except Rejected as error:
        return error.reason


@pytest.mark.parametrize("whole", FILES.values(), ids=list(FILES))
def test_a_beginning_gives_the_file_meta_of_the_whole_file_or_none(whole: bytes) -> None:
    said = {answer(whole[:length], is_whole=False) for length in range(len(whole) + 1)}

    assert said <= {None, split(whole)}
    assert answer(whole, is_whole=True) == split(whole)


def test_file_meta_is_found_once_the_next_element_has_arrived() -> None:
    assert answer(GOOD[:META_END], is_whole=False) is None
    assert answer(GOOD[: META_END + 8], is_whole=False) == split(GOOD)


def test_file_meta_that_does_not_end_is_refused() -> None:
    endless = bytes(128) + b"DICM" + b"\2\0\x02\x01OB\0\0" + struct.pack("<I", 2**31)

    assert answer(endless.ljust(MAX_BEGINNING_BYTES - 1, b"\0"), is_whole=False) is None
    assert answer(endless.ljust(MAX_BEGINNING_BYTES, b"\0"), is_whole=False) == "truncated-meta"

"""The parsers of data sets and file meta, and what they promise."""

import struct
import zlib
from collections.abc import Callable, Iterator

from operators.dicom.facts import MAX_TEXT_LENGTH
from operators.dicom.frames import MAX_LENGTHS_BYTES, frame_bytes, frame_range, pack, unpack
from operators.dicom.instance import Examination, examine
from operators.dicom.json import dicom_json, dumps
from operators.dicom.part10 import split_incoming_part10, split_part10
from operators.dicom.reasons import Reason
from operators.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from operators.errors import Rejected
from tests.fuzz.inputs import CT, cut, must_be, outcome
from tests.support.data.corpus import corpus_folder
from tests.support.data.elements import (
    CODE,
    ITEM_END,
    NATIVE,
    OPEN,
    SEQUENCE_END,
    SEQUENCES,
    STUDY_TO_PRIVATE,
    element,
    item,
)

JPEG = "1.2.840.10008.1.2.4.50"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, JPEG, DEFLATED)
REASONS = frozenset(reason.value for reason in Reason)
PREFIX_BYTES = 100
CORPUS_BYTES = 16 * 1024


def check_header(data: bytes) -> None:
    """Check that examine() rejects with a Reason, or returns texts that can be stored and frames within the object."""
    if not data:
        return
    transfer_syntax, dataset = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    try:
        examined = examine(memoryview(dataset), transfer_syntax, PREFIX_BYTES)
    except Rejected as rejected:
        must_be(rejected, REASONS)
        return
    assert examined.header_length <= PREFIX_BYTES + len(dataset)
    assert all(is_storable(text) for text in vars(examined.facts).values() if isinstance(text, str))
    _check_frames(examined, dataset)


def is_storable(text: str) -> bool:
    """True if a text can be in an event and in the catalog."""
    return len(text) <= MAX_TEXT_LENGTH and "\0" not in text and text == text.encode().decode()


def _check_frames(examined: Examination, dataset: bytes) -> None:
    frames = examined.frames
    assert len(frames.lengths) <= MAX_LENGTHS_BYTES
    assert unpack(pack(frames)) == frames
    if frames.kind not in {"native", "encapsulated"}:
        return
    for number in {1, frames.count // 2, frames.count} & set(range(1, frames.count + 1)):
        start, end = frame_range(frames, number)
        assert examined.header_length <= start <= end <= PREFIX_BYTES + len(dataset)
        if frames.kind == "encapsulated":
            assert len(_or_reason(frame_bytes, dataset[start - PREFIX_BYTES : end - PREFIX_BYTES])) <= end - start


def _or_reason(act: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        return act(data)
    except Rejected as rejected:
        must_be(rejected, REASONS)
        return b""


def check_metadata(data: bytes) -> None:
    """Check that a header that examine() accepts becomes DICOM JSON or is rejected for one of two reasons."""
    if not data:
        return
    transfer_syntax, dataset = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    try:
        end = examine(dataset, transfer_syntax, 0).header_length
        dumps(dicom_json(dataset[:end], 0, transfer_syntax, ""))
    except Rejected as rejected:
        must_be(rejected, REASONS | {"unreadable-header", "header-too-costly"})


def check_part10(data: bytes) -> None:
    """Check the promises of split_part10, and that split_incoming_part10 agrees with it however much of a file is there."""
    whole = bytes(128) + b"DICM" + data[1:] if data[:1] < b"\x80" else data[1:]
    found = outcome(split_part10, whole)
    assert found in REASONS or len(whole) >= found.prefix_length
    assert outcome(lambda some: split_incoming_part10(some, is_whole=True), whole) == found
    for piece in cut(whole, len(data)):
        early = outcome(lambda some: split_incoming_part10(some, is_whole=False), whole[: len(piece)])
        assert early in (None, found)


HEADER = (
    element(0x00080005, "CS", b"ISO 2022 IR 6\\ISO 2022 IR 87 ")
    + element(0x00080016, "UI", CT.encode() + b"\0")
    + element(0x00080018, "UI", b"1.2.3.4.5\0")
    + element(0x00080020, "DA", b"20260101")
    + SEQUENCES
    + element(0x00100010, "PN", b"A^B=\x1b$B;3ED\x1b(B^C")
    + STUDY_TO_PRIVATE
    + element(0x00291010, "UN", item(CODE + ITEM_END, OPEN) + SEQUENCE_END, OPEN)
    + element(0x00291012, "SQ", item(CODE * 3) * 2)
)
FRAGMENTS = item(b"\0\0\0\0\x0c\0\0\0") + item(b"ab\xff\xd9") * 3 + SEQUENCE_END
ENCAPSULATED = element(0x7FE00010, "OB", FRAGMENTS, OPEN)


def header_seeds() -> list[bytes]:
    """Return data sets with elements of every kind, in each transfer syntax, and small real ones where there are any."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bodies = {0: HEADER + NATIVE, 3: HEADER + ENCAPSULATED, 4: deflate.compress(HEADER + NATIVE) + deflate.flush()}
    implicit = struct.pack("<HHI", 8, 0x18, 4) + b"1.2\0" + struct.pack("<HHI", 0x40, 0xA730, OPEN) + FRAGMENTS[-8:]
    big = struct.pack(">HH2sH", 8, 0x18, b"UI", 4) + b"1.2\0"
    made = [bytes([choice]) + body for choice, body in (bodies | {1: implicit, 2: big}).items()]
    return made + [bytes([SYNTAXES.index(syntax)]) + data for syntax, data in _real() if syntax in SYNTAXES]


def part10_seeds() -> list[bytes]:
    """Return well formed and malformed file metas."""
    syntax = element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
    version = element(0x00020001, "OB", b"\0\1")
    length = element(0x00020000, "UL", struct.pack("<I", len(version + syntax)))
    return [b"\0" + length + version + syntax + HEADER[:40], b"\0" + syntax, b"\xff" + bytes(128) + b"DICM" + syntax]


def _real() -> Iterator[tuple[str, bytes]]:
    """Yield transfer syntax and data set of small files of the corpus, where there is one."""
    folder = corpus_folder()
    for path in sorted((folder / "synthetic").rglob("*.dcm")) if folder else ():
        if path.stat().st_size <= CORPUS_BYTES:
            whole = path.read_bytes()
            found = outcome(split_part10, whole)
            if not isinstance(found, str):
                yield found.transfer_syntax, whole[found.prefix_length :]

"""The most expensive data sets that we could think of: each costs seconds and megabytes at most."""

import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from operators.dicom.instance import examine, examining
from operators.dicom.scan import LIMITS, inflate
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from schemas.settings.intake import IntakeSettings
from tests.support.data.elements import ITEM_END, OPEN, SEQUENCE_END, element, item
from tests.support.faults.memory import memory_bytes

JPEG = "1.2.840.10008.1.2.4.50"
DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_S = 5.0
MOST_S_PER_MB = 2.0
MOST_PIECE_S = 0.05
MOST_BYTES = 256 << 20
OPEN_SEQUENCE = element(0x0040A730, "SQ", b"", OPEN)
OPEN_ITEM = item(length=OPEN)
EMPTY = element(0x00290001, "CS", b"")
UIDS = (
    element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    + element(0x00080018, "UI", b"1.2.3.4.5\0")
    + element(0x0020000D, "UI", b"1.2.3\0")
    + element(0x0020000E, "UI", b"1.2.3.4\0")
)
IMPLICIT_UIDS = b"".join(
    struct.pack("<HHI", group, number, 6) + b"1.2.3\0" for group, number in ((8, 0x16), (8, 0x18), (32, 13), (32, 14))
)
FRAMES = element(0x00280008, "IS", b"65000 ")
JAPANESE = element(0x00080005, "CS", b"ISO 2022 IR 6\\ISO 2022 IR 87 ")
TEXTS = (0x00100010, "PN"), (0x00100020, "LO"), (0x00081030, "LO"), (0x0008103E, "LO"), (0x00080090, "PN")


def deep(levels: int) -> bytes:
    return (OPEN_SEQUENCE + OPEN_ITEM) * levels + (ITEM_END + SEQUENCE_END) * levels


def deep_with_lengths(levels: int) -> bytes:
    inner = b""
    for _ in range(levels):
        inner = element(0x0040A730, "SQ", item(inner))
    return inner


def fragments(count: int, fragment: bytes = b"\0\0", table: bytes = b"") -> bytes:
    return element(0x7FE00010, "OB", item(table) + item(fragment) * count + SEQUENCE_END, OPEN)


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def zeros(megabytes: int, before: bytes = b"") -> bytes:
    """Return a deflated stream of `before` and megabytes of zeros, made by repeating one block."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = deflate.compress(before) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return head + block * megabytes + deflate.flush()


def long_text(megabytes: int) -> bytes:
    """Return a deflated text of this many megabytes, padded to a ninety-ninth of its size."""
    text = zeros(megabytes, UIDS + element(0x00400310, "UT", b"", megabytes << 20))
    return text + bytes((megabytes << 20) // 99 - len(text))


# By name: transfer syntax, maker of a data set of a given amount, amount, and reason of the rejection ("" if accepted).
CASES: dict[str, tuple[str, Callable[[int], bytes], int, str]] = {
    "tiny elements": (EXPLICIT_VR_LITTLE_ENDIAN, lambda n: UIDS + EMPTY * n, 1_000_000, "too-many-elements"),
    "tiny elements within the limit": (EXPLICIT_VR_LITTLE_ENDIAN, lambda n: UIDS + EMPTY * n, 199_990, ""),
    "tiny implicit elements": (
        IMPLICIT_VR_LITTLE_ENDIAN,
        lambda n: IMPLICIT_UIDS + struct.pack("<HHI", 0x29, 1, 0) * n,
        199_990,
        "",
    ),
    "open items": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + OPEN_SEQUENCE + (OPEN_ITEM + EMPTY + ITEM_END) * n + SEQUENCE_END,
        99_999,
        "",
    ),
    "empty items": (EXPLICIT_VR_LITTLE_ENDIAN, lambda n: UIDS + element(0x0040A730, "SQ", item() * n), 100_000, ""),
    "a giant private table": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + element(0x00291010, "UN", item(bytes(8)) * n),
        5_000_000,
        "too-many-items",
    ),
    "many sequences": (EXPLICIT_VR_LITTLE_ENDIAN, lambda n: UIDS + (OPEN_SEQUENCE + SEQUENCE_END) * n, 199_000, ""),
    "many deep sequences": (EXPLICIT_VR_LITTLE_ENDIAN, lambda n: UIDS + deep(64) * n, 1_500, ""),
    "many deep sequences of defined length": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + deep_with_lengths(64) * n,
        1_500,
        "",
    ),
    "ever deeper": (EXPLICIT_VR_LITTLE_ENDIAN, lambda n: UIDS + deep(n), 100_000, "too-deep"),
    "lying items in items": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + element(0x0040A730, "SQ", item(element(0x00290010, "UN", item(length=2**31)) * n)),
        99_000,
        "",
    ),
    "a value of 200 MB": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + element(0x00400310, "UT", bytes(n)),
        200_000_000,
        "",
    ),
    "a length beyond the bytes": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + EMPTY * n + element(0x00400310, "UT", b"", OPEN - 1),
        100_000,
        "truncated-header",
    ),
    "one frame in fragments of two bytes": (JPEG, lambda n: UIDS + fragments(n), 262_000, ""),
    "frames in fragments of two bytes": (JPEG, lambda n: UIDS + FRAMES + fragments(n), 262_000, ""),
    "frames in fragments of end markers": (JPEG, lambda n: UIDS + FRAMES + fragments(n, b"\xff\xd9"), 262_000, ""),
    "millions of fragments": (JPEG, lambda n: UIDS + FRAMES + fragments(n), 10_000_000, ""),
    "millions of empty fragments": (JPEG, lambda n: UIDS + FRAMES + fragments(n, b""), 10_000_000, ""),
    "an offset table of lies": (
        JPEG,
        lambda n: UIDS + FRAMES + fragments(n, table=struct.pack(f"<{n}I", *range(n))),
        262_000,
        "",
    ),
    "an extended offset table of lies": (
        JPEG,
        lambda n: UIDS + FRAMES + element(0x7FE00001, "OV", struct.pack(f"<{n}Q", *range(n))) + fragments(n),
        262_000,
        "",
    ),
    "escape sequences": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: JAPANESE + UIDS + b"".join(element(tag, vr, b"\x1b$B" * n) for tag, vr in TEXTS),
        20_000,
        "",
    ),
    "character sets": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: element(0x00080005, "CS", b"\\".join([b"ISO 2022 IR 87"] * n)) + UIDS,
        4_000,
        "",
    ),
    "backslashes": (
        EXPLICIT_VR_LITTLE_ENDIAN,
        lambda n: UIDS + b"".join(element(tag, vr, b"\\" * n) for tag, vr in TEXTS),
        60_000,
        "",
    ),
    "a deflate bomb": (DEFLATED, zeros, 1024, "too-inflated"),
    "as much as may be inflated": (DEFLATED, long_text, 500, "truncated-header"),
    "deflated elements": (DEFLATED, lambda n: deflated(UIDS + EMPTY * n) + bytes(n // 10), 199_990, ""),
    "a lie deep in deflated bytes": (
        DEFLATED,
        lambda n: deflated(UIDS + EMPTY * n + element(0x00400310, "UT", b"", OPEN - 1)) + bytes(n // 10),
        100_000,
        "truncated-header",
    ),
    "empty deflate blocks": (DEFLATED, lambda n: b"\0\0\0\xff\xff" * n, 10_000_000, "no-usable-uid"),
    "bytes after a deflated data set": (DEFLATED, lambda n: deflated(UIDS) + bytes(n), 100_000_000, ""),
}


def reason_of(data: bytes, transfer_syntax: str) -> str:
    try:
        examine(data, transfer_syntax, 300)
    except Rejected as rejected:
        return rejected.reason
    return ""


@pytest.mark.parametrize("case", CASES)
def test_the_most_expensive_data_sets_cost_seconds_and_megabytes(case: str) -> None:
    transfer_syntax, make, amount, reason = CASES[case]
    data = make(amount)
    before_bytes, began = memory_bytes("VmRSS"), time.process_time()
    # Reset the peak of resident memory, VmHWM (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    found = reason_of(data, transfer_syntax)
    took_s, took_bytes = time.process_time() - began, memory_bytes("VmHWM") - before_bytes

    assert found == reason
    assert took_s < min(MOST_S, 0.5 + MOST_S_PER_MB * len(data) / 1e6)
    assert took_bytes < MOST_BYTES


def longest_piece_s(data: bytes, transfer_syntax: str) -> float:
    """Return the CPU seconds of the longest piece of an examination; what a thread inflates is not counted."""
    longest_s = 0.0
    with suppress(Rejected):
        inflated = inflate(data) if transfer_syntax == DEFLATED else None
        work, is_going_on = examining(data, transfer_syntax, 300, inflated=inflated), True
        while is_going_on:
            began_s = time.thread_time()
            is_going_on = next(work, work) is None
            longest_s = max(longest_s, time.thread_time() - began_s)
    return longest_s


@pytest.mark.parametrize("case", CASES)
def test_no_piece_of_the_most_expensive_data_sets_holds_an_event_loop(case: str) -> None:
    transfer_syntax, make, amount, _ = CASES[case]
    data = make(amount)

    assert any(longest_piece_s(data, transfer_syntax) < MOST_PIECE_S for _ in range(3))


def test_the_limits_are_those_of_the_settings() -> None:
    settings = IntakeSettings()

    assert vars(LIMITS) == {name: getattr(settings, name) for name in vars(LIMITS)}

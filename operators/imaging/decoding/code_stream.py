"""What a compressed frame's code stream says of its samples: their bits, their sign, their colours.

A JPEG or JPEG-LS code stream knows no sign. Source: ITU-T T.81 B.2, T.87 C.2, T.800 A.4 to A.6, T.872 6.5.3 (Adobe).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

JPEG_START, JPEG_2000_START = b"\xff\xd8", b"\xff\x4f"
# The box that holds the code stream in a JP2 file, which some senders put into a fragment.
JP2_START, CODE_STREAM_BOX = b"\0\0\0\x0cjP  ", b"jp2c"
# Start of frame: every process of JPEG (T.81 table B.1), and JPEG-LS.
FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
# Markers after which no segment of the header comes: start of scan, of a tile-part, of data, end of the code stream.
LAST_MARKERS = frozenset({0xDA, 0x90, 0x93, 0xD9})
APP14, SIZE, CODING_STYLE = 0xEE, 0x51, 0x52
ADOBE, ADOBE_TRANSFORM = b"Adobe", 11
# The processes of JPEG whose scans have all coefficients of a block, the last being number 63 (T.81 table B.3).
SEQUENTIAL, SCAN, LAST_COEFFICIENT = frozenset({0xC0, 0xC1}), 0xDA, 63
COMPONENT_BITS, MULTIPLE_COMPONENTS = 36, 4
COLOUR_COMPONENTS = 3


@dataclass(frozen=True)
class CodeStream:
    """What is said of the samples; `precision` is the bits of each, `is_signed` True only for JPEG 2000.

    `photometric_interpretation` is that of the decoded samples, empty if the code stream does not tell.
    """

    precision: int
    is_signed: bool = False
    photometric_interpretation: str = ""


def read_code_stream(stream: bytes) -> CodeStream | None:
    """Return what a code stream says of its samples; None if it is none of JPEG, JPEG-LS and JPEG 2000."""
    if stream.startswith(JPEG_START):
        return _jpeg(stream)
    start = stream.find(CODE_STREAM_BOX) + len(CODE_STREAM_BOX) if stream.startswith(JP2_START) else 0
    return _jpeg_2000(stream[start:]) if stream.startswith(JPEG_2000_START, start) else None


def with_full_spectrum(stream: bytes) -> bytes:
    """Return a JPEG of a sequential process with the last coefficient that its first scan must name; others unchanged.

    Some writers name coefficient 0, which decoders refuse though they need no such name: dcmtk draws those images.
    """
    markers = dict(_markers(stream)) if stream.startswith(JPEG_START) else {}
    if SCAN not in markers or not SEQUENTIAL & markers.keys():
        return stream
    start = markers[SCAN] + 2
    end = start + int.from_bytes(stream[start : start + 2]) - 2
    if not start < end < len(stream):
        return stream
    return stream[:end] + bytes([LAST_COEFFICIENT]) + stream[end + 1 :]


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment of the header; what is cut short ends it."""
    for marker, position in _markers(stream):
        if marker in LAST_MARKERS:
            return
        (length,) = struct.unpack_from(">H", stream, position + 2)
        yield marker, stream[position + 4 : position + 2 + length]


def _markers(stream: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment of the header, and of the marker after it."""
    position = 2
    while position + 4 <= len(stream) and stream[position] == 0xFF:  # noqa: PLR2004 (every marker begins so)
        marker = stream[position + 1]
        if marker == 0xFF:  # noqa: PLR2004 (a fill byte, T.81 B.1.1.2)
            position += 1
            continue
        yield marker, position
        if marker in LAST_MARKERS:
            return
        position += 2 + int.from_bytes(stream[position + 2 : position + 4])


def _jpeg(stream: bytes) -> CodeStream | None:
    colours = ""
    for marker, content in _segments(stream):
        if marker == APP14 and content.startswith(ADOBE) and len(content) > ADOBE_TRANSFORM:
            colours = {0: "RGB", 1: "YBR_FULL"}.get(content[ADOBE_TRANSFORM], "")
        if marker in FRAME_MARKERS and len(content) > COLOUR_COMPONENTS + 2:
            is_colour = content[5] == COLOUR_COMPONENTS
            return CodeStream(content[0], photometric_interpretation=colours if is_colour else "")
    return None


def _jpeg_2000(stream: bytes) -> CodeStream | None:
    found = dict(_segments(stream))
    size, style = found.get(SIZE, b""), found.get(CODING_STYLE, b"")
    if len(size) <= COMPONENT_BITS:
        return None
    bits = size[COMPONENT_BITS]
    is_transformed = len(style) > MULTIPLE_COMPONENTS and style[MULTIPLE_COMPONENTS] == 1
    return CodeStream((bits & 0x7F) + 1, bool(bits & 0x80), "RGB" if is_transformed else "")

"""The transfer syntaxes by UID, and how each one writes a data set: byte order, VRs, pixels, deflate (PS3.5 A).

The sizes of binary numbers are here too, which are alike in all of them (PS3.5 table 6.2-1).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
JPIP_REFERENCED_DEFLATE = "1.2.840.10008.1.2.4.95"
JPIP_HTJ2K_REFERENCED_DEFLATE = "1.2.840.10008.1.2.4.205"
# The pixels of these lie on a server, and the data set has their address (PS3.5 A.6, A.7, A.12, A.13).
REFERENCED = frozenset(
    {"1.2.840.10008.1.2.4.94", JPIP_REFERENCED_DEFLATE, "1.2.840.10008.1.2.4.204", JPIP_HTJ2K_REFERENCED_DEFLATE}
)

# MPEG-2, MPEG-4 and HEVC: a stream of all frames, in as many fragments as the writer liked (PS3.5 8.2.5 to 8.2.8).
VIDEO_ROOTS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))

# The letters of struct for the VRs of numbers.
FORMATS = {"US": "H", "UL": "I", "SS": "h", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# The bytes of one value. Those of OW and OB are any number that is even.
VALUE_BYTES = {vr: struct.calcsize("<" + letter) for vr, letter in FORMATS.items()} | {
    "AT": 4,
    "OF": 4,
    "OL": 4,
    "OD": 8,
    "OV": 8,
}
# The bits that are not set in the length of any number of whole values: all sizes are powers of two.
REST_BITS = {vr: size - 1 for vr, size in VALUE_BYTES.items()}


@dataclass(frozen=True)
class TransferSyntax:
    """How a data set is written.

    Its elements have VRs when `is_explicit`, its numbers are big-endian when `is_big_endian`, its frames lie in items
    when `is_encapsulated`, and the whole data set is one deflate stream (RFC 1951) when `is_deflated`.
    """

    is_explicit: bool = True
    is_big_endian: bool = False
    is_encapsulated: bool = False
    is_deflated: bool = False


# PS3.5 A.1 to A.3, A.5, A.7 and A.11. Every other transfer syntax is explicit little endian with encapsulated pixels.
UNENCAPSULATED: Mapping[str, TransferSyntax] = {
    IMPLICIT_VR_LITTLE_ENDIAN: TransferSyntax(is_explicit=False),
    EXPLICIT_VR_LITTLE_ENDIAN: TransferSyntax(),
    EXPLICIT_VR_BIG_ENDIAN: TransferSyntax(is_big_endian=True),
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: TransferSyntax(is_deflated=True),
    JPIP_REFERENCED_DEFLATE: TransferSyntax(is_deflated=True),
    JPIP_HTJ2K_REFERENCED_DEFLATE: TransferSyntax(is_deflated=True),
}
ENCAPSULATED = TransferSyntax(is_encapsulated=True)

# The data set is one deflate stream: no byte range of the object is a value or a frame.
DEFLATED = frozenset(uid for uid, syntax in UNENCAPSULATED.items() if syntax.is_deflated)
# Frames follow each other in the object, without headers.
NATIVE = frozenset(UNENCAPSULATED) - DEFLATED


def transfer_syntax_of(uid: str) -> TransferSyntax:
    """Return how the data sets of a transfer syntax are written; an unknown UID counts as encapsulated (PS3.5 A.4)."""
    return UNENCAPSULATED.get(uid, ENCAPSULATED)


def is_form_of_pixels(uid: str, length: int | None) -> bool:
    """True if pixels of this length, None if undefined, have the form that the transfer syntax says.

    Encapsulated pixels have an undefined length, native ones a defined length. Where the two contradict each other,
    nothing says what the bytes are. Source: PS3.5 A.1 to A.4.
    """
    return transfer_syntax_of(uid).is_encapsulated == (length is None)


def is_video(uid: str) -> bool:
    """True for the transfer syntaxes of videos, fragmentable ones included (".100.1" beside ".100")."""
    return uid.startswith(VIDEO_ROOTS)


@cache
def rest_bits_by_tag() -> dict[int, int]:
    """Return the REST_BITS of each tag in the standard's dictionary whose VRs all have values of one size."""
    # Here, because only data sets without VRs need it: the scan itself works in little memory.
    from pydicom.datadict import DicomDictionary  # noqa: PLC0415

    bits = {tag: {REST_BITS.get(vr, 0) for vr in entry[0].split(" or ")} for tag, entry in DicomDictionary.items()}
    return {tag: found.pop() for tag, found in bits.items() if len(found) == 1 and 0 not in found}

"""Matching Accept headers with the stored form of instances, frames and values; nothing is transcoded.

A client that names no transfer syntax gets instances as stored. PS3.18 8.7.3.5.2 requires Explicit VR Little Endian in
that case, which would need a transcoder.
"""

from collections.abc import Mapping, Sequence

from api.http.problems import not_acceptable
from operators.catalog.ports import Location
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from operators.http.accept import MediaRange
from operators.http.media_types import DICOM, MULTIPART, OCTETS
from operators.http.problem import Problem

COMPRESSED = "1.2.840.10008.1.2."

# PS3.18 table 8.7.3-5: the media types of compressed frames, and the transfer syntax of each unless another is named.
DEFAULTS: Mapping[str, str] = {
    "image/jpeg": "4.70",
    "image/dicom-rle": "5",
    "image/jls": "4.80",
    "image/jp2": "4.90",
    "image/jpx": "4.92",
    "image/jphc": "4.201",
    "image/jxl": "4.110",
    "video/mpeg2": "4.100",
    "video/mp4": "4.102",
    "video/H265": "4.107",
}
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "image/jpeg": ("4.50", "4.51", "4.57", "4.70"),
    "image/dicom-rle": ("5",),
    "image/jls": ("4.80", "4.81"),
    "image/jp2": ("4.90", "4.91"),
    "image/jpx": ("4.92", "4.93"),
    "image/jphc": ("4.201", "4.202", "4.203"),
    "image/jxl": ("4.110", "4.111", "4.112"),
    "video/mpeg2": ("4.100", "4.100.1", "4.101", "4.101.1"),
    "video/mp4": ("4.102", "4.102.1", "4.103", "4.103.1", "4.104", "4.104.1", "4.105", "4.105.1", "4.106", "4.106.1"),
    "video/H265": ("4.107", "4.108"),
}
MEDIA_TYPES = {COMPRESSED + syntax: media_type for media_type, syntaxes in MEMBERS.items() for syntax in syntaxes}


def stored_frames(transfer_syntax: str, *, is_native: bool) -> tuple[str, str]:
    """Return the media type of an instance's frames, and the transfer syntax that names their form.

    Native frames have the same bytes in Implicit and in Explicit VR, so both are named Explicit VR.
    """
    if is_native:
        is_big = transfer_syntax == EXPLICIT_VR_BIG_ENDIAN
        return OCTETS, transfer_syntax if is_big else EXPLICIT_VR_LITTLE_ENDIAN
    return MEDIA_TYPES.get(transfer_syntax, OCTETS), transfer_syntax


def wants_instances_in_parts(ranges: Sequence[MediaRange], locations: Sequence[Location]) -> bool:
    """True if the client wants instances in parts, False if it wants the only instance alone.

    Raises Problem (406) when it accepts neither in the stored form.
    """
    for wanted in ranges:
        is_multipart = wanted.is_multipart or wanted.media_type == "*/*"
        is_stored = all(wanted.transfer_syntax in (None, "*", location.transfer_syntax) for location in locations)
        if wanted.takes(DICOM) and is_stored and (is_multipart or len(locations) == 1):
            return is_multipart
    stored = sorted({location.transfer_syntax for location in locations})
    raise _offer(DICOM, stored[0] if len(stored) == 1 else "*", is_single=len(locations) == 1)


def wants_value_in_a_part(ranges: Sequence[MediaRange]) -> bool:
    """True if the client wants a value in a part, False if it wants the value alone; raises Problem (406)."""
    for wanted in ranges:
        if wanted.takes(OCTETS):
            return wanted.is_multipart
    raise not_acceptable(f'{OCTETS} or {MULTIPART}; type="{OCTETS}"')


def wants_frames_in_parts(ranges: Sequence[MediaRange], media_type: str, syntax: str, count: int) -> bool:
    """True if the client wants frames in parts, False if it wants the only frame alone; raises Problem (406)."""
    for wanted in ranges:
        is_multipart = wanted.is_multipart or wanted.media_type == "*/*"
        if _takes_frames(wanted, media_type, syntax) and (is_multipart or count == 1):
            return is_multipart
    raise _offer(media_type, syntax, is_single=count == 1)


def _takes_frames(wanted: MediaRange, media_type: str, syntax: str) -> bool:
    """True if a range includes frames of this form; viewers request octets with transfer-syntax=* for any form."""
    if wanted.transfer_syntax in ("*", syntax):
        return wanted.takes(media_type.lower()) or wanted.media_type == OCTETS
    is_default = "*" in wanted.media_type or syntax == _default(media_type)
    return wanted.transfer_syntax is None and wanted.takes(media_type.lower()) and is_default


def _default(media_type: str) -> str:
    return COMPRESSED + DEFAULTS[media_type] if media_type in DEFAULTS else EXPLICIT_VR_LITTLE_ENDIAN


def _offer(media_type: str, syntax: str, *, is_single: bool) -> Problem:
    multipart = f'{MULTIPART}; type="{media_type}"; transfer-syntax={syntax}'
    return not_acceptable(f"{multipart} or {media_type}; transfer-syntax={syntax}" if is_single else multipart)


def choose_rendered(ranges: Sequence[MediaRange], offered: Sequence[str], count: int) -> tuple[str, bool]:
    """Return the media type for `count` rendered resources, True if they go in parts; raises Problem (406)."""
    for wanted in ranges:
        for media_type in offered:
            is_multipart = wanted.is_multipart or (wanted.media_type == "*/*" and count > 1)
            if wanted.takes(media_type.lower()) and (is_multipart or count == 1):
                return media_type, is_multipart
    multipart = " or ".join(f'{MULTIPART}; type="{media_type}"' for media_type in offered)
    raise not_acceptable(f"{' or '.join(offered)} or {multipart}" if count == 1 else multipart)

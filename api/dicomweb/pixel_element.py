"""The pixel element of an object and the elements behind it, found without reading the pixels.

The catalog says where the pixel element begins and where encapsulated frames end; the element's header says the rest.
"""

from api.dicomweb.sizes import HEADER_BYTES, PIXEL_HEADER_BYTES
from operators.catalog.ports import Location
from operators.dicom.frames import DELIMITERS, frame_range, listed_frames
from operators.dicom.json import AfterHeader
from operators.dicom.scan import Pixels, scan
from operators.dicom.transfer_syntaxes import DEFLATED
from operators.errors import Rejected
from operators.retrieval.reading import ArchiveReader
from schemas.events import Frames


async def read_after_header(reader: ArchiveReader, location: Location, beginning: bytes = b"") -> AfterHeader:
    """Return what an object has after its header, without the pixels; nothing for a deflated object.

    `beginning` is the object's beginning, up to PIXEL_HEADER_BYTES after its header, if it was read already. What lies
    behind the pixels is read, up to HEADER_BYTES, only from the few objects that have anything there.
    """
    if location.transfer_syntax in DEFLATED:
        return AfterHeader()
    start, end = location.header_length, min(location.header_length + PIXEL_HEADER_BYTES, location.size_bytes)
    first = beginning[start:end] if len(beginning) >= end else await _read(reader, location, start, end)
    pixels = _pixels_at(first, location.transfer_syntax)
    if pixels is None:
        return AfterHeader()
    behind = await _end_of_pixels(reader, location, pixels)
    if behind is None or behind >= location.size_bytes:
        return AfterHeader(pixels)
    return AfterHeader(pixels, await _read(reader, location, behind, behind + HEADER_BYTES), behind)


def _pixels_at(first: bytes, transfer_syntax: str) -> Pixels | None:
    """Return the pixel element that begins with these bytes, None when they begin none."""
    try:
        return scan(first, transfer_syntax, frozenset()).pixels
    except Rejected:
        return None


async def _end_of_pixels(reader: ArchiveReader, location: Location, pixels: Pixels) -> int | None:
    """Return where the pixel element ends in the object; None when the places of its items are unknown."""
    if pixels.length is not None:
        return location.header_length + pixels.start + pixels.length
    located = location
    if not location.frames:
        located = await reader.locate_one(location.study_uid, location.series_uid, location.sop_uid)
    frames = listed_frames(located.frames, location.transfer_syntax)
    start = _end_of_items(frames)
    if start is None or located.data_hash != location.data_hash:
        return None
    end = start + len(DELIMITERS[0])
    # The scan that listed the frames may have ended at a fault.
    is_ended = end >= location.size_bytes or await _read(reader, location, start, end) in DELIMITERS
    return end if is_ended else None


def _end_of_items(frames: Frames) -> int | None:
    """Return where the items of encapsulated pixels end in the object, None when that is unknown."""
    if frames.kind == "unlisted" and frames.offset:
        return frames.offset + frames.length
    return frame_range(frames, frames.count)[1] if frames.kind == "encapsulated" and frames.count else None


async def _read(reader: ArchiveReader, location: Location, start: int, end: int) -> bytes:
    end = min(end, location.size_bytes)
    return await reader.read_range(location, start, end) if start < end else b""

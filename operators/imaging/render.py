"""The rendering of one frame, from stored bytes to a picture file.

The bytes come from anyone: run this in a process that may crash or run out of memory.
"""

import zlib
from contextlib import suppress
from dataclasses import dataclass, field

from pydicom.encaps import get_frame

from operators.dicom.frames import NATIVE, frame_bytes
from operators.dicom.scan import DEFLATED, EXPLICIT_VR_LITTLE_ENDIAN, scan
from operators.errors import Rejected
from operators.imaging.display import Look, describe, look_of, read_image
from operators.imaging.gray import GrayLook
from operators.imaging.job import RenderJob
from operators.imaging.picture import FORMATS, encoded, picture
from operators.imaging.pixels import BIT, DECODERS, PixelDescription, bit_packed, decode
from operators.imaging.reasons import NO_PIXELS, TOO_LARGE, UNDECODABLE
from operators.imaging.request import Rendering, Viewport


def render(job: RenderJob) -> bytes:
    """Return the picture file of the job's frame; raises Rejected with a reason when this frame can never be rendered."""
    source = _cut(job) if job.form == "object" else _Source(job.header, job.prefix_length, job.transfer_syntax)
    image = read_image(source.header, source.prefix_length, source.transfer_syntax)
    description = describe(image)
    if description.size_bytes > job.most_bytes:
        raise Rejected(TOO_LARGE)
    stream = _stream(job, source, description)
    is_native = source.transfer_syntax in NATIVE
    decoded = decode(stream, description, source.transfer_syntax, is_native=is_native)
    look = look_of(image, description, job.number)
    return encoded(picture(decoded, look, job.rendering), job.rendering, look.aspect)


@dataclass(frozen=True)
class _Source:
    """A header to read, and for a whole object the value of its pixel element."""

    header: bytes = field(repr=False)
    prefix_length: int
    transfer_syntax: str
    pixels: bytes = field(default=b"", repr=False)


def _cut(job: RenderJob) -> _Source:
    """Take a whole object apart; a deflated one is inflated, to no more than may be decoded."""
    data, syntax = job.frame[job.prefix_length :], job.transfer_syntax
    if syntax in DEFLATED:
        data, syntax = _inflated(data, job.most_bytes), EXPLICIT_VR_LITTLE_ENDIAN
    header = scan(data, syntax, frozenset())
    if header.pixels is None:
        raise Rejected(NO_PIXELS)
    start, length = header.pixels.start, header.pixels.length
    return _Source(data[:start], 0, syntax, data[start:] if length is None else data[start : start + length])


def _inflated(data: bytes, most_bytes: int) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, most_bytes)
    except zlib.error:
        raise Rejected(UNDECODABLE) from None
    if stream.unconsumed_tail:
        raise Rejected(TOO_LARGE)
    return inflated


def _stream(job: RenderJob, source: _Source, description: PixelDescription) -> bytes:
    """Return the frame's own bytes."""
    if job.form == "native":
        return job.frame
    if job.form == "encapsulated":
        return frame_bytes(job.frame)
    if source.transfer_syntax not in NATIVE:
        return _found_frame(source.pixels, job.number)
    if description.bits_allocated == BIT:
        return bit_packed(source.pixels, description, job.number)
    size = description.native_bytes
    return source.pixels[(job.number - 1) * size : job.number * size]


def _found_frame(pixels: bytes, number: int) -> bytes:
    """Return a frame of encapsulated pixels that no table lists, as pydicom finds it."""
    try:
        return bytes(get_frame(pixels, number - 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign bytes
        raise Rejected(UNDECODABLE) from None


def warm_up() -> None:
    """Run through every decoder and every format once, so that nothing is left to be loaded."""
    description = PixelDescription(8, 8, 1, 8, 8, 7, is_signed=False, photometric_interpretation="MONOCHROME2")
    samples = decode(bytes(64), description, EXPLICIT_VR_LITTLE_ENDIAN, is_native=True)
    for media_type in FORMATS:
        encoded(
            picture(samples, Look(GrayLook()), Rendering(media_type)), Rendering(media_type, viewport=Viewport(4, 4))
        )
    for transfer_syntax in DECODERS:
        with suppress(Rejected):
            decode(b"\xff\xd8\xff\xd9", description, transfer_syntax, is_native=False)

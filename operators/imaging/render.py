"""The rendering of one frame, from stored bytes to a picture file.

The bytes are not trusted: run this in a process that may crash or run out of memory.
"""

import zlib
from contextlib import suppress
from dataclasses import dataclass, field

from pydicom.encaps import get_frame

from operators.dicom.frames import frame_bytes, walking_items
from operators.dicom.scan import scan
from operators.dicom.transfer_syntaxes import DEFLATED, EXPLICIT_VR_LITTLE_ENDIAN, NATIVE, is_form_of_pixels
from operators.errors import Rejected
from operators.imaging.decoding.pixels import DECODERS, DecodedFrame, PixelDescription, decode, native_frame
from operators.imaging.display import DisplayParameters, display_parameters
from operators.imaging.gray import GrayTransform
from operators.imaging.header import ImageHeader, describe_pixels, read_image_header
from operators.imaging.job import RenderJob
from operators.imaging.picture import FORMATS, encode, make_picture
from operators.imaging.reasons import NO_PIXELS, TOO_LARGE, UNDECODABLE
from operators.imaging.request import Rendering, Viewport
from operators.pieces import finished


def render(job: RenderJob) -> bytes:
    """Return the picture file of the job's frame; raises Rejected when the frame can never be rendered."""
    image, description, decoded = decode_job(job)
    display = display_parameters(image, description, job.number)
    return encode(make_picture(decoded, display, job.rendering), job.rendering, display.aspect)


def decode_job(job: RenderJob) -> tuple[ImageHeader, PixelDescription, DecodedFrame]:
    """Return the job's image, the description of its samples, and its frame decoded; raises Rejected as render()."""
    is_object = job.form == "object"
    source = _source_in_object(job) if is_object else _Source(job.header, job.prefix_length, job.transfer_syntax)
    image = read_image_header(source.header, source.prefix_length, source.transfer_syntax)
    if not is_form_of_pixels(source.transfer_syntax, image.pixels.length) or _is_of_items(source):
        raise Rejected(UNDECODABLE)
    description = describe_pixels(image)
    if description.size_bytes > job.most_bytes:
        raise Rejected(TOO_LARGE)
    return image, description, _decoded(job, source, description)


@dataclass(frozen=True)
class _Source:
    """The header of an image, and the value of its pixel element if the job has the whole object."""

    header: bytes = field(repr=False)
    prefix_length: int
    transfer_syntax: str
    pixels: bytes = field(default=b"", repr=False)


def _source_in_object(job: RenderJob) -> _Source:
    """Return header and pixels of a job's whole object; a deflated data set is inflated to at most `most_bytes`."""
    data, syntax = job.frame[job.prefix_length :], job.transfer_syntax
    if syntax in DEFLATED:
        data, syntax = _inflated(data, job.most_bytes), EXPLICIT_VR_LITTLE_ENDIAN
    header = scan(data, syntax, frozenset())
    if header.pixels is None:
        raise Rejected(NO_PIXELS)
    start, length = header.pixels.start, header.pixels.length
    return _Source(data[:start], 0, syntax, data[start:] if length is None else data[start : start + length])


def _is_of_items(source: _Source) -> bool:
    """True if native pixels are items; a catalog lists no frames of such pixels, so that the job has the whole object."""
    is_native = source.transfer_syntax in NATIVE
    return is_native and finished(walking_items(source.pixels, 0, len(source.pixels)))


def _inflated(data: bytes, most_bytes: int) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, most_bytes)
    except zlib.error:
        raise Rejected(UNDECODABLE) from None
    if stream.unconsumed_tail:
        raise Rejected(TOO_LARGE)
    return inflated


def _decoded(job: RenderJob, source: _Source, description: PixelDescription) -> DecodedFrame:
    frame, is_native = _frame(job, source, description), source.transfer_syntax in NATIVE
    return decode(frame, description, source.transfer_syntax, is_native=is_native)


def _frame(job: RenderJob, source: _Source, description: PixelDescription) -> bytes:
    """Return the bytes of the job's frame: native samples, or a code stream with its fragments joined."""
    if job.form == "native":
        return job.frame
    if job.form == "encapsulated":
        return frame_bytes(job.frame)
    if source.transfer_syntax not in NATIVE:
        return _searched_frame(source.pixels, job.number)
    return native_frame(source.pixels, description, job.number)


def _searched_frame(pixels: bytes, number: int) -> bytes:
    """Return a frame of encapsulated pixels that have no reliable offset table; pydicom locates it."""
    try:
        return bytes(get_frame(pixels, number - 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign bytes
        raise Rejected(UNDECODABLE) from None


def warm_up() -> None:
    """Load every library, by using every decoder and every format once."""
    description = PixelDescription(8, 8, 1, 8, 8, 7, is_signed=False, photometric_interpretation="MONOCHROME2")
    samples = decode(bytes(64), description, EXPLICIT_VR_LITTLE_ENDIAN, is_native=True)
    for media_type in FORMATS:
        picture = make_picture(samples, DisplayParameters(GrayTransform()), Rendering(media_type))
        encode(picture, Rendering(media_type, viewport=Viewport(4, 4)))
    for transfer_syntax in DECODERS:
        with suppress(Rejected):
            decode(b"\xff\xd8\xff\xd9", description, transfer_syntax, is_native=False)

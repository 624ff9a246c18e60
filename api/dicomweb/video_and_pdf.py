"""Videos and encapsulated PDFs, whose rendered form is their stored form (PS3.18 8.7.4)."""

from contextlib import aclosing
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.bulkdata import BulkValue, find_value
from api.dicomweb.sizes import PIXEL_HEADER_BYTES
from api.http.etags import etag, headers, unchanged
from api.http.media import MEDIA_TYPES
from api.http.problems import not_renderable
from api.http.streaming import Chunks, StreamedResponse
from api.services import hold_inflated, reader_of, services_of
from operators.catalog.ports import Location
from operators.dicom.bulkdata import stream_fragments
from operators.dicom.frames import listed_frames
from operators.dicom.transfer_syntaxes import transfer_syntax_of
from operators.errors import Rejected

# A browser's player asks for the bytes again, which it may not without an origin; nothing runs here either.
VIDEO_POLICY = {
    "content-security-policy": "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox allow-same-origin"
}
VIDEOS = {syntax: media_type for syntax, media_type in MEDIA_TYPES.items() if media_type.startswith("video/")}
PDF_CLASS, PDF = "1.2.840.10008.5.1.4.1.1.104.1", "application/pdf"
ENCAPSULATED_DOCUMENT, DOCUMENT_LENGTH = "00420011", "00420015"
# The most padding that is looked at: it should be a byte, and some writers fill a block.
PADDING_BYTES = 64 * 1024
# ISO 32000-1 7.2.2
WHITE_SPACE = b"\0\t\n\f\r "
UL_BYTES = 4


def video(request: Request, location: Location, media_type: str) -> Response:
    """Answer with a video's stream as stored; rendering parameters are ignored."""
    start = location.header_length + PIXEL_HEADER_BYTES
    if listed_frames(location.frames, location.transfer_syntax).kind == "none" or start >= location.size_bytes:
        raise not_renderable("no-pixels")
    tag = etag([location], media_type)
    if answer := unchanged(request, tag, is_known_to_exist=False):
        return answer
    pixels = reader_of(request).stream_range(location, start, location.size_bytes)
    return StreamedResponse(_fragments(pixels), media_type, headers=headers(tag) | VIDEO_POLICY)


async def _fragments(pixels: Chunks) -> Chunks:
    """Yield the bytes of the fragments after the offset table; raises Problem (406) when they are malformed."""
    try:
        async with aclosing(stream_fragments(pixels, tables=1)) as pieces:
            async for piece in pieces:
                yield piece
    except Rejected as error:
        raise not_renderable(error.reason) from None


async def pdf(request: Request, location: Location) -> Response:
    """Answer with an encapsulated PDF as stored, to be shown in place, in the sandbox of the default policy."""
    tag = etag([location], PDF)
    if answer := unchanged(request, tag, is_known_to_exist=False):
        return answer
    hold_inflated(request, location)
    value = await find_value(services_of(request), reader_of(request), location, ENCAPSULATED_DOCUMENT)
    if value is None:
        raise not_renderable("no-document")
    own_headers = headers(tag) | {"content-disposition": "inline"}
    size_bytes = await _size_without_padding(request, location, value)
    return StreamedResponse(value.read(0, size_bytes), PDF, size_bytes, own_headers)


async def _size_without_padding(request: Request, location: Location, document: BulkValue) -> int:
    """Return the length that (0042,0015) says if only padding lies behind it, else that of the whole value.

    One byte is padding, whatever it is (PS3.3 C.24.2); several are if they are zeros or PDF's white space, because a
    length that is too short would cut the document off, where bytes too many only offend checksums.
    """
    value = await find_value(services_of(request), reader_of(request), location, DOCUMENT_LENGTH)
    if value is None or value.size_bytes != UL_BYTES:
        return document.size_bytes
    order: Literal["big", "little"] = "big" if transfer_syntax_of(location.transfer_syntax).is_big_endian else "little"
    said = int.from_bytes(await _whole(value.read(0, UL_BYTES)), order)
    if not 0 <= document.size_bytes - said <= PADDING_BYTES or not said:
        return document.size_bytes
    padding = await _whole(document.read(said, document.size_bytes))
    return said if len(padding) == 1 or not padding.strip(WHITE_SPACE) else document.size_bytes


async def _whole(chunks: Chunks) -> bytes:
    async with aclosing(chunks):
        return b"".join([chunk async for chunk in chunks])

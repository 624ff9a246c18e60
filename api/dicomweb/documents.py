"""Rendered forms that are stored as such: a video's stream, an encapsulated PDF (PS3.18 8.7.4)."""

from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from api import objects
from api.children import ADVICE, NOT_RENDERABLE
from api.dicomweb.bulkdata import value_at
from api.dicomweb.located import PIXEL_HEADER_BYTES, hold_inflated
from api.http import etags
from api.http.streaming import Chunks, Streamed
from api.services import services_of, tenant_of
from operators.catalog.ports import Location
from operators.dicom.bulkdata import unwrapped
from operators.dicom.frames import unpack
from operators.errors import Rejected
from operators.http.problem import Problem

PDF_CLASS, PDF = "1.2.840.10008.5.1.4.1.1.104.1", "application/pdf"
ENCAPSULATED_DOCUMENT = "00420011"


def video(request: Request, location: Location, media_type: str) -> Response:
    """Answer with a video's stream as it is stored; no parameter changes it."""
    start = location.header_length + PIXEL_HEADER_BYTES
    if unpack(location.frames).kind == "none" or start >= location.size_bytes:
        raise Problem(NOT_RENDERABLE, "no-pixels", ADVICE)
    tag = etags.etag([location], media_type)
    if same := etags.unchanged(request, tag, is_there=False):
        return same
    chunks = objects.exactly(services_of(request), tenant_of(request), location, start, location.size_bytes)
    return Streamed(_video(chunks), media_type, headers=etags.headers(tag))


async def _video(chunks: Chunks) -> Chunks:
    """Return what the fragments hold behind the offset table; raises Problem (406) where they are none."""
    try:
        async with aclosing(unwrapped(chunks, tables=1)) as pieces:
            async for piece in pieces:
                yield piece
    except Rejected as error:
        raise Problem(NOT_RENDERABLE, error.reason, ADVICE) from None


async def pdf(request: Request, location: Location) -> Response:
    """Answer with an encapsulated PDF as it is stored, to be saved: a page of ours must not run what is in it."""
    tag = etags.etag([location], PDF)
    if same := etags.unchanged(request, tag, is_there=False):
        return same
    hold_inflated(request, location)
    value = await value_at(services_of(request), tenant_of(request), location, ENCAPSULATED_DOCUMENT)
    if value is None:
        raise Problem(NOT_RENDERABLE, "no-document", ADVICE)
    headers = etags.headers(tag) | {"content-disposition": "attachment"}
    return Streamed(value.read(0, value.size_bytes), PDF, value.size_bytes, headers)

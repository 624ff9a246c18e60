"""Rendered forms that are stored as such: a video's stream, an encapsulated PDF (PS3.18 8.7.4)."""

from starlette.requests import Request
from starlette.responses import Response

from api import etags, objects
from api.children import ADVICE, NOT_RENDERABLE
from api.located import BULK_BYTES, parsed
from api.problems import Problem
from api.services import services_of, tenant_of
from api.streaming import Streamed
from operators.fragments import joined
from operators.metadata import bulk_value
from operators.ports import Location

PDF_CLASS, PDF = "1.2.840.10008.5.1.4.1.1.104.1", "application/pdf"
ENCAPSULATED_DOCUMENT = ("00420011",)
# Explicit VR's tag, VR, two reserved bytes and length: encapsulated pixels have no other header (PS3.5 A.4).
PIXEL_HEADER_BYTES = 12


def video(request: Request, location: Location, media_type: str) -> Response:
    """Answer with a video's stream as it is stored; no parameter changes it."""
    tag = etags.etag([location], media_type)
    if same := etags.unchanged(request, tag):
        return same
    start = location.header_length + PIXEL_HEADER_BYTES
    chunks = objects.exactly(services_of(request), tenant_of(request), location, start, location.size_bytes)
    return Streamed(joined(chunks), media_type, headers=etags.headers(tag))


async def pdf(request: Request, location: Location) -> Response:
    """Answer with an encapsulated PDF as it is stored, to be saved: a page of ours must not run what is in it."""
    if location.header_length > BULK_BYTES:
        raise Problem(NOT_RENDERABLE, "document-too-large", ADVICE)
    tag = etags.etag([location], PDF)
    if same := etags.unchanged(request, tag):
        return same
    services = services_of(request)
    async with services.headers_turn:
        header = await objects.part(services, tenant_of(request), location, 0, location.header_length)
        source = header, location.prefix_length, location.transfer_syntax
        value = await parsed(services, bulk_value, *source, ENCAPSULATED_DOCUMENT)
    if value is None:
        raise Problem(NOT_RENDERABLE, "no-document", ADVICE)
    headers = etags.headers(tag) | {"content-disposition": "attachment"}
    return Response(value, media_type=PDF, headers=headers)

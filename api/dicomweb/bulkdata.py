"""Values by themselves, whole or in ranges, as they are stored (PS3.18 10.4.1.1.4, RFC 9110 14)."""

import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api import objects
from api.dicomweb.located import AHEAD, HEADER_BYTES, PIXEL_HEADER_BYTES, address_of, hold_inflated, located, parsed
from api.http.etags import etag, headers, unchanged
from api.http.media import octets_choice
from api.http.multipart import BYTE_RANGES, Envelope, Part, stream
from api.http.problems import not_found
from api.http.ranges import Span, asked
from api.http.streaming import Chunks, Streamed, in_order, once
from api.services import Services, base_of, services_of, tenant_of
from operators.catalog.ports import Location
from operators.dicom.bulkdata import Beyond, ValueLocation, seek
from operators.dicom.json import bulk_value
from operators.dicom.scan import DEFLATED, PIXEL_TAGS
from operators.http.accept import accepted
from operators.http.media_types import OCTETS
from operators.http.problem import Problem

# A tag, or tags with item numbers between them, as metadata writes them but for upper case.
PATH = re.compile("[0-9A-Fa-f]{8}(/(0|[1-9][0-9]{0,6})/[0-9A-Fa-f]{8})*")
# A value behind more windows than this lies in no object of 4 GiB.
WINDOWS = 300


@dataclass(frozen=True)
class Value:
    """A value's size, and its bytes from start to end."""

    size_bytes: int
    read: Callable[[int, int], Chunks]


async def bulk(request: Request) -> Response:
    """Answer with a value that the metadata left out, or with the pieces of it that Range names."""
    is_multipart = octets_choice(accepted(request))
    location = (await located(request))[0]
    base, path = base_of(request), _path(request)
    tag = etag([location], "bulkdata", path, base if is_multipart else "")
    if answer := unchanged(request, tag, is_there=False):
        return answer
    hold_inflated(request, location)
    services = services_of(request)
    value = await value_at(services, tenant_of(request), location, path)
    if value is None:
        raise not_found("value")
    if answer := unchanged(request, tag):
        return answer
    at = f"{address_of(base, location)}/bulkdata/{path}"
    if is_multipart:
        return _parts(value, tag, at, OCTETS, [Span(0, value.size_bytes)])
    # RFC 9110 14.2: of GET alone.
    is_ranged = request.method == "GET" and request.headers.get("if-range", tag) == tag
    spans = asked(request.headers.get("range") if is_ranged else None, value.size_bytes, services.settings.ranges)
    if len(spans) > 1:
        return _parts(value, tag, at, BYTE_RANGES, list(spans))
    return _one(value, tag, spans)


def _path(request: Request) -> str:
    path: str = request.path_params["path"]
    if not PATH.fullmatch(path):
        raise not_found("value")
    return path.upper()


def _one(value: Value, tag: str, spans: tuple[Span, ...]) -> Response:
    said = headers(tag) | {"accept-ranges": "bytes"}
    if not spans:
        return Streamed(value.read(0, value.size_bytes), OCTETS, value.size_bytes, said)
    (span,) = spans
    said["content-range"] = span.content_range(value.size_bytes)
    return Streamed(value.read(*span), OCTETS, span.size_bytes, said, 206)


def _parts(value: Value, tag: str, at: str, media_type: str, spans: list[Span]) -> Response:
    is_ranges = media_type == BYTE_RANGES
    envelope = Envelope.of(media_type, tag)
    parts = [
        Part(OCTETS, at, span.size_bytes, span.content_range(value.size_bytes) if is_ranges else "") for span in spans
    ]
    works = (partial(_body, value, span) for span in spans)
    body = stream(envelope, parts, in_order(works, AHEAD if is_ranges else 1))
    status = 206 if is_ranges else 200
    return Streamed(body, envelope.content_type, envelope.size_bytes(parts), headers(tag), status)


async def _body(value: Value, span: Span) -> Chunks:
    return value.read(*span)


async def value_at(services: Services, tenant: str, location: Location, path: str) -> Value | None:
    """Find the value: at the top it is read from where it lies; in a sequence or deflated its header is in memory."""
    steps = tuple(path.split("/"))
    if len(steps) == 1 and location.transfer_syntax not in DEFLATED:
        place = await _place(services, tenant, location, int(path, 16))
        return None if place is None else _in_object(services, tenant, location, place)
    async with services.headers_turn:
        end = min(location.header_length, HEADER_BYTES)
        header = await objects.part(services, tenant, location, 0, end)
        found = await parsed(services, bulk_value, header, location.prefix_length, location.transfer_syntax, steps)
    if found is None and location.header_length > HEADER_BYTES:
        raise Problem(501, "too-large", "this value cannot be served by itself: retrieve the instance")
    return None if found is None else Value(len(found), lambda start, end: once(found[start:end]))


def _in_object(services: Services, tenant: str, location: Location, place: ValueLocation) -> Value:
    def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
        return objects.exactly(services, tenant, location, place.start + start, place.start + end)

    return Value(min(place.end, location.size_bytes) - place.start, read)


async def _place(services: Services, tenant: str, location: Location, tag: int) -> ValueLocation | None:
    """Find a top-level value, window by window: what is larger than a window is jumped over."""
    is_pixels = tag in PIXEL_TAGS
    start = location.header_length if is_pixels else location.prefix_length
    end = location.header_length + PIXEL_HEADER_BYTES if is_pixels else location.header_length
    end = min(end, location.size_bytes)
    for _ in range(WINDOWS):
        if start >= end:
            break
        async with services.headers_turn:
            window = await objects.part(services, tenant, location, start, min(end, start + HEADER_BYTES))
            found = await parsed(services, seek, window, start, end, location.transfer_syntax, tag)
        if not isinstance(found, Beyond):
            return found
        start = found.position
    return None

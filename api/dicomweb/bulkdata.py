"""Bulk data: an attribute's value as stored, whole or in ranges (PS3.18 10.4.1.1.5, RFC 9110 14)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.pixel_element import read_after_header
from api.dicomweb.resources import address_of, base_of, location_of
from api.dicomweb.sizes import AHEAD, HEADER_BYTES, PIXEL_HEADER_BYTES
from api.http.etags import etag, headers, unchanged
from api.http.media import wants_value_in_a_part
from api.http.multipart import BYTE_RANGES, MultipartFraming, Part, stream
from api.http.problems import not_found
from api.http.ranges import Span, parse_range
from api.http.streaming import Chunks, StreamedResponse, in_order, single_chunk
from api.services import Services, hold_inflated, reader_of, services_of
from operators.catalog.ports import Location
from operators.dicom.bulkdata import BeyondWindow, ValueLocation, seek
from operators.dicom.frames import listed_frames
from operators.dicom.json import bulk_value
from operators.dicom.scan import PIXEL_DATA, PIXEL_TAGS
from operators.dicom.transfer_syntaxes import DEFLATED, NATIVE
from operators.http.accept import accepted
from operators.http.media_types import OCTETS
from operators.http.problem import Problem
from operators.retrieval.reading import ArchiveReader

# A tag, or tags with item numbers between them, as in the metadata; lower case is accepted too.
PATH = re.compile("[0-9A-Fa-f]{8}(/(0|[1-9][0-9]{0,6})/[0-9A-Fa-f]{8})*")
PIXELS = f"{PIXEL_DATA:08X}"
# The most windows read in search of a value: enough for an object of 4 GiB.
WINDOWS = 300


@dataclass(frozen=True)
class BulkValue:
    """A value's size, and the function that reads its bytes from a start to an end (exclusive)."""

    size_bytes: int
    read: Callable[[int, int], Chunks]


async def bulk(request: Request) -> Response:
    """Answer with a value that the metadata refers to, or with the requested ranges of it."""
    is_multipart = wants_value_in_a_part(accepted(request))
    location = await location_of(request)
    base, path = base_of(request), _path_of(request)
    tag = etag([location], "bulkdata", path, base if is_multipart else "")
    if answer := unchanged(request, tag, is_known_to_exist=False):
        return answer
    hold_inflated(request, location)
    value = await find_value(services_of(request), reader_of(request), location, path)
    if value is None:
        raise not_found("value")
    if answer := unchanged(request, tag):
        return answer
    address = f"{address_of(base, location)}/bulkdata/{path}"
    if is_multipart:
        return _in_parts(value, tag, address, OCTETS, (Span(0, value.size_bytes),))
    spans = _spans(request, value, tag)
    if len(spans) > 1:
        return _in_parts(value, tag, address, BYTE_RANGES, spans)
    return _in_one_piece(value, tag, spans)


def _path_of(request: Request) -> str:
    path: str = request.path_params["path"]
    if not PATH.fullmatch(path):
        raise not_found("value")
    return path.upper()


def _spans(request: Request, value: BulkValue, tag: str) -> tuple[Span, ...]:
    """Return the requested ranges, none for the whole value; only GET may have ranges (RFC 9110 14.2)."""
    is_ranged = request.method == "GET" and request.headers.get("if-range", tag) == tag
    text = request.headers.get("range") if is_ranged else None
    return parse_range(text, value.size_bytes, services_of(request).settings.ranges)


def _in_one_piece(value: BulkValue, tag: str, spans: tuple[Span, ...]) -> Response:
    own_headers = headers(tag) | {"accept-ranges": "bytes"}
    if not spans:
        return StreamedResponse(value.read(0, value.size_bytes), OCTETS, value.size_bytes, own_headers)
    (span,) = spans
    own_headers["content-range"] = span.content_range(value.size_bytes)
    return StreamedResponse(value.read(*span), OCTETS, span.size_bytes, own_headers, 206)


def _in_parts(value: BulkValue, tag: str, address: str, media_type: str, spans: tuple[Span, ...]) -> Response:
    is_ranges = media_type == BYTE_RANGES
    framing = MultipartFraming.of(media_type, tag)
    parts = [
        Part(OCTETS, address, span.size_bytes, span.content_range(value.size_bytes) if is_ranges else "")
        for span in spans
    ]
    works = (partial(_read_span, value, span) for span in spans)
    body = stream(framing, parts, in_order(works, AHEAD if is_ranges else 1))
    status = 206 if is_ranges else 200
    return StreamedResponse(body, framing.content_type, framing.size_bytes(parts), headers(tag), status)


async def _read_span(value: BulkValue, span: Span) -> Chunks:
    return value.read(*span)


async def find_value(services: Services, reader: ArchiveReader, location: Location, path: str) -> BulkValue | None:
    """Return the value at a path, None when there is none; raises Problem (501) when the header is too long to search.

    A value at the top level is read from the object while it is sent. A value in a sequence, or of a deflated instance,
    is taken from the header, which must be in memory for that.
    """
    steps = tuple(path.split("/"))
    if steps == (PIXELS,) and is_value_of_items(location):
        items = listed_frames(location.frames, location.transfer_syntax)
        return _value_in_object(reader, location, ValueLocation(items.offset, items.offset + items.length))
    if int(steps[0], 16) > max(PIXEL_TAGS) and location.transfer_syntax not in DEFLATED:
        return await _find_behind_pixels(services, reader, location, steps)
    if len(steps) == 1 and location.transfer_syntax not in DEFLATED:
        place = await _find_place(services, reader, location, int(path, 16))
        return None if place is None else _value_in_object(reader, location, place)
    async with services.header_slots:
        header = await reader.read_range(location, 0, min(location.header_length, HEADER_BYTES))
        found = await services.run_in_parser(
            bulk_value, header, location.prefix_length, location.transfer_syntax, steps
        )
    if found is None and location.header_length > HEADER_BYTES:
        raise Problem(501, "too-large", "this value cannot be served alone: retrieve the instance")
    return None if found is None else _value_in_memory(found)


def is_value_of_items(location: Location) -> bool:
    """True if an instance has encapsulated pixels in a native transfer syntax, whose items are located."""
    listed = listed_frames(location.frames, location.transfer_syntax)
    return listed.kind == "unlisted" and listed.offset > 0 and location.transfer_syntax in NATIVE


async def _find_behind_pixels(
    services: Services, reader: ArchiveReader, location: Location, steps: tuple[str, ...]
) -> BulkValue | None:
    """Return a value of an element behind the pixels; those begin after at most HEADER_BYTES."""
    async with services.header_slots:
        after, syntax = await read_after_header(reader, location), location.transfer_syntax
        if not after.behind:
            return None
        if len(steps) > 1:
            value = await services.run_in_parser(bulk_value, after.behind, 0, syntax, steps)
            return None if value is None else _value_in_memory(value)
        tag, end = int(steps[0], 16), location.size_bytes
        place = await services.run_in_parser(seek, after.behind, after.start, end, syntax, tag)
    return _value_in_object(reader, location, place) if isinstance(place, ValueLocation) else None


def _value_in_memory(value: bytes) -> BulkValue:
    return BulkValue(len(value), lambda start, end: single_chunk(value[start:end]))


def _value_in_object(reader: ArchiveReader, location: Location, place: ValueLocation) -> BulkValue:
    def read(start: int, end: int) -> Chunks:
        return reader.stream_range(location, place.start + start, place.start + end)

    return BulkValue(min(place.end, location.size_bytes) - place.start, read)


async def _find_place(services: Services, reader: ArchiveReader, location: Location, tag: int) -> ValueLocation | None:
    """Return the location of a top-level value; the header is read in windows, skipping values longer than one."""
    is_pixels = tag in PIXEL_TAGS
    start = location.header_length if is_pixels else location.prefix_length
    end = location.header_length + PIXEL_HEADER_BYTES if is_pixels else location.header_length
    end = min(end, location.size_bytes)
    for _ in range(WINDOWS):
        if start >= end:
            break
        async with services.header_slots:
            window = await reader.read_range(location, start, min(end, start + HEADER_BYTES))
            found = await services.run_in_parser(seek, window, start, end, location.transfer_syntax, tag)
        if not isinstance(found, BeyondWindow):
            return found
        start = found.position
    return None

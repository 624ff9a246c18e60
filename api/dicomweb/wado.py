"""WADO-RS: instances as stored, and their metadata (PS3.18 10.4)."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.pixel_element import read_after_header
from api.dicomweb.resources import address_of, base_of, locations_of
from api.dicomweb.sizes import AHEAD, HEADER_BYTES, PIXEL_HEADER_BYTES
from api.http.compression import VARY, coding_of, json_response, json_stream
from api.http.etags import etag, headers, unchanged, weak
from api.http.media import wants_instances_in_parts
from api.http.multipart import MultipartFraming, Part, stream
from api.http.problems import not_acceptable
from api.http.streaming import Chunks, StreamedResponse, in_larger_chunks, in_order, with_first_chunk_read
from api.services import Services, reader_of, services_of
from operators.catalog.ports import Location
from operators.dicom.element_json import DicomJson
from operators.dicom.json import AfterHeader, CpuDeadline, dicom_json, dumps, with_address
from operators.errors import Rejected
from operators.http.accept import accepted, choose
from operators.http.media_types import DICOM, JSON_TYPES
from operators.retrieval.reading import ArchiveReader
from schemas.telemetry import API_LIMITED

# A header of at most this size is parsed faster than it could be passed to another thread.
PARSED_AT_ONCE_BYTES = 32 * 1024
CHUNK_BYTES = 64 * 1024

log = structlog.get_logger()


async def retrieve(request: Request) -> Response:
    """Answer with the instances of a study or series, or with one instance, as stored."""
    locations = await locations_of(request)
    is_multipart = wants_instances_in_parts(accepted(request), locations)
    reader = reader_of(request)
    base = base_of(request) if is_multipart else ""
    tag = etag(locations, "instances", base)
    if answer := unchanged(request, tag):
        return answer
    if not is_multipart:
        only = locations[0]
        return StreamedResponse(reader.stream_whole(only), _content_type(only), only.size_bytes, headers(tag))
    framing = MultipartFraming.of(DICOM, tag)
    parts = [Part(_content_type(location), address_of(base, location), location.size_bytes) for location in locations]
    bodies = in_order((partial(_read_ahead, reader, location) for location in locations), AHEAD)
    body = stream(framing, parts, bodies)
    return StreamedResponse(body, framing.content_type, framing.size_bytes(parts), headers(tag))


def _content_type(location: Location) -> str:
    return f"{DICOM}; transfer-syntax={location.transfer_syntax}"


async def _read_ahead(reader: ArchiveReader, location: Location) -> Chunks:
    return await with_first_chunk_read(reader.stream_whole(location))


async def metadata(request: Request) -> Response:
    """Answer with the headers of a study, a series or an instance, in DICOM JSON."""
    media_type = choose(accepted(request), JSON_TYPES)
    if media_type is None:
        raise not_acceptable(" or ".join(JSON_TYPES))
    coding = coding_of(request)
    locations = await locations_of(request)
    services, reader, base = services_of(request), reader_of(request), base_of(request)
    # Each form has a tag of its own: a strong one promises the bytes.
    tag = etag(locations, "metadata", base, media_type, *filter(None, [coding]))
    if answer := unchanged(request, tag if len(locations) == 1 else weak(tag)):
        answer.headers.update(VARY)
        return answer
    if len(locations) == 1:
        only = await _metadata_of(services, reader, locations[0], address_of(base, locations[0]))
        return json_response(b"[" + only.json + b"]", media_type, coding, headers(tag) if only.is_whole else {})
    works = (partial(_metadata_of, services, reader, location, address_of(base, location)) for location in locations)
    items = in_order(works, services.settings.headers_at_once)
    body = in_larger_chunks(_array(items), CHUNK_BYTES)
    return json_stream(body, media_type, coding, headers(weak(tag)))


class _Metadata(NamedTuple):
    """An instance's DICOM JSON; `is_whole` is False if its header could not be read, and the next answer may differ."""

    json: bytes
    is_whole: bool


async def _array(items: AsyncGenerator[_Metadata, None]) -> Chunks:
    separator = b"["
    async with aclosing(items):
        async for item in items:
            yield separator + item.json
            separator = b","
    yield b"]"


async def _metadata_of(services: Services, reader: ArchiveReader, location: Location, address: str) -> _Metadata:
    """Return an instance's DICOM JSON: its header, or only its UIDs when the header cannot be read."""
    key = (reader.principal.tenant, location.data_hash)
    cached = services.header_cache.get(key)
    if cached is not None:
        return _Metadata(with_address(cached, address), is_whole=True)
    async with services.header_slots:
        end = min(location.header_length + PIXEL_HEADER_BYTES, location.size_bytes)
        beginning = await reader.read_range(location, 0, min(end, HEADER_BYTES))
        after = await read_after_header(reader, location, beginning)
        try:
            found = await _header_json(services, beginning[: location.header_length], location, after)
        except Rejected as error:
            log.warning(
                "header_unreadable", reason=error.reason, study_uid=location.study_uid, sop_uid=location.sop_uid
            )
            return _uids_alone(location, error.reason)
        except Exception:
            # An error of one header must not cut off the metadata of the study's other instances.
            log.exception("header_failed", study_uid=location.study_uid, sop_uid=location.sop_uid)
            return _uids_alone(location, "unexpected")
    services.header_cache.put(key, found)
    return _Metadata(with_address(found, address), is_whole=True)


async def _header_json(services: Services, header: bytes, location: Location, after: AfterHeader) -> bytes:
    """Return an object's JSON, with bulk data addresses left open; a long header is parsed in the parser's thread."""
    parse = partial(_parse, header, location, after, services.settings.header_s)
    is_short = len(header) + len(after.behind) <= PARSED_AT_ONCE_BYTES
    return parse() if is_short else await services.run_in_parser(parse)


def _parse(header: bytes, location: Location, after: AfterHeader, most_s: float) -> bytes:
    limit = CpuDeadline(time.thread_time, time.thread_time() + most_s)
    return dumps(dicom_json(header, location.prefix_length, location.transfer_syntax, "", limit, after=after))


def _uids_alone(location: Location, reason: str) -> _Metadata:
    API_LIMITED.labels(reason).inc()
    return _Metadata(dumps(_uids(location)), is_whole=False)


def _uids(location: Location) -> DicomJson:
    uids = {
        "00080016": location.sop_class,
        "00080018": location.sop_uid,
        "00083002": location.transfer_syntax,
        "0020000D": location.study_uid,
        "0020000E": location.series_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}

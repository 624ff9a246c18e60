"""WADO-RS: instances and their metadata as they are stored (PS3.18 10.4)."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api import objects
from api.dicomweb.located import AHEAD, HEADER_BYTES, address_of, located, parsed
from api.http.etags import etag, headers, unchanged, weak
from api.http.media import dicom_choice
from api.http.multipart import Envelope, Part, stream
from api.http.problems import not_acceptable
from api.http.streaming import Chunks, Streamed, begun, in_order, joined
from api.services import Services, base_of, services_of, tenant_of
from operators.catalog.ports import Location
from operators.dicom.json import Limit, dicom_json, dumps, placed
from operators.dicom.plain_json import DicomJson
from operators.errors import Rejected
from operators.http.accept import accepted, choose
from operators.http.media_types import DICOM, JSON_TYPES
from schemas.telemetry import API_LIMITED

# A header of no more bytes is read in less time than another thread takes to be given it.
AT_ONCE_BYTES = 32 * 1024
CHUNK_BYTES = 64 * 1024

log = structlog.get_logger()


async def retrieve(request: Request) -> Response:
    """Answer with a study's, a series' or one instance, as stored."""
    locations = await located(request)
    is_multipart = dicom_choice(accepted(request), locations)
    services, tenant = services_of(request), tenant_of(request)
    base = base_of(request) if is_multipart else ""
    tag = etag(locations, "instances", base)
    if answer := unchanged(request, tag):
        return answer
    if not is_multipart:
        only = locations[0]
        content_type = f"{DICOM}; transfer-syntax={only.transfer_syntax}"
        return Streamed(objects.whole(services, tenant, only), content_type, only.size_bytes, headers(tag))
    envelope = Envelope.of(DICOM, tag)
    parts = [
        Part(f"{DICOM}; transfer-syntax={one.transfer_syntax}", address_of(base, one), one.size_bytes)
        for one in locations
    ]
    bodies = in_order((partial(_begun, services, tenant, one) for one in locations), AHEAD)
    size_bytes = envelope.size_bytes(parts)
    return Streamed(stream(envelope, parts, bodies), envelope.content_type, size_bytes, headers(tag))


async def metadata(request: Request) -> Response:
    """Answer with the DICOM JSON of a study's, a series' or one instance's header."""
    media_type = choose(accepted(request), JSON_TYPES)
    if media_type is None:
        raise not_acceptable(" or ".join(JSON_TYPES))
    locations = await located(request)
    services, tenant, base = services_of(request), tenant_of(request), base_of(request)
    tag = etag(locations, "metadata", base, media_type)
    if answer := unchanged(request, tag if len(locations) == 1 else weak(tag)):
        return answer
    if len(locations) == 1:
        only = await _metadata_of(services, tenant, locations[0], address_of(base, locations[0]))
        return Response(b"[" + only.json + b"]", media_type=media_type, headers=headers(tag) if only.is_whole else {})
    works = (partial(_metadata_of, services, tenant, one, address_of(base, one)) for one in locations)
    found = in_order(works, services.settings.headers_at_once)
    return Streamed(joined(_array(found), CHUNK_BYTES), media_type, headers=headers(weak(tag)))


async def _begun(services: Services, tenant: str, location: Location) -> Chunks:
    return await begun(objects.whole(services, tenant, location))


class _Metadata(NamedTuple):
    """An instance's DICOM JSON; `is_whole` when it is that of its header, which the next answer says again."""

    json: bytes
    is_whole: bool


async def _array(items: AsyncGenerator[_Metadata, None]) -> Chunks:
    separator = b"["
    async with aclosing(items):
        async for item in items:
            yield separator + item.json
            separator = b","
    yield b"]"


async def _metadata_of(services: Services, tenant: str, location: Location, at: str) -> _Metadata:
    """Return one instance's DICOM JSON; what the catalog knows of it when its header cannot be read."""
    key = (tenant, location.data_hash)
    kept = services.headers.get(key)
    if kept is not None:
        return _Metadata(placed(kept, at), is_whole=True)
    async with services.headers_turn:
        header = await objects.part(services, tenant, location, 0, min(location.header_length, HEADER_BYTES))
        try:
            found = await _json(services, header, location)
        except Rejected as error:
            log.warning(error.reason, study_uid=location.study_uid, sop_uid=location.sop_uid)
            API_LIMITED.labels(error.reason).inc()
            return _Metadata(dumps(_identity(location)), is_whole=False)
    services.headers.put(key, found)
    return _Metadata(placed(found, at), is_whole=True)


async def _json(services: Services, header: bytes, location: Location) -> bytes:
    """Return a header's JSON without an address, here or, when it is long, in the parser's thread."""
    read = partial(_read, header, location.prefix_length, location.transfer_syntax, services.settings.header_s)
    return read() if len(header) <= AT_ONCE_BYTES else await parsed(services, read)


def _read(header: bytes, prefix_length: int, transfer_syntax: str, parse_s: float) -> bytes:
    limit = Limit(time.thread_time, time.thread_time() + parse_s)
    return dumps(dicom_json(header, prefix_length, transfer_syntax, "", limit))


def _identity(location: Location) -> DicomJson:
    uids = {
        "00080016": location.sop_class,
        "00080018": location.sop_uid,
        "00083002": location.transfer_syntax,
        "0020000D": location.study_uid,
        "0020000E": location.series_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}

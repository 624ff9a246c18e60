"""WADO-RS: instances, metadata, frames and bulk data as they are stored (PS3.18 10.4)."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response

from api import objects
from api.media import OCTETS, dicom_choice, frame_choice, stored_frames
from api.multipart import Envelope, Part, stream
from api.negotiate import DICOM, JSON_TYPES, accepts_json, wanted
from api.problems import Problem, not_acceptable, not_found
from api.services import Services, address, base_of, services_of, tenant_of, uid_of
from api.streaming import Streamed, begun, in_order
from operators.errors import Rejected
from operators.frames import frame_bytes, frame_range, unpack
from operators.metadata import bulk_value, dicom_json, dumps
from operators.ports import Location
from operators.rows import DicomJson
from schemas.events import Frames

# Instances fetched ahead of the one that is going out, each at most objects.CHECKED_FIRST_BYTES in memory.
AHEAD = 3
FRAMES_AT_ONCE = 1000
# Of a longer header this much is read: what is cut off is one value too large for metadata (a video, a document).
HEADER_BYTES = 16 * 2**20
BULK_BYTES = 256 * 2**20
FRAME_LIST = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*")

T = TypeVar("T")

log = structlog.get_logger()


async def retrieve(request: Request) -> Response:
    """Answer with a study's, a series' or one instance, as stored."""
    locations = await _located(request)
    is_multipart = dicom_choice(wanted(request), locations)
    services, tenant = services_of(request), tenant_of(request)
    if not is_multipart:
        only = locations[0]
        chunks = await begun(objects.whole(services, tenant, only))
        return Streamed(chunks, f"{DICOM}; transfer-syntax={only.transfer_syntax}", only.size_bytes)
    base, envelope = base_of(request), Envelope.of(DICOM)
    parts = [
        Part(f"{DICOM}; transfer-syntax={one.transfer_syntax}", _address(base, one), one.size_bytes)
        for one in locations
    ]
    bodies = in_order((partial(begun, objects.whole(services, tenant, one)) for one in locations), AHEAD)
    body = await begun(stream(envelope, parts, bodies))
    return Streamed(body, envelope.content_type, envelope.size_bytes(parts))


async def metadata(request: Request) -> Response:
    """Answer with the DICOM JSON of a study's, a series' or one instance's header."""
    media_type = accepts_json(wanted(request))
    if media_type is None:
        raise not_acceptable(" or ".join(JSON_TYPES))
    locations = await _located(request)
    services, tenant, base = services_of(request), tenant_of(request), base_of(request)
    works = (partial(_metadata_of, services, tenant, one, _address(base, one)) for one in locations)
    return Streamed(await begun(_array(in_order(works, services.settings.headers_at_once))), media_type)


async def frames(request: Request) -> Response:
    """Answer with the frames of an instance that the path lists, in that order, as stored."""
    text = request.path_params["frames"]
    if not FRAME_LIST.fullmatch(text) or text.count(",") >= FRAMES_AT_ONCE:
        raise Problem(400, "bad-frames", f"list at most {FRAMES_AT_ONCE} frame numbers as 1,2,3")
    location = (await _located(request))[0]
    listed = unpack(location.frames)
    ranges = _ranges(listed, [int(number) for number in text.split(",")])
    return await _frames(request, location, listed, ranges)


async def bulk(request: Request) -> Response:
    """Answer with a binary value that the metadata left out."""
    if not any(one.takes(OCTETS) and not one.is_multipart for one in wanted(request)):
        raise not_acceptable(OCTETS)
    location = (await _located(request))[0]
    if location.header_length > BULK_BYTES:
        raise Problem(501, "too-large", "this value is too large to be served by itself: retrieve the instance")
    services, tenant = services_of(request), tenant_of(request)
    async with services.headers_turn:
        header = await objects.part(services, tenant, location, 0, location.header_length)
        path = tuple(request.path_params["path"].split("/"))
        value = await _parse(services, bulk_value, header, location.prefix_length, location.transfer_syntax, path)
    if value is None:
        raise not_found("value")
    return Response(value, media_type=OCTETS)


async def _located(request: Request) -> tuple[Location, ...]:
    """Give what the path names, at least one instance; raises Problem (404)."""
    queries, tenant = services_of(request).queries, tenant_of(request)
    study_uid, series_uid, sop_uid = (uid_of(request, name) for name in ("study", "series", "instance"))
    if study_uid and series_uid and sop_uid:
        found = await queries.locate_one(tenant, study_uid, series_uid, sop_uid)
        locations: tuple[Location, ...] = (found,) if found else ()
    else:
        locations = await queries.locate(tenant, study_uid or "", series_uid)
    if not locations:
        raise not_found("instance" if sop_uid else "series" if series_uid else "study")
    return locations


def _address(base: str, location: Location) -> str:
    return address(base, location.study_uid, location.series_uid, location.sop_uid)


async def _array(items: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    separator = b"["
    async with aclosing(items):
        async for item in items:
            yield separator + item
            separator = b","
    yield b"]"


async def _metadata_of(services: Services, tenant: str, location: Location, at: str) -> bytes:
    """Give one instance's DICOM JSON; what the catalog knows of it when its header cannot be read."""
    async with services.headers_turn:
        header = await objects.part(services, tenant, location, 0, min(location.header_length, HEADER_BYTES))
        try:
            return await _parse(services, _json, header, location.prefix_length, location.transfer_syntax, at)
        except Rejected as error:
            log.warning(error.reason, study_uid=location.study_uid, sop_uid=location.sop_uid)
            return dumps(_identity(location))


async def _parse(services: Services, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(services.parser, partial(function, *arguments))


def _json(header: bytes, prefix_length: int, transfer_syntax: str, at: str) -> bytes:
    return dumps(dicom_json(header, prefix_length, transfer_syntax, at))


def _identity(location: Location) -> DicomJson:
    uids = {
        "00080016": location.sop_class,
        "00080018": location.sop_uid,
        "00083002": location.transfer_syntax,
        "0020000D": location.study_uid,
        "0020000E": location.series_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}


def _ranges(listed: Frames, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Give where the frames lie; raises Problem when the instance has no such frames, or nobody knows where."""
    if listed.kind == "none":
        raise Problem(404, "no-frames", "this instance has no frames: retrieve the instance")
    if listed.kind == "unlisted" and all(1 <= number <= listed.count for number in numbers):
        raise Problem(501, "frames-unlisted", "these frames cannot be served by themselves: retrieve the instance")
    try:
        return [frame_range(listed, number) for number in numbers]
    except Rejected as error:
        raise Problem(404, error.reason, f"this instance has the frames 1 to {listed.count}") from None


async def _frames(request: Request, location: Location, listed: Frames, ranges: Sequence[tuple[int, int]]) -> Response:
    services, tenant, is_native = services_of(request), tenant_of(request), listed.kind == "native"
    media_type, syntax = stored_frames(location.transfer_syntax, is_native=is_native)
    is_multipart = frame_choice(wanted(request), media_type, syntax, len(ranges))
    content_type = f"{media_type}; transfer-syntax={syntax}"
    sizes = [end - start if is_native else None for start, end in ranges]
    fetch = objects.exactly if is_native else _encapsulated
    bodies = in_order((partial(begun, fetch(services, tenant, location, *one)) for one in ranges), AHEAD)
    if not is_multipart:
        return Streamed(await anext(bodies), content_type, sizes[0])
    envelope, at = Envelope.of(media_type), f"{_address(base_of(request), location)}/frames"
    numbers = request.path_params["frames"].split(",")
    parts = [Part(content_type, f"{at}/{number}", size) for number, size in zip(numbers, sizes, strict=True)]
    body = await begun(stream(envelope, parts, bodies))
    return Streamed(body, envelope.content_type, envelope.size_bytes(parts))


async def _encapsulated(
    services: Services, tenant: str, location: Location, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """Give a compressed frame without the headers of its fragments; it is held in memory."""
    if end - start > BULK_BYTES:
        raise Problem(501, "too-large", "this frame is too large to be served by itself: retrieve the instance")
    yield frame_bytes(await objects.part(services, tenant, location, start, end))

"""Frames by themselves, in the order asked for (PS3.18 10.4.1.1.3): near ones by one ranged read."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api import objects
from api.dicomweb.located import (
    AHEAD,
    HEADER_BYTES,
    PIXEL_HEADER_BYTES,
    address_of,
    check_frames,
    hold_inflated,
    located,
    numbers_of,
    parsed,
)
from api.http.etags import etag, headers, unchanged
from api.http.media import frame_choice, stored_frames
from api.http.multipart import Envelope, Part, stream
from api.http.streaming import Chunks, Streamed, in_order
from api.services import Services, base_of, services_of, tenant_of
from operators.catalog.ports import Location
from operators.dicom.bulkdata import bit_frames, inflated, shifted, unwrapped
from operators.dicom.frames import NATIVE, frame_range, unpack
from operators.dicom.scan import DEFLATED
from operators.errors import Rejected
from operators.http.accept import accepted
from operators.http.problem import Problem
from schemas.events import Frames

# One read holds at most so much, and of that at least half was asked for: a request then holds 1 + AHEAD of them.
RUN_BYTES = 4 * 2**20
# A deflated object is read whole, and inflated to at most operators.dicom.scan.MAX_INFLATED_HEADER_BYTES.
DEFLATED_BYTES = HEADER_BYTES

Form = Callable[[Chunks], Chunks]
Fetch = Callable[[int, int], Chunks]


@dataclass(frozen=True)
class Cut:
    """A frame: its bytes in the object (or what it inflates to), how they are served, and their number when known."""

    start: int
    end: int
    form: Form
    size_bytes: int | None


@dataclass(frozen=True)
class Source:
    """The frames asked for, in that order, and where their bytes come from."""

    cuts: tuple[Cut, ...]
    fetch: Fetch
    is_native: bool


async def frames(request: Request) -> Response:
    """Answer with the frames of an instance that the path lists, in that order, as stored."""
    numbers = numbers_of(request)
    location = (await located(request))[0]
    listed = unpack(location.frames)
    is_native = listed.kind == "native" or location.transfer_syntax in NATIVE | DEFLATED
    media_type, syntax = stored_frames(location.transfer_syntax, is_native=is_native)
    check_frames(listed, numbers)
    is_multipart = frame_choice(accepted(request), media_type, syntax, len(numbers))
    base = base_of(request) if is_multipart else ""
    tag = etag([location], "frames", request.path_params["frames"], base)
    if answer := unchanged(request, tag):
        return answer
    hold_inflated(request, location)
    source = await _source(services_of(request), tenant_of(request), location, listed, numbers)
    content_type, bodies = f"{media_type}; transfer-syntax={syntax}", _bodies(source)
    if not is_multipart:
        return Streamed(_only(bodies), content_type, source.cuts[0].size_bytes, headers(tag))
    envelope, at = Envelope.of(media_type, tag), f"{address_of(base, location)}/frames"
    parts = [
        Part(content_type, f"{at}/{number}", cut.size_bytes) for number, cut in zip(numbers, source.cuts, strict=True)
    ]
    size_bytes = envelope.size_bytes(parts)
    return Streamed(stream(envelope, parts, bodies), envelope.content_type, size_bytes, headers(tag))


async def _source(
    services: Services, tenant: str, location: Location, listed: Frames, numbers: Sequence[int]
) -> Source:
    fetch = partial(objects.exactly, services, tenant, location)
    if listed.kind == "unlisted" and location.transfer_syntax in DEFLATED:
        return await _deflated(services, tenant, location, numbers)
    if listed.kind == "unlisted":
        return Source(await _packed(services, tenant, location, numbers), fetch, is_native=True)
    return Source(_cuts(listed, numbers), fetch, listed.kind == "native")


def _cuts(listed: Frames, numbers: Sequence[int]) -> tuple[Cut, ...]:
    try:
        ranges = [frame_range(listed, number) for number in numbers]
    except Rejected as error:
        raise Problem(404, error.reason, f"this instance has the frames 1 to {listed.count}") from None
    if listed.kind == "native":
        return tuple(Cut(start, end, _as_it_is, end - start) for start, end in ranges)
    return tuple(Cut(start, end, unwrapped, None) for start, end in ranges)


async def _packed(services: Services, tenant: str, location: Location, numbers: Sequence[int]) -> tuple[Cut, ...]:
    """Locate frames that need not begin with a byte, by what the header says."""
    end = min(location.header_length + PIXEL_HEADER_BYTES, location.size_bytes)
    if location.transfer_syntax not in NATIVE or end > HEADER_BYTES:
        raise _unlisted()
    async with services.headers_turn:
        header = await objects.part(services, tenant, location, 0, end)
        found = await parsed(services, bit_frames, header, location.prefix_length, location.transfer_syntax)
    places = [found and found.frame(number) for number in numbers]
    cuts = [Cut(*one.place, partial(shifted, skip=one.skip, bits=one.bits), -(-one.bits // 8)) for one in places if one]
    if len(cuts) < len(numbers):
        raise _unlisted()
    return tuple(cuts)


async def _deflated(services: Services, tenant: str, location: Location, numbers: Sequence[int]) -> Source:
    """Inflate an instance, within bounds, and cut its frames out of that."""
    if location.size_bytes > DEFLATED_BYTES:
        raise _unlisted()
    async with services.headers_turn:
        whole = await objects.part(services, tenant, location, 0, location.size_bytes)
        data, listed = await parsed(services, inflated, whole, location.prefix_length)
    if listed.kind != "native" or max(numbers) > listed.count:
        raise _unlisted()

    async def fetch(start: int, end: int) -> Chunks:
        yield bytes(memoryview(data)[start:end])

    return Source(_cuts(listed, numbers), fetch, is_native=True)


def _unlisted() -> Problem:
    return Problem(501, "frames-unlisted", "these frames cannot be served by themselves: retrieve the instance")


async def _bodies(source: Source) -> AsyncGenerator[Chunks, None]:
    """Return each frame's bytes, in the order asked for; those of a run come out of one read."""
    works = (partial(_read, source, run) for run in _runs(source.cuts))
    async with aclosing(in_order(works, AHEAD)) as runs:
        async for run in runs:
            for body in run:
                yield body


def _runs(cuts: Sequence[Cut]) -> Iterator[tuple[Cut, ...]]:
    """Divide the frames, in the order asked for, into runs that one read serves without much waste."""
    run: list[Cut] = []
    start = end = size = 0
    for cut in cuts:
        first, last, total = min([start, cut.start]), max(end, cut.end), size + cut.end - cut.start
        if run and (last - first > RUN_BYTES or last - first > 2 * total):
            yield tuple(run)
            run = []
        if not run:
            first, last, total = cut.start, cut.end, cut.end - cut.start
        run.append(cut)
        start, end, size = first, last, total
    if run:
        yield tuple(run)


async def _read(source: Source, run: Sequence[Cut]) -> list[Chunks]:
    start, end = min(cut.start for cut in run), max(cut.end for cut in run)
    if len(run) == 1 and end - start > RUN_BYTES:
        return [run[0].form(source.fetch(start, end))]
    data = b"".join([chunk async for chunk in source.fetch(start, end)])
    return [cut.form(_piece(data, cut.start - start, cut.end - start)) for cut in run]


async def _piece(data: bytes, start: int, end: int) -> Chunks:
    # Cut when it is its turn: a frame may be asked for many times.
    yield data[start:end]


async def _only(bodies: AsyncGenerator[Chunks, None]) -> Chunks:
    async with aclosing(bodies), aclosing(await anext(bodies)) as body:
        async for chunk in body:
            yield chunk


def _as_it_is(chunks: Chunks) -> Chunks:
    return chunks

"""Frames of an instance as stored, in the requested order (PS3.18 10.4.1.1.6); neighbouring frames share one read."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.resources import address_of, base_of, check_frames, frame_numbers_of, location_of
from api.dicomweb.sizes import AHEAD, HEADER_BYTES, PIXEL_HEADER_BYTES
from api.http.etags import etag, headers, unchanged
from api.http.media import stored_frames, wants_frames_in_parts
from api.http.multipart import MultipartFraming, Part, stream
from api.http.streaming import Chunks, StreamedResponse, in_order
from api.services import Services, hold_inflated, reader_of, services_of
from operators.catalog.ports import Location
from operators.dicom.bulkdata import BitFrames, bit_frames, inflate_object, stream_aligned, stream_fragments
from operators.dicom.frames import frame_range, listed_frames
from operators.dicom.transfer_syntaxes import DEFLATED, EXPLICIT_VR_LITTLE_ENDIAN, NATIVE
from operators.errors import Rejected
from operators.http.accept import accepted
from operators.http.problem import Problem
from operators.retrieval.reading import ArchiveReader
from schemas.events import Frames

# A read of several frames has at most this size, at least half of it requested; a request holds 1 + AHEAD reads.
RUN_BYTES = 4 * 2**20
# A deflated object of at most this size is read whole, and inflated to at most
# operators.dicom.scan.MAX_INFLATED_HEADER_BYTES.
DEFLATED_BYTES = HEADER_BYTES

Convert = Callable[[Chunks], Chunks]
Read = Callable[[int, int], Chunks]


@dataclass(frozen=True)
class FrameBytes:
    """The position of a frame's bytes in its source, and their conversion to the bytes to serve.

    `size_bytes` is the size to serve, None when it is known only after the conversion.
    """

    start: int
    end: int
    convert: Convert
    size_bytes: int | None


@dataclass(frozen=True)
class FrameSource:
    """The requested frames, in that order, and the function that reads bytes of the object or of its inflated form."""

    frames: tuple[FrameBytes, ...]
    read: Read


async def frames(request: Request) -> Response:
    """Answer with the frames of an instance that the path lists, in that order, as stored."""
    numbers = frame_numbers_of(request)
    return await answer_frames(request, await location_of(request), numbers, request.path_params["frames"])


async def answer_frames(request: Request, location: Location, numbers: Sequence[int], form: str) -> Response:
    """Answer with these frames of an instance, as stored; `form` names them in the answer's tag."""
    listed = listed_frames(location.frames, location.transfer_syntax)
    is_native = listed.kind == "native" or location.transfer_syntax in NATIVE | DEFLATED
    media_type, syntax = stored_frames(location.transfer_syntax, is_native=is_native)
    check_frames(listed, numbers)
    is_multipart = wants_frames_in_parts(accepted(request), media_type, syntax, len(numbers))
    base = base_of(request) if is_multipart else ""
    tag = etag([location], "frames", form, base)
    if answer := unchanged(request, tag):
        return answer
    hold_inflated(request, location)
    source = await _source(services_of(request), reader_of(request), location, listed, numbers)
    content_type = f"{media_type}; transfer-syntax={syntax}"
    if not is_multipart:
        return StreamedResponse(_only(_bodies(source)), content_type, source.frames[0].size_bytes, headers(tag))
    addresses = [f"{address_of(base, location)}/frames/{number}" for number in numbers]
    parts = [
        Part(content_type, address, frame.size_bytes) for address, frame in zip(addresses, source.frames, strict=True)
    ]
    framing = MultipartFraming.of(media_type, tag)
    body = stream(framing, parts, _bodies(source))
    return StreamedResponse(body, framing.content_type, framing.size_bytes(parts), headers(tag))


async def _source(
    services: Services, reader: ArchiveReader, location: Location, listed: Frames, numbers: Sequence[int]
) -> FrameSource:
    if listed.kind == "unlisted" and location.transfer_syntax in DEFLATED:
        return await _deflated(services, reader, location, numbers)
    read = partial(reader.stream_range, location)
    if listed.kind == "unlisted":
        # Frames of items have a place, frames of bits none.
        if listed.offset:
            raise _unlisted()
        return FrameSource(await _bit_packed(services, reader, location, numbers), read)
    return FrameSource(_listed(listed, numbers), read)


def _listed(listed: Frames, numbers: Sequence[int]) -> tuple[FrameBytes, ...]:
    try:
        ranges = [frame_range(listed, number) for number in numbers]
    except Rejected as error:
        raise Problem(404, error.reason, f"request frames from 1 to {listed.count}") from None
    if listed.kind == "native":
        return tuple(FrameBytes(start, end, _as_stored, end - start) for start, end in ranges)
    return tuple(FrameBytes(start, end, stream_fragments, None) for start, end in ranges)


async def _bit_packed(
    services: Services, reader: ArchiveReader, location: Location, numbers: Sequence[int]
) -> tuple[FrameBytes, ...]:
    """Return the positions of 1-bit frames, computed from the header: a frame need not begin with a byte."""
    end = min(location.header_length + PIXEL_HEADER_BYTES, location.size_bytes)
    if location.transfer_syntax not in NATIVE or end > HEADER_BYTES:
        raise _unlisted()
    async with services.header_slots:
        header = await reader.read_range(location, 0, end)
        found = await services.run_in_parser(bit_frames, header, location.prefix_length, location.transfer_syntax)
    return _aligned(found, numbers, location.size_bytes)


def _aligned(found: BitFrames | None, numbers: Sequence[int], size_bytes: int) -> tuple[FrameBytes, ...]:
    """Return the positions of 1-bit frames, each moved to the beginning of a byte when it is read.

    Raises Problem (501) unless all of them lie within the first `size_bytes` bytes.
    """
    bits = [found.frame(number) for number in numbers] if found else []
    if not all(frame and frame.location.end <= size_bytes for frame in bits) or not bits:
        raise _unlisted()
    return tuple(
        FrameBytes(*frame.location, partial(stream_aligned, skip=frame.skip, bits=frame.bits), -(-frame.bits // 8))
        for frame in bits
        if frame
    )


async def _deflated(
    services: Services, reader: ArchiveReader, location: Location, numbers: Sequence[int]
) -> FrameSource:
    """Return the frames of a deflated instance, inflated in memory; raises Problem (501) when it is too large."""
    if location.size_bytes > DEFLATED_BYTES:
        raise _unlisted()
    async with services.header_slots:
        whole = await reader.read_range(location, 0, location.size_bytes)
        data, listed = await services.run_in_parser(inflate_object, whole, location.prefix_length)
    if listed.kind == "unlisted" and not listed.offset:
        found = await services.run_in_parser(bit_frames, bytes(data[:HEADER_BYTES]), 0, EXPLICIT_VR_LITTLE_ENDIAN)
        positions = _aligned(found, numbers, len(data))
    elif listed.kind == "native" and max(numbers) <= listed.count:
        positions = _listed(listed, numbers)
    else:
        raise _unlisted()

    async def read(start: int, end: int) -> Chunks:
        yield bytes(memoryview(data)[start:end])

    return FrameSource(positions, read)


def _unlisted() -> Problem:
    return Problem(501, "frames-unlisted", "these frames cannot be served alone: retrieve the instance")


async def _bodies(source: FrameSource) -> AsyncGenerator[Chunks, None]:
    """Yield each frame's bytes, in the requested order; one read serves the frames of a run."""
    works = (partial(_read_run, source, run) for run in _runs(source.frames))
    async with aclosing(in_order(works, AHEAD)) as runs:
        async for run in runs:
            for body in run:
                yield body


def _runs(frames: Sequence[FrameBytes]) -> Iterator[tuple[FrameBytes, ...]]:
    """Yield the frames, in the requested order, in runs that one read can serve without much waste."""
    run: list[FrameBytes] = []
    start = end = size = 0
    for frame in frames:
        first, last, total = min([start, frame.start]), max(end, frame.end), size + frame.end - frame.start
        if run and (last - first > RUN_BYTES or last - first > 2 * total):
            yield tuple(run)
            run = []
        if not run:
            first, last, total = frame.start, frame.end, frame.end - frame.start
        run.append(frame)
        start, end, size = first, last, total
    if run:
        yield tuple(run)


async def _read_run(source: FrameSource, run: Sequence[FrameBytes]) -> list[Chunks]:
    start, end = min(frame.start for frame in run), max(frame.end for frame in run)
    if len(run) == 1 and end - start > RUN_BYTES:
        return [run[0].convert(source.read(start, end))]
    data = b"".join([chunk async for chunk in source.read(start, end)])
    return [frame.convert(_piece(data, frame.start - start, frame.end - start)) for frame in run]


async def _piece(data: bytes, start: int, end: int) -> Chunks:
    # Copied only when it is sent, because the same frame may be requested many times.
    yield data[start:end]


async def _only(bodies: AsyncGenerator[Chunks, None]) -> Chunks:
    async with aclosing(bodies), aclosing(await anext(bodies)) as body:
        async for chunk in body:
            yield chunk


def _as_stored(chunks: Chunks) -> Chunks:
    return chunks

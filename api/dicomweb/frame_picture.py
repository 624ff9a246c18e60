"""Rendering one frame as a picture: finding and reading the bytes that the renderer needs."""

import asyncio
from dataclasses import dataclass
from functools import partial

from api.dicomweb.video_and_pdf import VIDEOS
from api.http.problems import NOT_RENDERABLE, not_renderable
from api.services import Services
from operators.catalog.ports import Location
from operators.dicom.frames import frame_range, listed_frames
from operators.http.problem import Problem
from operators.imaging.job import Form, RenderJob
from operators.imaging.request import Rendering
from operators.retrieval.reading import ArchiveReader
from schemas.events import Frames

MOST_HEADER_BYTES = 64 * 2**20
# A frame that begins at most NEAR_BYTES after the header, and ends in the object's first SMALL_BYTES, is read together
# with the header.
NEAR_BYTES = 64 * 1024
SMALL_BYTES = 2**20


@dataclass(frozen=True)
class FramedInstance:
    """An instance with frames to render, and the table of their positions."""

    location: Location
    listed: Frames

    @property
    def form(self) -> Form:
        """Return the form of a render job's frame: its bytes, or the whole object if no table lists the frames."""
        kind = self.listed.kind
        return kind if kind in ("native", "encapsulated") else "object"


async def framed_instance(reader: ArchiveReader, location: Location) -> FramedInstance:
    """Return the instance at a location, with its frames, which are looked up if the location lacks them.

    Raises Problem (406) when no frame can be rendered, and NotFound when the instance no longer exists.
    """
    if not location.frames:
        location = await reader.locate_one(location.study_uid, location.series_uid, location.sop_uid)
    listed = listed_frames(location.frames, location.transfer_syntax)
    # Native pixels that end before the first frame does have no frame.
    if listed.kind == "none" or not listed.count or location.transfer_syntax in VIDEOS:
        advice = "this instance has no frames to show: retrieve the instance"
        raise Problem(NOT_RENDERABLE, "no-pixels", advice)
    return FramedInstance(location, listed)


async def render_frame(
    services: Services, reader: ArchiveReader, instance: FramedInstance, number: int, rendering: Rendering
) -> bytes:
    """Return the picture of a frame; raises FrameRejected, Problem (406), Damaged or Unavailable."""
    job = RenderJob(instance.location.transfer_syntax, number, instance.form, rendering)
    fetch = partial(_with_bytes, reader, instance, job, services.render.frame_bytes)
    return await services.renderer.render(fetch)


async def _with_bytes(reader: ArchiveReader, instance: FramedInstance, job: RenderJob, most_bytes: int) -> RenderJob:
    """Return the job with its bytes: the header and one frame, or the whole object."""
    location, offset = instance.location, instance.listed.offset
    read, fill = partial(reader.read_range, location), partial(job.with_bytes, location.prefix_length, most_bytes)
    if instance.form == "object":
        _check_size(location.size_bytes, 2 * most_bytes)
        return fill(b"", await read(0, location.size_bytes))
    start, end = frame_range(instance.listed, job.number)
    _check_size(end - start, most_bytes)
    _check_size(offset, MOST_HEADER_BYTES)
    if start - offset < NEAR_BYTES and end < SMALL_BYTES:
        both = await read(0, end)
        return fill(both[:offset], both[start:])
    return fill(*await asyncio.gather(read(0, offset), read(start, end)))


def _check_size(size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise not_renderable("image-too-large")

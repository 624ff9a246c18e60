"""One frame's way to a picture: what must be read of its object, and the child that renders it."""

import asyncio
from dataclasses import dataclass
from functools import partial

from api import objects
from api.children import ADVICE, NOT_RENDERABLE
from api.http.media import MEDIA_TYPES
from api.services import Services
from operators.catalog.ports import Location
from operators.dicom.frames import frame_range, unpack
from operators.http.problem import Problem
from operators.imaging.job import Form, RenderJob
from operators.imaging.request import Rendering
from schemas.events import Frames

VIDEOS = {syntax: media_type for syntax, media_type in MEDIA_TYPES.items() if media_type.startswith("video/")}
HEADER_BYTES = 64 * 2**20
# A frame that begins so near behind the header, and is so small, comes in one read with it.
NEAR_BYTES = 64 * 1024
SMALL_BYTES = 2**20


@dataclass(frozen=True)
class Framed:
    """An instance with frames that may be shown, and where they lie."""

    location: Location
    listed: Frames

    @property
    def form(self) -> Form:
        """Return what a child is given of a frame: of one that no table lists the whole object."""
        kind = self.listed.kind
        return kind if kind in ("native", "encapsulated") else "object"


def framed(location: Location) -> Framed:
    """Return an instance's frames; raises Problem (406) when it has none to show."""
    listed = unpack(location.frames)
    if listed.kind == "none" or location.transfer_syntax in VIDEOS:
        raise Problem(NOT_RENDERABLE, "no-pixels", "this instance has no frames to show: retrieve the instance")
    return Framed(location, listed)


async def picture(services: Services, tenant: str, of: Framed, number: int, rendering: Rendering) -> bytes:
    """Return a frame rendered; raises Problem, Damaged or Unavailable."""
    fetch = partial(_job, services, tenant, of, RenderJob(of.location.transfer_syntax, number, of.form, rendering))
    return await services.children.rendered(fetch)


async def _job(services: Services, tenant: str, of: Framed, job: RenderJob) -> RenderJob:
    """Read what a child needs: the header and one frame, or the whole object."""
    read = partial(objects.part, services, tenant, of.location)
    most, prefix_length, offset = services.render.frame_bytes, of.location.prefix_length, of.listed.offset
    if of.form == "object":
        _bounded(of.location.size_bytes, 2 * most)
        return job.with_bytes(prefix_length, most, b"", await read(0, of.location.size_bytes))
    start, end = frame_range(of.listed, job.number)
    _bounded(end - start, most)
    _bounded(offset, HEADER_BYTES)
    if start - offset < NEAR_BYTES and end < SMALL_BYTES:
        both = await read(0, end)
        return job.with_bytes(prefix_length, most, both[:offset], both[start:])
    header, frame = await asyncio.gather(read(0, offset), read(start, end))
    return job.with_bytes(prefix_length, most, header, frame)


def _bounded(size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise Problem(NOT_RENDERABLE, "image-too-large", ADVICE)

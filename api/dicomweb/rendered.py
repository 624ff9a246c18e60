"""WADO-RS rendered resources: pictures that can be shown without a DICOM viewer (PS3.18 10.4.1.1.3, 8.3.5, 8.7.4)."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.frame_picture import FramedInstance, framed_instance, render_frame
from api.dicomweb.resources import address_of, base_of, check_frames, frame_numbers_of, location_of, locations_of
from api.dicomweb.video_and_pdf import PDF, PDF_CLASS, VIDEOS, pdf, video
from api.http.etags import etag, headers, unchanged
from api.http.media import choose_rendered
from api.http.multipart import AFTER, MultipartFraming, Part
from api.http.problems import NO_PICTURE, is_without_picture, not_renderable
from api.http.streaming import Chunks, StreamedResponse, in_order
from api.services import reader_of, services_of
from operators.catalog.ports import Location
from operators.http.accept import accepted
from operators.imaging.request import Rendering, parse_rendering

# PS3.18 table 8.7.4-1; a client that accepts any type gets the first.
IMAGES = ("image/jpeg", "image/png", "image/gif")
PICTURES_AHEAD = 2
NOT_ANNOTATED = '"annotation is not supported and was left out"'


class AddressedPicture(NamedTuple):
    """A picture file, and the address of its rendered resource."""

    address: str
    file: bytes


# Renders one picture; returns None for an instance without a picture.
Render = Callable[[Rendering], Coroutine[Any, Any, AddressedPicture | None]]


async def rendered(request: Request) -> Response:
    """Answer with pictures of a study, a series or an instance: one picture, of the first frame, for each instance.

    If the only instance is a video or a PDF, answer with it as stored.
    """
    locations = await locations_of(request)
    if len(locations) > 1:
        renders = [partial(_first_frame, request, location) for location in locations]
        return await _answer(request, locations, renders)
    (location,) = locations
    if media_type := VIDEOS.get(location.transfer_syntax):
        choose_rendered(accepted(request), (media_type,), 1)
        return video(request, await _with_frames(request, location), media_type)
    if location.sop_class == PDF_CLASS:
        choose_rendered(accepted(request), (PDF,), 1)
        return await pdf(request, location)
    instance = await framed_instance(reader_of(request), location)
    check_frames(instance.listed, [1])
    return await _answer(request, [instance.location], [partial(_frame, request, instance, 1, "")])


async def rendered_frames(request: Request) -> Response:
    """Answer with pictures of the frames that the path lists, in that order."""
    numbers = frame_numbers_of(request)
    instance = await framed_instance(reader_of(request), await location_of(request))
    check_frames(instance.listed, numbers)
    renders = [partial(_frame, request, instance, number, f"/frames/{number}") for number in numbers]
    return await _answer(request, [instance.location], renders)


def picture_response(request: Request, file: bytes, media_type: str, tag: str) -> Response:
    """Return the answer with one picture."""
    return Response(file, media_type=media_type, headers=headers(tag) | _warning(request))


async def _with_frames(request: Request, location: Location) -> Location:
    if location.frames:
        return location
    return await reader_of(request).locate_one(location.study_uid, location.series_uid, location.sop_uid)


async def _answer(request: Request, locations: Sequence[Location], renders: Sequence[Render]) -> Response:
    """Answer with the pictures that `renders` make of these instances, in parts, or with a single picture alone."""
    media_type, is_multipart = choose_rendered(accepted(request), IMAGES, len(renders))
    rendering = parse_rendering(request.query_params.multi_items(), media_type)
    frames = request.path_params.get("frames")
    tag = etag(locations, "rendered", f"{base_of(request)} {is_multipart} {frames} {rendering}")
    if answer := unchanged(request, tag, is_known_to_exist=False):
        return answer
    if is_multipart:
        pictures = in_order((partial(render, rendering) for render in renders), PICTURES_AHEAD)
        framing = MultipartFraming.of(media_type, tag)
        own_headers = headers(tag) | _warning(request)
        return StreamedResponse(_parts(framing, pictures), framing.content_type, headers=own_headers)
    picture = await renders[0](rendering)
    if picture is None:
        raise not_renderable("no-images")
    return picture_response(request, picture.file, media_type, tag)


async def _parts(framing: MultipartFraming, pictures: AsyncGenerator[AddressedPicture | None, None]) -> Chunks:
    """Yield the pictures in parts, each when it is made; raises Problem (406) when there are no pictures."""
    count = 0
    async with aclosing(pictures):
        async for picture in pictures:
            if picture:
                count += 1
                part = Part(framing.media_type, picture.address, len(picture.file))
                yield framing.before(part) + picture.file + AFTER
    if not count:
        raise not_renderable("no-images")
    yield framing.end


async def _frame(
    request: Request, instance: FramedInstance, number: int, path: str, rendering: Rendering
) -> AddressedPicture:
    """Return the picture of a frame; its address is the instance's address, `path` and /rendered."""
    file = await render_frame(services_of(request), reader_of(request), instance, number, rendering)
    return AddressedPicture(f"{address_of(base_of(request), instance.location)}{path}/rendered", file)


async def _first_frame(request: Request, location: Location, rendering: Rendering) -> AddressedPicture | None:
    """Return an instance's picture; None when it has none, so that the study's other pictures are still sent."""
    try:
        instance = await framed_instance(reader_of(request), location)
        check_frames(instance.listed, [1])
        return await _frame(request, instance, 1, "", rendering)
    except NO_PICTURE as error:
        if is_without_picture(error):
            return None
        raise


def _warning(request: Request) -> dict[str, str]:
    """Return the Warning header if the client requested annotation, which is not supported (PS3.18 8.3.5.1.1)."""
    wants_annotation = "annotation" in request.query_params
    return {"warning": f"299 {base_of(request)}: {NOT_ANNOTATED}"} if wants_annotation else {}

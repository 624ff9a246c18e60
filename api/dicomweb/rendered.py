"""WADO-RS rendered resources and thumbnails: pictures that need no DICOM viewer (PS3.18 10.4.1.1.3, 8.3.5, 8.7.4)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import lru_cache, partial
from itertools import groupby, islice

from pydicom.uid import UID
from starlette.requests import Request
from starlette.responses import Response

from api.children import ADVICE, NOT_RENDERABLE
from api.dicomweb.documents import PDF, PDF_CLASS, pdf, video
from api.dicomweb.located import address_of, check_frames, located, numbers_of
from api.dicomweb.pictures import VIDEOS, Framed, framed, picture
from api.http import etags
from api.http.multipart import AFTER, Envelope, Part
from api.http.problems import not_acceptable, not_found
from api.http.streaming import Chunks, Streamed, in_order
from api.services import base_of, services_of, tenant_of
from operators.catalog.ports import Location
from operators.http.accept import MediaRange, accepted
from operators.http.problem import Problem
from operators.imaging.request import Rendering, parse_rendering, parse_thumbnail

# PS3.18 table 8.7.4-1; the first is what a client gets that takes any.
IMAGES = ("image/jpeg", "image/png", "image/gif")
PICTURES_AHEAD = 2
# How many instances are looked at, at most, for one that shows what a study or series is.
CANDIDATES = 5
NOT_ANNOTATED = '"annotation is not supported and was left out"'

# A picture with its address; None for an instance that has none.
Placed = tuple[str, bytes] | None
Making = Callable[[Rendering], Awaitable[Placed]]


async def rendered(request: Request) -> Response:
    """Answer with a study's, a series' or one instance's images as pictures; of many frames the first.

    A video or a document, when it is the only instance, is answered as it is.
    """
    locations = await located(request)
    if len(locations) > 1:
        return await _answer(request, locations, [partial(_first_frame, request, one) for one in locations])
    location = await _with_frames(request, locations[0])
    if stored := VIDEOS.get(location.transfer_syntax):
        _choice(accepted(request), (stored,), 1)
        return video(request, location, stored)
    if location.sop_class == PDF_CLASS:
        _choice(accepted(request), (PDF,), 1)
        return await pdf(request, location)
    shown = framed(location)
    check_frames(shown.listed, [1])
    return await _answer(request, [location], [partial(_frame, request, shown, 1, "")])


async def rendered_frames(request: Request) -> Response:
    """Answer with the frames of an instance that the path lists, in that order, as pictures."""
    numbers = numbers_of(request)
    shown = framed((await located(request))[0])
    check_frames(shown.listed, numbers)
    makings = [partial(_frame, request, shown, number, f"/frames/{number}") for number in numbers]
    return await _answer(request, [shown.location], makings)


async def thumbnail(request: Request) -> Response:
    """Answer with a small picture: of the first frame listed, of the instance's middle one, or of a representative."""
    media_type, _ = _choice(accepted(request), IMAGES, 1)
    side = services_of(request).settings.thumbnail_px
    rendering = parse_thumbnail(request.query_params.multi_items(), media_type, side)
    numbers = numbers_of(request) if "frames" in request.path_params else []
    locations = await located(request)
    for candidate in islice(_candidates(locations), CANDIDATES):
        try:
            shown = framed(await _with_frames(request, candidate))
            number = numbers[0] if numbers else (shown.listed.count + 1) // 2
            check_frames(shown.listed, numbers or [number])
            tag = etags.etag([shown.location], "thumbnail", f"{number} {rendering}")
            if same := etags.unchanged(request, tag, is_there=False):
                return same
            return _one(request, rendering, tag, await _frame(request, shown, number, "", rendering))
        except Problem as problem:
            if problem.status not in (404, NOT_RENDERABLE) or request.path_params.get("instance"):
                raise
    raise Problem(404, "no-images", "nothing here has a picture to show")


async def _with_frames(request: Request, location: Location) -> Location:
    """Return the location with its frames, which a list of locations leaves out; raises Problem (404)."""
    if location.frames:
        return location
    queries, tenant = services_of(request).queries, tenant_of(request)
    found = await queries.locate_one(tenant, location.study_uid, location.series_uid, location.sop_uid)
    if found is None:
        raise not_found("instance")
    return found


def _candidates(locations: Sequence[Location]) -> Iterator[Location]:
    """Return what may show what a study or series is: the middle image of each image series, then of each other one.

    After them the first and the last image of the first image series.
    """
    images, others = list[list[Location]](), list[list[Location]]()
    for _, group in groupby(locations, lambda one: one.series_uid):
        series = list(group)
        shown = [one for one in series if is_image(one.sop_class)]
        (images if shown else others).append(shown or series)
    yield from (series[len(series) // 2] for series in (*images, *others))
    yield from (one for series in images[:1] for one in (series[0], series[-1]))


@lru_cache(maxsize=512)
def is_image(sop_class: str) -> bool:
    """True if a SOP class is one of images, by its name in PS3.6."""
    return "Image Storage" in UID(sop_class).name


def _choice(ranges: Sequence[MediaRange], offered: Sequence[str], count: int) -> tuple[str, bool]:
    """Return the media type to answer with, and whether in parts; raises Problem (406)."""
    for one in ranges:
        for media_type in offered:
            is_multipart = one.is_multipart or (one.media_type == "*/*" and count > 1)
            if one.takes(media_type.lower()) and (is_multipart or count == 1):
                return media_type, is_multipart
    multipart = " or ".join(f'multipart/related; type="{media_type}"' for media_type in offered)
    raise not_acceptable(f"{' or '.join(offered)} or {multipart}" if count == 1 else multipart)


async def _answer(request: Request, locations: Sequence[Location], makings: Sequence[Making]) -> Response:
    """Answer with the pictures of these instances, in parts or one alone."""
    media_type, is_multipart = _choice(accepted(request), IMAGES, len(makings))
    rendering = parse_rendering(request.query_params.multi_items(), media_type)
    frames = request.path_params.get("frames")
    tag = etags.etag(locations, "rendered", f"{base_of(request)} {is_multipart} {frames} {rendering}")
    if same := etags.unchanged(request, tag, is_there=False):
        return same
    if not is_multipart:
        return _one(request, rendering, tag, await makings[0](rendering))
    works = (partial(making, rendering) for making in makings)
    return _many(request, media_type, in_order(works, PICTURES_AHEAD), tag)


def _one(request: Request, rendering: Rendering, tag: str, placed: Placed) -> Response:
    if placed is None:
        raise Problem(NOT_RENDERABLE, "no-images", ADVICE)
    return Response(placed[1], media_type=rendering.media_type, headers=etags.headers(tag) | _warning(request))


def _many(request: Request, media_type: str, pictures: AsyncGenerator[Placed, None], tag: str) -> Response:
    """Answer with pictures in parts, as they are made."""
    envelope = Envelope.of(media_type, tag)
    headers = etags.headers(tag) | _warning(request)
    return Streamed(_parts(envelope, pictures), envelope.content_type, headers=headers)


async def _parts(envelope: Envelope, pictures: AsyncGenerator[Placed, None]) -> Chunks:
    count = 0
    async with aclosing(pictures):
        async for placed in pictures:
            if placed:
                count += 1
                place, found = placed
                yield envelope.before(Part(envelope.media_type, place, len(found))) + found + AFTER
    if not count:
        raise Problem(NOT_RENDERABLE, "no-images", ADVICE)
    yield envelope.end


async def _frame(request: Request, shown: Framed, number: int, at: str, rendering: Rendering) -> Placed:
    found = await picture(services_of(request), tenant_of(request), shown, number, rendering)
    return f"{address_of(base_of(request), shown.location)}{at}/rendered", found


async def _first_frame(request: Request, location: Location, rendering: Rendering) -> Placed:
    """Return an instance's picture; None where there is none, so that the others of a study still come."""
    try:
        shown = framed(await _with_frames(request, location))
        check_frames(shown.listed, [1])
        return await _frame(request, shown, 1, "", rendering)
    except Problem as problem:
        if problem.status in (404, NOT_RENDERABLE):
            return None
        raise


def _warning(request: Request) -> dict[str, str]:
    """Say that pictures are not annotated, to who asked for it (PS3.18 8.3.5.1.1)."""
    asks = "annotation" in request.query_params
    return {"warning": f"299 {base_of(request)}: {NOT_ANNOTATED}"} if asks else {}

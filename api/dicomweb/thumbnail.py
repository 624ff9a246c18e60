"""WADO-RS thumbnails: a small picture to recognise a study, a series or an instance by (PS3.18 10.4.1.1.4)."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice

from pydicom.uid import UID
from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.frame_picture import framed_instance, render_frame
from api.dicomweb.rendered import IMAGES, picture_response
from api.dicomweb.resources import check_frames, frame_numbers_of, locations_of
from api.http.etags import etag, unchanged
from api.http.media import choose_rendered
from api.http.problems import NO_PICTURE, SPOILED, is_without_picture
from api.services import reader_of, services_of
from operators.catalog.ports import Location
from operators.http.accept import accepted
from operators.http.problem import Problem
from operators.imaging.request import Rendering, parse_thumbnail

# The most instances tried until one can be rendered.
CANDIDATES = 5


async def thumbnail(request: Request) -> Response:
    """Answer with a small picture of a study, a series, an instance or a frame.

    It shows the first frame in the path's list, else the middle frame of the instance, or of a representative instance.
    Another instance represents a study or series when the best one is damaged or has no picture.
    """
    media_type, _ = choose_rendered(accepted(request), IMAGES, 1)
    side = services_of(request).settings.thumbnail_px
    rendering = parse_thumbnail(request.query_params.multi_items(), media_type, side)
    numbers = frame_numbers_of(request) if "frames" in request.path_params else []
    locations = await locations_of(request)
    failed: Exception = Problem(404, "no-images", "no instance here has a picture: retrieve the instances")
    for candidate in islice(_candidates(locations), CANDIDATES):
        try:
            return await _thumbnail_of(request, candidate, numbers, rendering)
        except (*NO_PICTURE, *SPOILED) as error:
            is_spoiled = isinstance(error, SPOILED)
            if request.path_params.get("instance") or not (is_spoiled or is_without_picture(error)):
                raise
            failed = error if is_spoiled else failed
    raise failed


async def _thumbnail_of(request: Request, location: Location, numbers: list[int], rendering: Rendering) -> Response:
    services, reader = services_of(request), reader_of(request)
    instance = await framed_instance(reader, location)
    number = numbers[0] if numbers else (instance.listed.count + 1) // 2
    check_frames(instance.listed, numbers or [number])
    tag = etag([instance.location], "thumbnail", f"{number} {rendering}")
    if answer := unchanged(request, tag, is_known_to_exist=False):
        return answer
    file = await render_frame(services, reader, instance, number, rendering)
    return picture_response(request, file, rendering.media_type, tag)


def _candidates(locations: Sequence[Location]) -> Iterator[Location]:
    """Yield the instances that may represent a study or series, the best first.

    First comes the middle image of each series with images, then the middle instance of each other series, then the
    first and the last image of the first series with images.
    """
    images, others = list[list[Location]](), list[list[Location]]()
    for _, group in groupby(locations, lambda location: location.series_uid):
        series = list(group)
        shown = [location for location in series if is_image(location.sop_class)]
        (images if shown else others).append(shown or series)
    yield from (series[len(series) // 2] for series in (*images, *others))
    yield from (location for series in images[:1] for location in (series[0], series[-1]))


@lru_cache(maxsize=512)
def is_image(sop_class: str) -> bool:
    """True if a SOP class stores images, by its name in PS3.6."""
    return "Image Storage" in UID(sop_class).name

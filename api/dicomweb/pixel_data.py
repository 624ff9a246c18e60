"""Pixel Data as a value: native pixels as stored, encapsulated ones frame by frame, a video as its stream.

Source: PS3.18 8.7.3.3 (the representations of pixel data).
"""

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.bulkdata import PIXELS, bulk, is_value_of_items
from api.dicomweb.frames import answer_frames
from api.dicomweb.pixel_element import read_after_header
from api.dicomweb.resources import location_of
from api.dicomweb.video_and_pdf import VIDEOS, video
from api.http.problems import not_acceptable
from api.services import reader_of
from operators.dicom.frames import listed_frames
from operators.dicom.transfer_syntaxes import DEFLATED
from operators.http.accept import accepted, choose

ALL = "all"


async def bulk_or_pixels(request: Request) -> Response:
    """Answer with the value at a bulk data address; encapsulated pixels are no value, but frames or a stream.

    In a native transfer syntax they are a value: nothing says what is in their items.
    """
    if request.path_params["path"].upper() != PIXELS:
        return await bulk(request)
    location = await location_of(request)
    listed = listed_frames(location.frames, location.transfer_syntax)
    if location.transfer_syntax in DEFLATED or listed.kind == "native" or is_value_of_items(location):
        return await bulk(request)
    if listed.kind != "encapsulated":
        after = await read_after_header(reader_of(request), location)
        if after.pixels is None or after.pixels.length is not None:
            return await bulk(request)
    media_type = VIDEOS.get(location.transfer_syntax)
    if media_type is None:
        return await answer_frames(request, location, range(1, listed.count + 1), ALL)
    if choose(accepted(request), (media_type,)) is None:
        raise not_acceptable(media_type)
    return video(request, location, media_type)

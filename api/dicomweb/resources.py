"""The studies, series, instances and frames in a request's path, and their addresses."""

import re
from collections.abc import Sequence
from typing import cast

from starlette.requests import Request

from api.services import reader_of
from operators.catalog.ports import Location
from operators.http.problem import Problem, bad_uid
from schemas.events import Frames
from schemas.objects import is_uid

FRAME_LIST = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*")
MOST_FRAMES = 1000


def uid_of(request: Request, level: str) -> str | None:
    """Return the UID of a level in the path, None when the path has none; raises Problem (400) if it is malformed."""
    uid = request.path_params.get(level)
    if uid is not None and not is_uid(uid):
        raise bad_uid()
    return uid


async def locations_of(request: Request) -> tuple[Location, ...]:
    """Return the locations of the instances that the path names; raises Problem (400) and NotFound."""
    study_uid, series_uid, sop_uid = (uid_of(request, level) for level in ("study", "series", "instance"))
    return await reader_of(request).locate(study_uid or "", series_uid, sop_uid)


async def location_of(request: Request) -> Location:
    """Return the location of the one instance that the path names; raises Problem (400) and NotFound."""
    return (await locations_of(request))[0]


def frame_numbers_of(request: Request) -> list[int]:
    """Return the frame numbers that the path lists; raises Problem (400)."""
    text = request.path_params["frames"]
    if not FRAME_LIST.fullmatch(text) or text.count(",") >= MOST_FRAMES:
        raise Problem(400, "bad-frames", f"list at most {MOST_FRAMES} frame numbers, such as 1,2,3")
    return [int(number) for number in text.split(",")]


def check_frames(listed: Frames, numbers: Sequence[int]) -> None:
    """Return if an instance has frames with these numbers, else raise Problem (404)."""
    if listed.kind == "none":
        raise Problem(404, "no-frames", "this instance has no frames: retrieve the instance")
    if not all(1 <= number <= listed.count for number in numbers):
        raise Problem(404, "no-such-frame", f"request frames from 1 to {listed.count}")


def base_of(request: Request) -> str:
    """Return the service's address for this client."""
    return cast("str", request.scope["base"])


def address(base: str, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> str:
    """Return the address of a study, series or instance."""
    series = f"/series/{series_uid}" if series_uid else ""
    instance = f"/instances/{sop_uid}" if sop_uid else ""
    return f"{base}/studies/{study_uid}{series}{instance}"


def address_of(base: str, location: Location) -> str:
    """Return an instance's address."""
    return address(base, location.study_uid, location.series_uid, location.sop_uid)

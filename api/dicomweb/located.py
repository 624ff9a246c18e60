"""What a path names, where it lies, and the parser's turn: what all retrievals share."""

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from api.http.problems import not_found
from api.services import Services, address, services_of, tenant_of, uid_of, until_sent
from operators.catalog.ports import Location
from operators.dicom.scan import DEFLATED
from operators.http.problem import Problem
from schemas.events import Frames

T = TypeVar("T")

# Pieces fetched ahead of the one that is going out, each at most objects.CHECKED_FIRST_BYTES in memory.
AHEAD = 3
# Of a longer header this much is read: what is cut off is one value too large for metadata (a video, a document).
HEADER_BYTES = 16 * 2**20
# Explicit VR's tag, VR, two reserved bytes and length: encapsulated pixels have no other header (PS3.5 A.4).
PIXEL_HEADER_BYTES = 12
FRAME_LIST = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*")
FRAMES_AT_ONCE = 1000


async def located(request: Request) -> tuple[Location, ...]:
    """Return what the path names, at least one instance; raises Problem (404)."""
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


def numbers_of(request: Request) -> list[int]:
    """Return the frames that the path lists; raises Problem (400)."""
    text = request.path_params["frames"]
    if not FRAME_LIST.fullmatch(text) or text.count(",") >= FRAMES_AT_ONCE:
        raise Problem(400, "bad-frames", f"list at most {FRAMES_AT_ONCE} frame numbers as 1,2,3")
    return [int(number) for number in text.split(",")]


def check_frames(listed: Frames, numbers: Sequence[int]) -> None:
    """Return when an instance has frames of these numbers; raises Problem (404)."""
    if listed.kind == "none":
        raise Problem(404, "no-frames", "this instance has no frames: retrieve the instance")
    if not all(1 <= number <= listed.count for number in numbers):
        raise Problem(404, "no-such-frame", f"this instance has the frames 1 to {listed.count}")


def address_of(base: str, location: Location) -> str:
    """Return an instance's address."""
    return address(base, location.study_uid, location.series_uid, location.sop_uid)


def hold_inflated(request: Request, location: Location) -> None:
    """Take one of the few places for a deflated instance until its answer has gone out; raises Problem (503)."""
    if location.transfer_syntax in DEFLATED:
        until_sent(request, services_of(request).inflated.taken())


async def parsed(services: Services, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Run a function beside the event loop, where long headers hold up no other request."""
    return await asyncio.get_running_loop().run_in_executor(services.parser, partial(function, *arguments, **named))

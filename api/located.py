"""What a path names, where it lies, and the parser's turn: what all retrievals share."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from api.problems import not_found
from api.services import Services, address, services_of, tenant_of, uid_of
from operators.ports import Location

T = TypeVar("T")

# Pieces fetched ahead of the one that is going out, each at most objects.CHECKED_FIRST_BYTES in memory.
AHEAD = 3
# Of a longer header this much is read: what is cut off is one value too large for metadata (a video, a document).
HEADER_BYTES = 16 * 2**20
# A value that must be in memory whole is at most so large.
BULK_BYTES = 256 * 2**20


async def located(request: Request) -> tuple[Location, ...]:
    """Give what the path names, at least one instance; raises Problem (404)."""
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


def address_of(base: str, location: Location) -> str:
    """Give an instance's address."""
    return address(base, location.study_uid, location.series_uid, location.sop_uid)


async def parsed(services: Services, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Run a function beside the event loop, where long headers hold up no other request."""
    return await asyncio.get_running_loop().run_in_executor(services.parser, partial(function, *arguments, **named))

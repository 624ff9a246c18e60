"""The servers, limits and caches that all requests share."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from starlette.requests import Request

from api.dicomweb.header_cache import HeaderCache
from operators.catalog.ports import CatalogQueries, Location
from operators.dicom.transfer_syntaxes import DEFLATED
from operators.errors import RETRY_AFTER
from operators.http.problem import Problem
from operators.imaging.ports import Renderer
from operators.store.ports import ObjectStore
from schemas.settings.web import ApiSettings, RenderSettings
from schemas.telemetry import API_LIMITED

if TYPE_CHECKING:
    from operators.retrieval.reading import ArchiveReader

# Returns when a server answers; raises Unavailable when it does not.
Check = Callable[[], Awaitable[None]]
T = TypeVar("T")


class InflatedSlots:
    """The deflated instances that may be in memory at once, each until its client has taken the answer.

    Nobody waits for a slot: clients that take their answers slowly would make the others wait without end.
    """

    def __init__(self, count: int) -> None:
        self._left = count

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot; raises Problem (503) when none is free."""
        if not self._left:
            API_LIMITED.labels("inflated").inc()
            raise Problem(503, "inflated-busy", "too many deflated instances go out: try again soon", RETRY_AFTER)
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


@dataclass(frozen=True)
class Services:
    """The servers, settings and caches that the handlers work with, made once for the application."""

    queries: CatalogQueries
    objects: ObjectStore
    settings: ApiSettings
    render: RenderSettings
    renderer: Renderer
    # Further servers that must answer for this origin to be ready, by name.
    checks: Mapping[str, Check] = field(default_factory=dict)
    # Long headers are parsed in a thread of their own, one at a time: they hold up no other request.
    parser: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "parser"))
    header_slots: asyncio.Semaphore = field(init=False)
    header_cache: HeaderCache = field(init=False)
    inflated_slots: InflatedSlots = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inflated_slots", InflatedSlots(self.settings.inflated_at_once))
        object.__setattr__(self, "header_cache", HeaderCache(self.settings.header_cache_bytes))
        object.__setattr__(self, "header_slots", asyncio.Semaphore(self.settings.headers_at_once))

    async def in_parser(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a function returns that is called in the parser's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.parser, partial(function, *arguments))


def services_of(request: Request) -> Services:
    """Return the application's services."""
    return cast("Services", request.scope["services"])


def reader_of(request: Request) -> "ArchiveReader":
    """Return the reader of what this request's principal may read."""
    return cast("ArchiveReader", request.scope["reader"])


def hold_until_sent(request: Request, held: AbstractContextManager[None]) -> None:
    """Enter a context that is left once the request's answer has gone out."""
    cast("ExitStack", request.scope["held"]).enter_context(held)


def hold_inflated(request: Request, location: Location) -> None:
    """Hold a slot for an instance, if it is deflated, until the answer has gone out; raises Problem (503)."""
    if location.transfer_syntax in DEFLATED:
        hold_until_sent(request, services_of(request).inflated_slots.taken())

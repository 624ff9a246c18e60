"""The connections, limits and caches that all requests share."""

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
from operators.readiness import Check, Readiness
from operators.store.ports import ObjectStore
from schemas.settings.web import ApiSettings, RenderSettings
from schemas.telemetry import API_LIMITED

if TYPE_CHECKING:
    from operators.retrieval.reading import ArchiveReader

# Returns the state of each job by its name; raises Unavailable when nobody can tell.
JobStates = Callable[[], Awaitable[Mapping[str, str]]]
T = TypeVar("T")


class InflatedSlots:
    """The slots for deflated instances in memory, each held until its client has taken the answer.

    Requests never wait for a slot: slow clients could make all others wait without end.
    """

    def __init__(self, count: int) -> None:
        self._left = count

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot; raises Problem (503) when none is free."""
        if not self._left:
            API_LIMITED.labels("inflated").inc()
            raise Problem(
                503, "inflated-busy", "too many deflated instances are being sent: try again soon", RETRY_AFTER
            )
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


@dataclass(frozen=True)
class Services:
    """The connections, settings, limits and caches of the handlers, made once for the application."""

    queries: CatalogQueries
    objects: ObjectStore
    settings: ApiSettings
    render: RenderSettings
    renderer: Renderer
    # By name, the checks of further servers that must answer before this service is ready.
    checks: Mapping[str, Check] = field(default_factory=dict)
    # Returns the names of the process's background work that is failing.
    failing: Callable[[], tuple[str, ...]] = tuple
    # The states of the jobs that write the catalog, to be told beside the checks; None where nobody knows them.
    jobs: JobStates | None = None
    # One thread parses long headers, so that they delay no other request.
    parser: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "parser"))
    readiness: Readiness = field(init=False)
    header_slots: asyncio.Semaphore = field(init=False)
    header_cache: HeaderCache = field(init=False)
    inflated_slots: InflatedSlots = field(init=False)

    def __post_init__(self) -> None:
        checks = {"catalog": self.queries.check, "store": self.objects.check, **self.checks}
        object.__setattr__(self, "readiness", Readiness(checks, self.failing))
        object.__setattr__(self, "inflated_slots", InflatedSlots(self.settings.inflated_at_once))
        object.__setattr__(self, "header_cache", HeaderCache(self.settings.header_cache_bytes))
        object.__setattr__(self, "header_slots", asyncio.Semaphore(self.settings.headers_at_once))

    async def run_in_parser(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the result of a function that is called in the parser's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.parser, partial(function, *arguments))


def services_of(request: Request) -> Services:
    """Return the application's services."""
    return cast("Services", request.scope["services"])


def reader_of(request: Request) -> "ArchiveReader":
    """Return the archive as this request's principal may read it."""
    return cast("ArchiveReader", request.scope["reader"])


def hold_until_sent(request: Request, held: AbstractContextManager[None]) -> None:
    """Enter a context, and leave it when the request's answer has been sent."""
    cast("ExitStack", request.scope["held"]).enter_context(held)


def hold_inflated(request: Request, location: Location) -> None:
    """Hold a slot for an instance until the answer has been sent, if it is deflated; raises Problem (503)."""
    if location.transfer_syntax in DEFLATED:
        hold_until_sent(request, services_of(request).inflated_slots.taken())

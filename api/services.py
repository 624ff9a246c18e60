"""What the handlers work with, and what they read from a request."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from starlette.requests import Request

from api.children import Children
from api.dicomweb.cache import Kept
from operators.catalog.ports import CatalogQueries
from operators.errors import RETRY_AFTER
from operators.http.problem import Problem, bad_uid
from operators.store.ports import ObjectStore
from schemas.objects import is_uid
from schemas.settings.web import ApiSettings, RenderSettings
from schemas.telemetry import API_LIMITED

if TYPE_CHECKING:
    from operators.access.principal import Principal

ROOT = "/dicomweb"
Check = Callable[[], Awaitable[None]]


class Places:
    """A few places without a queue: whoever has one keeps it as long as its client takes."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place; raises Problem (503) when there is none."""
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
    """The outside, as the composition root chose it."""

    queries: CatalogQueries
    objects: ObjectStore
    settings: ApiSettings
    render: RenderSettings
    # Headers are parsed beside the event loop, one at a time: a big one holds up no other request.
    parser: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "parser"))
    headers_turn: asyncio.Semaphore = field(init=False)
    # What else must be there for this origin to be ready, by name: each raises Unavailable when it is not.
    checks: Mapping[str, Check] = field(default_factory=dict)
    inflated: Places = field(init=False)
    headers: Kept = field(init=False)
    children: Children = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "children", Children(self.render))
        object.__setattr__(self, "inflated", Places(self.settings.inflated_at_once))
        object.__setattr__(self, "headers", Kept(self.settings.header_cache_bytes))
        object.__setattr__(self, "headers_turn", asyncio.Semaphore(self.settings.headers_at_once))


def services_of(request: Request) -> Services:
    """Return the application's services."""
    return cast("Services", request.scope["services"])


def until_sent(request: Request, held: AbstractContextManager[None]) -> None:
    """Hold something until the request's answer has gone out."""
    cast("ExitStack", request.scope["held"]).enter_context(held)


def tenant_of(request: Request) -> str:
    """Return the tenant whose data this request may see."""
    return cast("Principal", request.scope["principal"]).tenant


def uid_of(request: Request, name: str) -> str | None:
    """Return a UID of the path, None when the path has none of that name; raises Problem when it is no UID."""
    uid = request.path_params.get(name)
    if uid is not None and not is_uid(uid):
        raise bad_uid()
    return uid


def base_of(request: Request) -> str:
    """Return the address of the service as this client reached it."""
    return f"{request.scope['scheme']}://{request.headers['host']}{ROOT}"


def address(base: str, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> str:
    """Return the address of a study, series or instance."""
    series = f"/series/{series_uid}" if series_uid else ""
    instance = f"/instances/{sop_uid}" if sop_uid else ""
    return f"{base}/studies/{study_uid}{series}{instance}"

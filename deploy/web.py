"""The archive's web origin as a process: STOW-RS of the gateway beside QIDO-RS and WADO-RS of the api.

    python -m deploy.web [--help]

Settings are FLUORO_API_*, FLUORO_RENDER_*, FLUORO_STOW_*, FLUORO_INTAKE_*, FLUORO_QUARANTINE_*, FLUORO_CATALOG_*,
FLUORO_STORE_* and FLUORO_BROKER_*. Exits 0 after SIGTERM, 2 for settings that cannot be.
"""

import argparse
import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from api.__main__ import announce, calm_collector
from api.app import create_app
from api.services import Services
from deploy.local.supervision.die_with_parent import die_with_parent
from gateway.intake.lifespan import STOP_S, Connectors, open_intake
from gateway.stow.door import Stow, is_ours
from operators.catalog.ports import CatalogQueries
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.postgres.queries import PostgresQueries
from operators.connectors.s3.store import S3ObjectStore
from operators.connectors.sandbox.pool import Sandbox
from operators.store.ports import EventLog, ObjectStore
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.reading import SettingsError, load_all
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.web import ApiSettings, RenderSettings, StowSettings
from schemas.telemetry import set_up_logs

# What is being stored when we are told to stop has its own limits; then the outbox is settled.
DRAIN_S = 20
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True)
class Settings:
    """Everything that this process is told."""

    api: ApiSettings
    render: RenderSettings
    stow: StowSettings
    intake: IntakeSettings
    quarantine: QuarantineSettings
    catalog: CatalogSettings
    store: StoreSettings
    broker: BrokerSettings


@dataclass(frozen=True)
class Outside:
    """The servers behind the origin, and what is opened and closed with it."""

    queries: CatalogQueries
    objects: ObjectStore
    events: EventLog
    opened: tuple[AbstractAsyncContextManager[Any], ...] = ()


class Web:
    """Both doors as one application: what does not read the studies' addresses goes in, everything else goes out."""

    def __init__(self, settings: Settings, outside: Outside) -> None:
        self._settings = settings
        self._outside = outside
        checks = {"broker": outside.events.check}
        services = Services(
            outside.queries, outside.objects, settings.api, settings.render, Sandbox(settings.render), checks
        )
        self._reads: ASGIApp = create_app(services, self._lifespan)
        self._stow: Stow | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the application's life."""
        if self._stow is not None and scope["type"] == "http" and is_ours(scope["method"], scope["path"]):
            await self._stow(scope, receive, send)
        else:
            await self._reads(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        connectors = Connectors(self._outside.objects, self._outside.events)
        async with AsyncExitStack() as stack:
            for one in self._outside.opened:
                await stack.enter_async_context(one)
            settings = self._settings
            inside = await stack.enter_async_context(open_intake(settings.intake, settings.quarantine, connectors))
            self._stow = stow = Stow(inside, self._settings.stow, self._settings.api.tenant)
            announcing = asyncio.create_task(announce(self._settings.api, "web"))
            with _told_to_stop(stow):
                yield
            announcing.cancel()
            await stow.close(STOP_S)


@contextmanager
def _told_to_stop(stow: Stow) -> Iterator[None]:
    """Close the door at the first signal: granian waits for requests that are open, and these could take hours.

    Its own handling goes on beside this: it hangs on the loop's wake-up, not on the handler.
    """
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def close() -> None:
        if not closing:
            closing.append(loop.create_task(stow.close(STOP_S)))

    def told(number: int, frame: FrameType | None) -> None:
        del number, frame
        loop.call_soon_threadsafe(close)

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build() -> ASGIApp:
    """Return the application on real servers; granian calls this in each worker."""
    die_with_parent(os.getppid())
    set_up_logs("web")
    calm_collector()
    settings = load_all(Settings, os.environ, with_store_keys=True)
    queries, objects = PostgresQueries(settings.catalog), S3ObjectStore(settings.store)
    events = KafkaEventLog(settings.broker)
    return Web(settings, Outside(queries, objects, events, (queries, objects, events)))


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    argparse.ArgumentParser(
        prog="python -m deploy.web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        settings = load_all(Settings, os.environ, with_store_keys=True)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="fluoro-metrics-") as folder:
        if settings.api.workers > 1:
            # Whoever answers /metrics answers for all; read when a worker first imports the metrics.
            os.environ[METRICS_FOLDER] = folder
            multiprocessing.set_start_method("spawn")
        serve(settings)
    return 0


def serve(settings: Settings) -> None:
    """Serve with so many workers; who does not send the head of a request in time is disconnected."""
    server = Server(
        "deploy.web:build",
        address=settings.api.host,
        port=settings.api.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.stow.silence_s * 1000)),
        websockets=False,
        workers=settings.api.workers,
        workers_kill_timeout=DRAIN_S,
        factory=True,
        log_enabled=False,
    )
    server.serve()


if __name__ == "__main__":
    sys.exit(main())

"""The archive's web origin as a process: STOW-RS, commands and policies of the gateway beside QIDO-RS and WADO-RS of the api.

    python -m deploy.web [--help]

Settings are FLUORO_API_*, FLUORO_RENDER_*, FLUORO_STOW_*, FLUORO_INTAKE_*, FLUORO_QUARANTINE_*, FLUORO_CATALOG_*,
FLUORO_STORE_* and FLUORO_BROKER_*. Exits 0 after SIGTERM, 2 for settings that cannot be used.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer
from prometheus_client.multiprocess import mark_process_dead
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.services import JobStates, Services
from deploy.local.supervision.die_with_parent import die_with_parent
from gateway.calls.door import CallDoor
from gateway.commands.call import command_call
from gateway.commands.lifespan import commands_of
from gateway.intake.lifespan import STOP_S, Connectors, open_intake
from gateway.policies.call import policy_call
from gateway.policies.lifespan import policies_of
from gateway.stow.door import Stow, is_for_stow
from operators.catalog.ports import CatalogQueries
from operators.connectors.flink.jobs import FlinkJobs
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.postgres.queries import PostgresQueries
from operators.connectors.s3.store import S3ObjectStore
from operators.connectors.sandbox.pool import Sandbox
from operators.imaging.ports import Renderer
from operators.store.ports import EventLog, ObjectStore
from operators.tasks import Background, report_unhandled, supervised
from pipelines.jobs import JOBS
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.reading import SettingsError, load_all
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.web import ApiSettings, RenderSettings, StowSettings
from schemas.telemetry import set_up_logs

# Longer than the STOW door takes to answer its open requests, and the outbox to be settled after that.
DRAIN_S = 20
POLL_S = 0.02
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

log = structlog.get_logger()


@dataclass(frozen=True)
class WebSettings:
    """The sections of settings that the web origin reads."""

    api: ApiSettings
    render: RenderSettings
    stow: StowSettings
    intake: IntakeSettings
    quarantine: QuarantineSettings
    catalog: CatalogSettings
    store: StoreSettings
    broker: BrokerSettings


@dataclass(frozen=True)
class WebConnectors:
    """The servers behind the origin; the members of `to_open` are opened and closed with it."""

    queries: CatalogQueries
    objects: ObjectStore
    events: EventLog
    renderer: Renderer
    jobs: JobStates | None = None
    to_open: tuple[AbstractAsyncContextManager[Any], ...] = ()


class Web:
    """The doors of the gateway and the read API as one ASGI application: the API answers what no door does."""

    def __init__(self, settings: WebSettings, connectors: WebConnectors) -> None:
        self._settings = settings
        self._connectors = connectors
        self._background = Background()
        services = Services(
            connectors.queries,
            connectors.objects,
            settings.api,
            settings.render,
            connectors.renderer,
            checks={"broker": connectors.events.check},
            failing=self._background.failing,
            jobs=connectors.jobs,
        )
        self._api: ASGIApp = create_app(services, self._lifespan)
        # Each door, and the test of a request's method and path that says whether it answers.
        self._doors: tuple[tuple[Callable[[str, str], bool], Stow | CallDoor], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the application's lifespan."""
        await self._app_for(scope)(scope, receive, send)

    def _app_for(self, scope: Scope) -> ASGIApp:
        if scope["type"] == "http":
            for is_for, door in self._doors:
                if is_for(scope["method"], scope["path"]):
                    return door
        return self._api

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        settings, connectors = self._settings, self._connectors
        asyncio.get_running_loop().set_exception_handler(report_unhandled)
        async with AsyncExitStack() as stack:
            for connector in connectors.to_open:
                await stack.enter_async_context(connector)
            stores = Connectors(connectors.objects, connectors.events)
            opened = open_intake(settings.intake, settings.quarantine, stores, self._background)
            intake = await stack.enter_async_context(opened)
            origin = (settings.api.tenant, settings.api.public_url)
            stow = Stow(intake, settings.stow, *origin, query=connectors.queries.shown)
            called = (command_call(commands_of(intake)), policy_call(policies_of(intake, connectors.objects)))
            calls = CallDoor(called, settings.stow, settings.api.tenant)
            self._doors = ((is_for_stow, stow), (calls.is_for, calls))
            announcing = supervised("announcement", _announce(settings.api))
            with _closed_at_signal(stow, calls):
                yield
            announcing.cancel()
            await asyncio.gather(stow.close(STOP_S), calls.close(STOP_S))


async def _announce(settings: ApiSettings) -> None:
    """Print a line once the port is open, which granian opens after the application's start."""
    while True:
        try:
            _, writer = await asyncio.open_connection(settings.host, settings.port)
        except OSError:
            await asyncio.sleep(POLL_S)
        else:
            writer.close()
            break
    sys.stdout.write(f"fluoro web ready on http://{settings.host}:{settings.port}/dicomweb\n")
    sys.stdout.flush()


@contextmanager
def _closed_at_signal(*doors: Stow | CallDoor) -> Iterator[None]:
    """Close the doors at the first SIGTERM or SIGINT: granian waits for open requests, which may take hours.

    Granian still stops by its own handling, which uses the loop's wake-up descriptor and not the handler.
    """
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def close() -> None:
        if not closing:
            closing.extend(supervised("door_closing", door.close(STOP_S)) for door in doors)

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        loop.call_soon_threadsafe(close)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build() -> ASGIApp:
    """Return the application, connected to the servers of the settings; granian calls this in each worker."""
    die_with_parent(os.getppid())
    set_up_logs("web")
    _collect_garbage_less_often()
    settings = load_all(WebSettings, os.environ, with_store_keys=True)
    queries, objects = PostgresQueries(settings.catalog), S3ObjectStore(settings.store)
    events = KafkaEventLog(settings.broker)
    jobs = FlinkJobs(settings.api.jobs_url, [job.name for job in JOBS]).states if settings.api.jobs_url else None
    opened = (queries, objects, events)
    return Web(settings, WebConnectors(queries, objects, events, Sandbox(settings.render), jobs, opened))


def _collect_garbage_less_often() -> None:
    """Look for reference cycles less often: responses make many dicts and no cycle (100 studies: 3 ms instead of 5.8)."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    argparse.ArgumentParser(
        prog="python -m deploy.web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        settings = load_all(WebSettings, os.environ, with_store_keys=True)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    set_up_logs("web")
    with tempfile.TemporaryDirectory(prefix="fluoro-metrics-") as folder:
        if settings.api.workers > 1:
            # Then any worker answers /metrics for all; each reads this variable when it first imports the metrics.
            os.environ[METRICS_FOLDER] = folder
            multiprocessing.set_start_method("spawn")
        serve(settings)
    return 0


class RespawningServer(MPServer):
    """Granian's server, which starts a worker again when it dies; a worker that dies again within seconds ends all."""

    def _respawn_workers(self, workers: Sequence[int], *arguments: Any, **options: Any) -> None:
        # Granian's own log lines are not JSON, and it has no hook for a dead worker.
        for index in workers:
            dead = self.wrks[index].inner
            log.error("web_worker_ended", index=index, exit_code=dead.exitcode)
            if METRICS_FOLDER in os.environ:
                # Otherwise its gauges count for ever, as open requests and open entries of an outbox.
                mark_process_dead(dead.pid)  # type: ignore[no-untyped-call]
        super()._respawn_workers(workers, *arguments, **options)
        # Granian has cleared this flag, perhaps after a signal had set it, and would wait for another one.
        if self.interrupt_signal:
            self.main_loop_interrupt.set()


def _end_starting_workers_at_sigterm() -> None:
    """Let SIGTERM end a worker that was forked and does not serve yet.

    It inherits this process's handler, which does nothing there: the stop would wait for it until DRAIN_S are over.
    """
    stop = (signal.SIGTERM,)

    def begin() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)

    # Blocked from before the fork on: Python forgets a signal that comes while it prepares the new process.
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, stop),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, stop),
        after_in_child=begin,
    )


def serve(settings: WebSettings) -> None:
    """Serve with the workers that the settings ask for; a client too slow to send a request's head is disconnected."""
    _end_starting_workers_at_sigterm()
    server = RespawningServer(
        "deploy.web:build",
        address=settings.api.host,
        port=settings.api.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.stow.silence_s * 1000)),
        websockets=False,
        workers=settings.api.workers,
        workers_kill_timeout=DRAIN_S,
        respawn_failed_workers=True,
        factory=True,
        log_enabled=False,
    )
    server.serve()


if __name__ == "__main__":
    sys.exit(main())

"""Each piece of background work that fails is logged, counted, and makes its process unready until it is well again."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.web import Web, WebConnectors, WebSettings
from gateway import process
from gateway.dimse.admission import AssociationCounts
from gateway.health import serve_health
from gateway.intake import lifespan
from gateway.intake.accept import Acceptance
from gateway.intake.lifespan import Connectors
from gateway.intake.outbox.outbox import Outbox
from gateway.intake.quarantine import Quarantine
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.connectors.sandbox.pool import Sandbox
from operators.readiness import Readiness
from operators.tasks import PREFIX, Background, report_unhandled
from schemas.settings.intake import QuarantineSettings
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.web import ApiSettings, RenderSettings, StowSettings
from tests.support.worlds.gateway import door_of, gateway_in, intake_in

WAIT_S = 10.0

Ask = Callable[[], Awaitable[httpx.Response]]


async def fail(*_: object) -> None:
    raise RuntimeError


# By the name of the work: the object and the function of it that is replaced by one that fails.
WORKS: dict[str, tuple[Any, str]] = {
    "outbox": (Outbox, "run"),
    "outbox_adoption": (lifespan, "adopt"),
    "quarantine_watch": (Quarantine, "watch"),
    "inspections": (Acceptance, "inspect_in_background"),
    "peers_reading": (process, "_reread"),
}
ONLY_DIMSE = {"peers_reading"}
# Tasks of the outbox's own group, which end with it.
PARTS = {"outbox_retries", "outbox_ends", "outbox_rewriting"}
# The line that says that the port is open; it ends, and nothing depends on it.
OTHERS = {"announcement"}


@asynccontextmanager
async def dimse_gateway(folder: Path) -> AsyncIterator[Ask]:
    """Yield a question for the readiness of a gateway process."""
    store, events = MemoryObjectStore(), MemoryEventLog()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with door_of(listening, gateway_in(folder), Connectors(store, events)) as door:
            checks = {"store": store.check, "broker": events.check}
            readiness = Readiness(checks, door.intake.background.failing)
            with serve_health("127.0.0.1", 0, readiness.states) as port:
                async with httpx.AsyncClient(trust_env=False) as client:
                    yield lambda: client.get(f"http://127.0.0.1:{port}/readyz", timeout=WAIT_S)


@asynccontextmanager
async def web_origin(folder: Path) -> AsyncIterator[Ask]:
    """Yield a question for the readiness of a web process."""
    api, render = ApiSettings(), RenderSettings()
    servers = (CatalogSettings(), StoreSettings(), BrokerSettings())
    settings = WebSettings(api, render, StowSettings(), intake_in(folder), QuarantineSettings(), *servers)
    store = MemoryObjectStore()
    web = Web(settings, WebConnectors(MemoryQueries(), store, MemoryEventLog(), Sandbox(render)))
    async with web._lifespan(None), httpx.AsyncClient(transport=httpx.ASGITransport(web)) as client:
        yield lambda: client.get("http://localhost/readyz")


@dataclass(frozen=True)
class Seen:
    """What one process said of its readiness, and logged."""

    status: int
    states: dict[str, str]
    logged: list[str]


def seen_of(opened: Callable[[Path], Any], folder: Path) -> Seen:
    async def asked() -> Any:
        async with opened(folder) as ask, asyncio.timeout(WAIT_S):
            await asyncio.sleep(0)
            return await ask()

    with capture_logs() as logs:
        answer = asyncio.run(asked())
    failed = [entry["task"] for entry in logs if entry["event"] == "task_failed"]
    return Seen(answer.status_code, answer.json(), failed)


def counted(task: str) -> float:
    return REGISTRY.get_sample_value("fluoro_task_failed_total", {"task": task}) or 0.0


@pytest.mark.parametrize("opened", [dimse_gateway, web_origin])
def test_a_process_whose_work_goes_on_is_ready(opened: Callable[[Path], Any], tmp_path: Path) -> None:
    seen = seen_of(opened, tmp_path)

    assert (seen.status, set(seen.states.values()), seen.logged) == (200, {"ready"}, [])


@pytest.mark.parametrize(
    ("opened", "name"),
    [
        *((dimse_gateway, name) for name in WORKS),
        *((web_origin, name) for name in WORKS if name not in ONLY_DIMSE),
    ],
)
def test_work_that_fails_is_logged_counted_and_makes_its_process_unready(
    opened: Callable[[Path], Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, function = WORKS[name]
    monkeypatch.setattr(owner, function, fail)
    before = counted(name)
    seen = seen_of(opened, tmp_path)

    assert (seen.status, seen.states[name]) == (503, "failing")
    assert set(seen.logged) == {name}
    assert counted(name) > before


@pytest.mark.parametrize(("opened", "lacks"), [(dimse_gateway, {"announcement"}), (web_origin, {"peers_reading"})])
def test_every_task_of_a_process_at_rest_is_known_here(
    opened: Callable[[Path], Any], lacks: set[str], tmp_path: Path
) -> None:
    async def names() -> set[str]:
        async with opened(tmp_path):
            await asyncio.sleep(0)
            return {task.get_name().removeprefix(PREFIX) for task in asyncio.all_tasks() if is_ours(task)}

    assert asyncio.run(names()) == (WORKS.keys() | PARTS | OTHERS) - lacks


def is_ours(task: "asyncio.Task[Any]") -> bool:
    return task.get_name().startswith(PREFIX)


def test_a_web_process_reports_failed_callbacks(tmp_path: Path) -> None:
    async def handler() -> object:
        async with web_origin(tmp_path):
            return asyncio.get_running_loop().get_exception_handler()

    assert asyncio.run(handler()) is report_unhandled


def test_a_gateway_process_reports_failed_callbacks(tmp_path: Path) -> None:
    found: list[object] = []

    def ready() -> None:
        found.append(asyncio.get_running_loop().get_exception_handler())
        signal.raise_signal(signal.SIGTERM)

    async def served() -> None:
        sections = gateway_in(tmp_path)
        connectors = Connectors(MemoryObjectStore(), MemoryEventLog())
        intake = lifespan.open_intake(sections.intake, sections.quarantine, connectors, Background())
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await process.serve(listening, sections.dimse, intake, ready, AssociationCounts())

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        asyncio.run(served())
    finally:
        for number, handling in before.items():
            signal.signal(number, handling)

    assert found == [report_unhandled]

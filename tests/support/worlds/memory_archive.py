"""A whole archive in one process: both doors and the read API on real sockets, the stores in memory, empty at first."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.intake.lifespan import Connectors
from gateway.stow.door import Stow, is_for_stow
from operators.connectors.memory.stores import MemoryEventLog
from operators.stream.step import Record
from schemas.objects import Bucket
from schemas.settings.web import StowSettings
from schemas.topics import INSTANCE_STORED
from tests.support.senders.sender import Peer
from tests.support.senders.stow import Door
from tests.support.worlds.gateway import door_of, gateway_in
from tests.support.worlds.reading import World, cataloged

WAIT_S = 20.0


@dataclass(frozen=True)
class MemoryArchive:
    """A whole archive in memory: its doors, its stores, its event log."""

    peer: Peer
    door: Door
    world: World
    events: MemoryEventLog

    def catalog(self) -> None:
        """Write the rows of everything that was stored, as the catalog job does."""
        places = sorted(place for place in self.events.records if place[0] == INSTANCE_STORED.name)
        records = [
            Record(topic, partition, offset, appended_ms, key, value)
            for topic, partition in places
            for offset, (key, value, appended_ms) in enumerate(self.events.records[topic, partition])
        ]
        cataloged(self.world.catalog, records)

    def quarantined(self) -> dict[str, bytes]:
        """Return the quarantined objects by key."""
        objects = self.world.objects.objects
        return {key: held.data for (bucket, key), held in objects.items() if bucket is Bucket.QUARANTINE}


@contextmanager
def memory_archive(folder: Path) -> Iterator[MemoryArchive]:
    """Run an archive for the block."""
    found, started, stopping = list[MemoryArchive](), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with both_doors(folder) as archive:
            found.append(archive)
            started.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(WAIT_S)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(WAIT_S)
        loop.close()


@asynccontextmanager
async def both_doors(folder: Path) -> AsyncIterator[MemoryArchive]:
    """Open both doors of one intake, and the read API beside them."""
    world, events = World(), MemoryEventLog()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with door_of(listening, gateway_in(folder), Connectors(world.objects, events)) as dimse:
            app = one_origin(Stow(dimse.intake, StowSettings(), "local", query=world.queries.shown), world.app)
            async with web(app) as port:
                peer = Peer(listening.getsockname()[1], patience_s=30)
                yield MemoryArchive(peer, Door(f"http://127.0.0.1:{port}", patience_s=30), world, events)


def one_origin(stow: ASGIApp, api: ASGIApp) -> ASGIApp:
    """Return an application that passes store requests to the one and all others to the other."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (stow if is_for_stow(scope["method"], scope["path"]) else api)(scope, receive, send)

    return app


@asynccontextmanager
async def web(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application for the block, and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    server = Server(
        app, port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False, log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    try:
        yield port
    finally:
        server.stop()  # type: ignore[no-untyped-call]
        await serving

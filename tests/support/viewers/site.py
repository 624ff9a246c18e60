"""OHIF and an archive on one origin, as a hospital's reverse proxy shows them.

`/dicomweb` is the archive's; every other path is a file of OHIF, and where there is none, OHIF's page, which routes itself.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web
from yarl import URL

WAIT_S = 30.0
# Headers that belong to one connection, RFC 9110 7.6.1.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
CONFIGURATION = Path(__file__).parent / "app-config.js"


@dataclass
class Site:
    """A web origin on loopback, and what it has answered for the archive: status, method and address."""

    ohif: Path
    archive: URL
    url: str = ""
    answers: list[tuple[int, str, str]] = field(default_factory=list)

    async def file(self, request: web.Request) -> web.FileResponse:
        """Answer a file of OHIF, our configuration, or OHIF's page."""
        wanted = self.ohif / request.match_info["path"]
        if wanted.name == CONFIGURATION.name:
            return web.FileResponse(CONFIGURATION)
        return web.FileResponse(wanted if wanted.is_file() else self.ohif / "index.html")

    async def dicomweb(self, request: web.Request) -> web.StreamResponse:
        """Pass a request to the archive with its Host, and the answer back unchanged."""
        address = self.archive.join(request.rel_url)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        session = request.app[SESSION]
        async with session.request(request.method, address, headers=headers, allow_redirects=False) as got:
            self.answers.append((got.status, request.method, str(request.rel_url)))
            kept = [(name, value) for name, value in got.headers.items() if name.lower() not in HOP_BY_HOP]
            answer = web.StreamResponse(status=got.status)
            for name, value in kept:
                answer.headers.add(name, value)
            await answer.prepare(request)
            async for chunk in got.content.iter_any():
                await answer.write(chunk)
            return answer


SESSION = web.AppKey("session", ClientSession)


@contextmanager
def site(ohif: Path, archive_url: str) -> Iterator[Site]:
    """Serve OHIF's files and an archive for the block."""
    one, started, stopping = Site(ohif, URL(archive_url)), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(one, started, stopping),))
    thread.start()
    try:
        assert started.wait(WAIT_S)
        yield one
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(WAIT_S)
        loop.close()


async def serve(one: Site, started: threading.Event, stopping: asyncio.Event) -> None:
    """Serve a site until `stopping`."""
    app = web.Application()
    app.add_routes([web.get("/dicomweb{path:.*}", one.dicomweb), web.get("/{path:.*}", one.file)])
    async with ClientSession(auto_decompress=False) as app[SESSION]:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stopping.wait()
        await runner.cleanup()

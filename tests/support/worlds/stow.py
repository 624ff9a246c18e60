"""The STOW-RS door over an archive in memory, called without a socket."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive

from gateway.intake.lifespan import Connectors, Intake, open_intake
from gateway.stow.door import Stow
from gateway.stow.shown import ShownQuery
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.tasks import Background
from schemas.codec import decode
from schemas.events import InstanceStored, TransferEnded
from schemas.objects import Bucket
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.web import StowSettings
from tests.support.worlds.gateway import intake_in

BOUNDARY = "BOUNDARY"
PARTS = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def multipart(*files: bytes, content_type: str = "application/dicom") -> bytes:
    """Return the body of a store request with these files as parts."""
    head = f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


@dataclass
class Response:
    """The response to a request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def codes(self, sequence: str, tag: str) -> list[Any]:
        """Return the first value of an attribute in each item of a sequence where it has one; both are named by tag."""
        items = self.json.get(sequence, {}).get("Value", [])
        return [item[tag]["Value"][0] for item in items if "Value" in item.get(tag, {})]

    def failures(self) -> list[int]:
        return self.codes("00081198", "00081197") + self.codes("0008119A", "00081197")


async def ask_app(  # noqa: PLR0913 - the parts of a request
    app: ASGIApp,
    messages: Iterable[Message] | Receive,
    *,
    method: str = "POST",
    path: str,
    headers: dict[str, str] | None = None,
    client: str = "127.0.0.1",
) -> Response:
    """Send a request by ASGI; once the messages are received, the client sends nothing more."""
    response = Response()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            response.body += message["body"]

    said = {"host": "localhost:8060"} | {name.replace("_", "-"): text for name, text in (headers or {}).items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path.partition("?")[0],
        "query_string": path.partition("?")[2].encode(),
        "scheme": "http",
        "http_version": "1.1",
        "client": (client, 1),
        "server": ("127.0.0.1", 8060),
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in said.items()],
    }
    await app(scope, messages if callable(messages) else _receive(messages), send)
    return response


@dataclass
class StowWorld:
    """An archive in memory and its STOW-RS door."""

    stow: Stow
    intake: Intake
    store: MemoryObjectStore
    events: MemoryEventLog

    async def post(self, *chunks: bytes, path: str = "/dicomweb/studies", **headers: str) -> Response:
        """Send a store request in these chunks: multipart, unless the headers have another content type."""
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        return await self.ask(messages, path=path, headers={"content-type": PARTS} | headers)

    async def ask(
        self,
        messages: Iterable[Message] | Receive,
        *,
        method: str = "POST",
        path: str = "/dicomweb/studies",
        headers: dict[str, str] | None = None,
        client: str = "127.0.0.1",
    ) -> Response:
        """Send a request to the door, as ask_app() does."""
        return await ask_app(self.stow, messages, method=method, path=path, headers=headers, client=client)

    def stored(self, bucket: Bucket = Bucket.HOT) -> list[bytes]:
        """Return the bytes of every object of a bucket, in the order in which they were stored."""
        return [held.data for (place, _), held in self.store.objects.items() if place is bucket]

    def published(self, kind: type[Any]) -> list[Any]:
        """Return every event of one kind."""
        decoded = [decode(value) for place in self.events.records.values() for _, value, _ in place]
        return [event for event in decoded if isinstance(event, kind)]

    @property
    def instances(self) -> list[InstanceStored]:
        return self.published(InstanceStored)

    async def ends(self) -> list[TransferEnded]:
        """End all outages, and return how transfers ended once the outbox is empty."""
        self.store.outage = self.events.outage = Outage.NONE
        async with asyncio.timeout(5):
            while not self.intake.outbox.is_empty:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)
        return self.published(TransferEnded)


def _receive(messages: Iterable[Message]) -> Receive:
    coming = iter(messages)

    async def receive() -> Message:
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    return receive


@asynccontextmanager
async def stow_world(
    folder: Path,
    settings: StowSettings | None = None,
    taking_in: IntakeSettings | None = None,
    store: MemoryObjectStore | None = None,
    query: ShownQuery | None = None,
) -> AsyncIterator[StowWorld]:
    """Open a STOW-RS door over an intake, by default one with its folders in `folder`."""
    store, events = store or MemoryObjectStore(), MemoryEventLog()
    given = taking_in or intake_in(folder, late_put_s=0)
    async with open_intake(given, QuarantineSettings(), Connectors(store, events), Background()) as intake:
        yield StowWorld(Stow(intake, settings or StowSettings(), "local", query=query), intake, store, events)

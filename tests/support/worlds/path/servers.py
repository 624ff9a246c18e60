"""Store and broker as one gateway process sees them: late, refusing, losing answers, and cut off when it is killed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import TypeVar

from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.errors import Rejected, Unavailable
from operators.store.clock import StoreClock
from operators.store.ports import FetchedObject, ListedObject, PlainUpload, Position, StoredObject, Upload
from schemas.events import Event
from schemas.objects import Bucket
from schemas.topics import Topic

T = TypeVar("T")

DELAY_S = 0.05
# A client's patience with a request, and the longest time after which a request that it gave up is still carried out.
PATIENCE_S = 5.0
LATE_S = 50.0
ASK_AGAIN_S = 0.02


@dataclass
class Faults:
    """The shares of requests to one server that are refused, lose their answer, or are carried out late."""

    refused: float = 0.0
    answer_lost: float = 0.0
    late: float = 0.0


@dataclass
class Connection:
    """The connection of one process to one server; after `cut` no request of the process ever gets an answer."""

    what: str
    chance: Random
    faults: Faults
    is_cut: bool = False
    # Kept, because the loop itself would forget the tasks that wait for them.
    _kept: list["asyncio.Future[None]"] = field(default_factory=list)

    def cut(self) -> None:
        """Cut the connection, as the death of the process does."""
        self.is_cut = True

    async def sleep(self, seconds: float) -> None:
        """Sleep, and never wake in a dead process."""
        await asyncio.sleep(seconds)
        await self._stop_if_cut()

    async def carry(self, request: Callable[[], Awaitable[T]]) -> T:
        """Carry out a request as the faults say. Raises Unavailable."""
        fate = self.chance.random()
        await asyncio.sleep(self.chance.expovariate(1 / DELAY_S))
        if self.is_cut:
            await self._die_with(request)
        if fate < self.faults.refused:
            raise Unavailable(self.what)
        if fate < self.faults.refused + self.faults.late:
            await self._carry_late(request)
        result = await request()
        await self.sleep(self.chance.expovariate(1 / DELAY_S))
        if fate < self.faults.refused + self.faults.late + self.faults.answer_lost:
            raise Unavailable(self.what)
        return result

    async def _die_with(self, request: Callable[[], Awaitable[T]]) -> None:
        """Carry out, or not, the request that was on its way when the process was killed; never return."""
        if self.chance.random() < 0.5:
            await request()
        await self._stop_if_cut()

    async def _carry_late(self, request: Callable[[], Awaitable[T]]) -> None:
        task = asyncio.get_running_loop().create_task(_after(self.chance.uniform(0, LATE_S), request))
        self._kept.append(task)
        await self.sleep(PATIENCE_S)
        raise Unavailable(self.what)

    async def _stop_if_cut(self) -> None:
        if self.is_cut:
            never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._kept.append(never)
            await never


async def _after(seconds: float, request: Callable[[], Awaitable[T]]) -> None:
    await asyncio.sleep(seconds)
    # Nobody hears the answer.
    with suppress(Rejected, Unavailable, KeyError):
        await request()


@dataclass(frozen=True)
class SeenStore:
    """An ObjectStore through a connection; `time` is what the process knows of the store's clock, by its answers."""

    store: MemoryObjectStore
    connection: Connection
    time: StoreClock

    @property
    def is_time_known(self) -> bool:
        return self.time.is_known

    async def learn_time(self) -> None:
        while not self.time.is_known:
            await self.check()
            await self.connection.sleep(ASK_AGAIN_S)

    def now(self) -> datetime:
        return self.time.now()

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        # The sender's buffer is gone when a request is carried out late.
        kept = replace(upload, parts=(b"".join(upload.parts),))
        return await self._carry(lambda: self.store.put(bucket, kept))

    async def replace(self, bucket: Bucket, upload: Upload, etag: str) -> bool:
        kept = replace(upload, parts=(b"".join(upload.parts),))
        return await self._carry(lambda: self.store.replace(bucket, kept, etag))

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        return await self._carry(lambda: self.store.head(bucket, key))

    async def fetch(self, bucket: Bucket, key: str, length: int) -> FetchedObject | None:
        return await self._carry(lambda: self.store.fetch(bucket, key, length))

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        async def whole() -> bytes:
            return b"".join([chunk async for chunk in self.store.read(bucket, key, start, end, size_bytes=size_bytes)])

        yield await self._carry(whole)

    async def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        async for key in self.store.keys(bucket, prefix):
            yield key

    async def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        async for found in self.store.listing(bucket, prefix):
            yield found

    async def folders(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        async for found in self.store.folders(bucket, prefix):
            yield found

    async def delete(self, bucket: Bucket, key: str) -> None:
        await self._carry(lambda: self.store.delete(bucket, key))

    async def check(self) -> None:
        await self._carry(self.store.check)

    async def _carry(self, request: Callable[[], Awaitable[T]]) -> T:
        async def dated() -> tuple[T, float]:
            return await request(), float(int(self.store.clock()))

        asked = self.time.steady()
        result, second = await self.connection.carry(dated)
        self.time.learn(second, asked, self.time.steady())
        return result


@dataclass(frozen=True)
class SeenEventLog:
    """An EventLog through a connection."""

    events: MemoryEventLog
    connection: Connection

    async def publish(self, topic: Topic, event: Event) -> Position:
        return await self.connection.carry(lambda: self.events.publish(topic, event))

    async def check(self) -> None:
        await self.connection.carry(self.events.check)

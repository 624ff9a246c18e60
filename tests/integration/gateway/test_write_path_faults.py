"""A store or broker that fails, whichever way: the sender hears A700 in time, and all heals by itself."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.intake.lifespan import Connectors
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.connectors.s3.store import S3ObjectStore
from operators.errors import Unavailable
from operators.store.ports import EventLog, ObjectStore
from schemas.events import InstanceStored
from schemas.objects import Bucket
from schemas.settings.servers import BrokerSettings, StoreSettings
from schemas.topics import INSTANCE_STORED
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.faulty_servers import FaultyStore, listening, swallow
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer
from tests.support.worlds.gateway import door_of, gateway_in

ANSWERED_S = 15.0
AGAIN = 0xA700
STORED = 0x0000


@asynccontextmanager
async def gateway(folder: Path, store: ObjectStore, events: EventLog) -> AsyncIterator[Peer]:
    """Have a gateway with the settings that people get."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        async with door_of(door, gateway_in(folder), Connectors(store, events)):
            yield Peer(door.getsockname()[1])


@dataclass(frozen=True)
class Heard:
    """The status that a sender was answered with, and the seconds that it waited."""

    status: int
    took_s: float


async def told(peer: Peer, instance: Instance) -> Heard:
    """Send an instance in an association of its own."""

    def send() -> Heard:
        with associated(peer, instance.sop_class, instance.transfer_syntax) as association:
            began = time.monotonic()
            status = association.store(instance)
            return Heard(status, time.monotonic() - began)

    return await asyncio.to_thread(send)


async def until_healed(folder: Path) -> None:
    """Return when nothing is open any more."""
    async with asyncio.timeout(30):
        while sum(path.stat().st_size for path in (folder / "outbox").iterdir()):  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.05)


async def through(fault: str, folder: Path) -> None:
    """Send on a good day, on a bad one, and on the next good one, over connections that are kept."""
    first, second = instances(Volume(slices=2, size=64, seed=7))
    day, events = FaultyStore(), MemoryEventLog()
    async with (
        listening(day.serve) as port,
        S3ObjectStore(StoreSettings(endpoint=f"http://127.0.0.1:{port}")) as store,
        gateway(folder, store, events) as peer,
    ):
        assert (await told(peer, first)).status == STORED
        day.fault = fault
        bad = await told(peer, second)
        day.fault = "works"
        assert bad.status == AGAIN, fault
        assert bad.took_s < ANSWERED_S, fault
        assert (await told(peer, second)).status == STORED
        await until_healed(folder)
    published = [event for event in events.events(INSTANCE_STORED) if isinstance(event, InstanceStored)]
    assert len(day.objects) == 2
    assert {f"/{Bucket.HOT}/{event.object_key}" for event in published} == set(day.objects)


def test_a_store_that_fails_costs_a_sender_an_a700_in_time_and_nothing_else(tmp_path: Path) -> None:
    async def every_fault() -> None:
        faults = ("silent", "slow", "fails", "cuts_off", "full")
        folders = [tmp_path / fault for fault in faults]
        await asyncio.gather(*(through(fault, folder) for fault, folder in zip(faults, folders, strict=True)))

    asyncio.run(every_fault())


def test_a_repeat_at_a_store_that_takes_its_time_is_answered_in_time_too(tmp_path: Path) -> None:
    (one,) = instances(Volume(slices=1, size=64))

    async def test() -> Heard:
        day = FaultyStore(slow_s=4.8)
        async with listening(day.serve) as port:
            settings = StoreSettings(endpoint=f"http://127.0.0.1:{port}")
            async with S3ObjectStore(settings) as store, gateway(tmp_path, store, MemoryEventLog()) as peer:
                assert (await told(peer, one)).status == STORED
                day.fault = "slow"
                heard = await told(peer, one)
                day.fault = "works"
                return heard

    heard = asyncio.run(test())

    assert heard.status in (STORED, AGAIN)
    assert heard.took_s < ANSWERED_S


def test_a_bucket_that_is_not_there_is_trouble_and_not_an_object_that_is_not_there(tmp_path: Path) -> None:
    (one,) = instances(Volume(slices=1, size=64))

    async def test() -> Heard:
        async with listening(FaultyStore(has_buckets=False).serve) as port:
            settings = StoreSettings(endpoint=f"http://127.0.0.1:{port}")
            async with S3ObjectStore(settings) as store, gateway(tmp_path, store, MemoryEventLog()) as peer:
                with pytest.raises(Unavailable):
                    await store.head(Bucket.HOT, "local/1.dcm")
                with pytest.raises(Unavailable):
                    await anext(aiter(store.read(Bucket.HOT, "local/1.dcm")))
                return await told(peer, one)

    assert asyncio.run(test()).status == AGAIN


def test_a_broker_that_fails_costs_a_sender_an_a700_in_time(tmp_path: Path) -> None:
    async def sent(folder: Path, port: int) -> Heard:
        (one,) = instances(Volume(slices=1, size=64))
        async with (
            KafkaEventLog(BrokerSettings(bootstrap=f"127.0.0.1:{port}")) as events,
            gateway(folder, MemoryObjectStore(), events) as peer,
        ):
            return await told(peer, one)

    async def test() -> tuple[Heard, Heard]:
        with closing(socket.create_server(("127.0.0.1", 0))) as gone:
            nobody = gone.getsockname()[1]
        async with listening(swallow) as hole:
            return await asyncio.gather(sent(tmp_path / "nobody", nobody), sent(tmp_path / "hole", hole))

    for heard in asyncio.run(test()):
        assert heard.status == AGAIN
        assert heard.took_s < ANSWERED_S

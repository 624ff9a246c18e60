"""A store or broker that fails in any way: the sender gets A700 in time, and the gateway recovers unaided."""

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
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer
from tests.support.servers.faulty_servers import FaultyStore, listening, swallow
from tests.support.worlds.gateway import door_of, gateway_in

ANSWERED_S = 15.0
TRY_AGAIN = 0xA700
STORED = 0x0000


@asynccontextmanager
async def gateway(folder: Path, store: ObjectStore, events: EventLog) -> AsyncIterator[Peer]:
    """Run a gateway with the default settings."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        async with door_of(door, gateway_in(folder), Connectors(store, events)):
            yield Peer(door.getsockname()[1])


@dataclass(frozen=True)
class TimedStatus:
    """The status that a sender got, and the seconds that it waited for it."""

    status: int
    took_s: float


async def send_to(peer: Peer, instance: Instance) -> TimedStatus:
    """Send an instance in an association of its own."""

    def send() -> TimedStatus:
        with associated(peer, instance.sop_class, instance.transfer_syntax) as association:
            began = time.monotonic()
            status = association.store(instance)
            return TimedStatus(status, time.monotonic() - began)

    return await asyncio.to_thread(send)


async def until_outbox_files_are_empty(folder: Path) -> None:
    """Return once the files of the outbox are empty."""
    async with asyncio.timeout(30):
        while sum(path.stat().st_size for path in (folder / "outbox").iterdir()):  # noqa: ASYNC110 - files do not notify
            await asyncio.sleep(0.05)


async def send_before_during_and_after(fault: str, folder: Path) -> None:
    """Send while the store works, while it has a fault, and while it works again, over the same connections."""
    first, second = instances(Volume(slices=2, size=64, seed=7))
    faulty, events = FaultyStore(), MemoryEventLog()
    async with (
        listening(faulty.serve) as port,
        S3ObjectStore(StoreSettings(endpoint=f"http://127.0.0.1:{port}")) as store,
        gateway(folder, store, events) as peer,
    ):
        assert (await send_to(peer, first)).status == STORED
        faulty.fault = fault
        bad = await send_to(peer, second)
        faulty.fault = "works"
        assert bad.status == TRY_AGAIN, fault
        assert bad.took_s < ANSWERED_S, fault
        assert (await send_to(peer, second)).status == STORED
        await until_outbox_files_are_empty(folder)
    published = [event for event in events.events(INSTANCE_STORED) if isinstance(event, InstanceStored)]
    assert len(faulty.objects) == 2
    assert {f"/{StoreSettings.bucket_prefix}{Bucket.HOT}/{event.object_key}" for event in published} == set(
        faulty.objects
    )


def test_a_failing_store_costs_a_sender_only_an_a700_in_time(tmp_path: Path) -> None:
    async def every_fault() -> None:
        faults = ("silent", "slow", "fails", "cuts_off", "full")
        folders = [tmp_path / fault for fault in faults]
        await asyncio.gather(
            *(send_before_during_and_after(fault, folder) for fault, folder in zip(faults, folders, strict=True))
        )

    asyncio.run(every_fault())


def test_a_repeat_at_a_slow_store_is_answered_in_time(tmp_path: Path) -> None:
    (instance,) = instances(Volume(slices=1, size=64))

    async def test() -> TimedStatus:
        faulty = FaultyStore(slow_s=4.8)
        async with listening(faulty.serve) as port:
            settings = StoreSettings(endpoint=f"http://127.0.0.1:{port}")
            async with S3ObjectStore(settings) as store, gateway(tmp_path, store, MemoryEventLog()) as peer:
                assert (await send_to(peer, instance)).status == STORED
                faulty.fault = "slow"
                answered = await send_to(peer, instance)
                faulty.fault = "works"
                return answered

    answered = asyncio.run(test())

    assert answered.status in (STORED, TRY_AGAIN)
    assert answered.took_s < ANSWERED_S


def test_a_missing_bucket_is_an_outage_and_not_a_missing_object(tmp_path: Path) -> None:
    (instance,) = instances(Volume(slices=1, size=64))

    async def test() -> TimedStatus:
        async with listening(FaultyStore(has_buckets=False).serve) as port:
            settings = StoreSettings(endpoint=f"http://127.0.0.1:{port}")
            async with S3ObjectStore(settings) as store, gateway(tmp_path, store, MemoryEventLog()) as peer:
                with pytest.raises(Unavailable):
                    await store.head(Bucket.HOT, "local/1.dcm")
                with pytest.raises(Unavailable):
                    await anext(aiter(store.read(Bucket.HOT, "local/1.dcm")))
                return await send_to(peer, instance)

    assert asyncio.run(test()).status == TRY_AGAIN


def test_a_failing_broker_costs_a_sender_an_a700_in_time(tmp_path: Path) -> None:
    async def sent(folder: Path, port: int) -> TimedStatus:
        (instance,) = instances(Volume(slices=1, size=64))
        async with (
            KafkaEventLog(BrokerSettings(bootstrap=f"127.0.0.1:{port}")) as events,
            gateway(folder, MemoryObjectStore(), events) as peer,
        ):
            return await send_to(peer, instance)

    async def test() -> tuple[TimedStatus, TimedStatus]:
        with closing(socket.create_server(("127.0.0.1", 0))) as closed:
            absent = closed.getsockname()[1]
        async with listening(swallow) as silent:
            return await asyncio.gather(sent(tmp_path / "absent", absent), sent(tmp_path / "silent", silent))

    for answered in asyncio.run(test()):
        assert answered.status == TRY_AGAIN
        assert answered.took_s < ANSWERED_S

"""The store's time is known whatever the machine's clock says, and a wrong clock costs no request.

The contract of the port is tested on the real store and on its memory twin.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from operators.connectors.memory.stores import MemoryObjectStore, Outage
from operators.connectors.s3.store import S3ObjectStore
from operators.errors import Unavailable
from operators.store.checksum import crc32c_of
from operators.store.clock import StoreClock
from operators.store.ports import ObjectStore, Upload
from schemas.objects import Bucket
from schemas.settings.reading import load
from schemas.settings.servers import StoreSettings
from schemas.telemetry import STORE_CLOCK_AHEAD
from tests.support.servers.faulty_servers import FaultyStore, listening
from tests.support.worlds.intake import envelope_of

HOURS_S = 7200.0
SKEWS = [0.0, HOURS_S, -HOURS_S]
Test = Callable[[ObjectStore], Awaitable[None]]
Run = Callable[[Test], None]


class SettableClock:
    """A machine's clock that is wrong by so many seconds."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead_s = ahead_s

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def upload(name: str) -> Upload:
    data = name.encode()
    return Upload(f"local/store-time/{name}-{time.time_ns()}", (data,), len(data), crc32c_of(data), envelope_of("t1"))


@pytest.fixture(params=["memory", "s3"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return a function that runs a test on each store, which was never asked anything before."""
    if request.param == "memory":
        return lambda test: asyncio.run(inside(nullcontext(MemoryObjectStore()), test))
    settings = load(StoreSettings, request.getfixturevalue("stack").env)
    return lambda test: asyncio.run(inside(S3ObjectStore(settings), test))


async def inside(opened: AbstractAsyncContextManager[ObjectStore], test: Test) -> None:
    async with opened as store:
        await test(store)


def test_the_time_is_known_once_it_was_learned_and_is_later_at_each_call(run: Run) -> None:
    async def test(store: ObjectStore) -> None:
        with pytest.raises(Unavailable):
            store.now()
        await asyncio.gather(*(store.learn_time() for _ in range(20)))
        moments = [store.now() for _ in range(100)]

        assert moments == sorted(set(moments))
        assert abs(moments[-1].timestamp() - time.time()) < 0.5

    run(test)


@pytest.mark.parametrize("ahead_s", SKEWS)
def test_a_real_store_is_used_by_a_machine_whose_clock_is_hours_wrong(
    request: pytest.FixtureRequest, ahead_s: float
) -> None:
    settings = load(StoreSettings, request.getfixturevalue("stack").env)
    sent, machine = upload("skewed"), SettableClock(ahead_s)

    async def test() -> None:
        async with S3ObjectStore(settings, StoreClock(machine)) as store:
            assert await store.head(Bucket.HOT, sent.key) is None
            await store.learn_time()
            assert abs(store.now().timestamp() - time.time()) < 0.5
            assert await store.put(Bucket.HOT, sent)
            machine.ahead_s = -ahead_s
            assert not await store.put(Bucket.HOT, sent)
            assert [chunk async for chunk in store.read(Bucket.HOT, sent.key)] == [b"skewed"]
            assert [key async for key in store.keys(Bucket.HOT, sent.key)] == [sent.key]
            await store.delete(Bucket.HOT, sent.key)
            assert abs(store.now().timestamp() - time.time()) < 0.5

    asyncio.run(test())


@asynccontextmanager
async def served(faulty: FaultyStore, clock: StoreClock | None = None) -> AsyncIterator[S3ObjectStore]:
    async with listening(faulty.serve) as port:
        settings = StoreSettings(endpoint=f"http://127.0.0.1:{port}", connect_s=0.5, no_progress_s=0.5)
        async with S3ObjectStore(settings, clock) as store:
            yield store


@pytest.mark.parametrize("ahead_s", [HOURS_S, -HOURS_S])
def test_an_upload_that_a_wrong_clock_has_dated_is_refused_and_the_next_is_stored(ahead_s: float) -> None:
    faulty, store_clock = FaultyStore(), SettableClock(0.0)
    faulty.clock = store_clock
    sent = upload("dated")

    async def test() -> None:
        async with served(faulty) as store:
            await store.learn_time()
            store_clock.ahead_s = ahead_s
            with pytest.raises(Unavailable) as refused:
                await store.put(Bucket.HOT, sent)
            assert refused.value.what == "store-clock"
            assert faulty.objects == {}
            assert await store.put(Bucket.HOT, sent)

    asyncio.run(test())


def test_a_request_that_is_refused_for_another_reason_is_not_sent_again() -> None:
    faulty = FaultyStore()
    asked = 0

    def never_right() -> float:
        nonlocal asked
        asked += 1
        return time.time() + asked * HOURS_S

    faulty.clock = never_right

    async def test() -> None:
        async with served(faulty) as store:
            with pytest.raises(Unavailable):
                await store.head(Bucket.HOT, "local/1.dcm")

    asyncio.run(test())
    # The clock is looked at twice for each request: for its signature, and for the date of the answer.
    assert asked == 4


def test_a_store_that_fails_is_asked_for_its_time_once_at_a_time() -> None:
    faulty = FaultyStore("fails")
    asked = 0

    def counted() -> float:
        nonlocal asked
        asked += 1
        return time.time()

    faulty.clock = counted

    async def test() -> None:
        async with served(faulty) as store:
            for _ in range(3):
                with pytest.raises(Unavailable, match="store-500"):
                    await store.learn_time()

    asyncio.run(test())
    assert asked == 3


def test_a_wrong_clock_is_logged_once_and_its_error_is_a_metric() -> None:
    async def test() -> None:
        async with served(FaultyStore(), StoreClock(SettableClock(HOURS_S))) as store:
            await store.learn_time()

    with capture_logs() as logged:
        asyncio.run(test())

    (line,) = (line for line in logged if line["event"] == "store_clock_corrected")
    assert line["by_s"] == pytest.approx(-HOURS_S, abs=1.5)
    assert STORE_CLOCK_AHEAD._value.get() == pytest.approx(-HOURS_S, abs=1.5)


@pytest.mark.parametrize("fault", ["silent", "undated", "fails"])
def test_a_store_that_does_not_tell_the_time_is_unavailable_in_time(fault: str) -> None:
    async def test() -> None:
        async with served(FaultyStore(fault)) as store, asyncio.timeout(5):
            found = await asyncio.gather(*(store.learn_time() for _ in range(20)), return_exceptions=True)
            assert all(isinstance(one, Unavailable) for one in found)
            with pytest.raises(Unavailable):
                store.now()

    asyncio.run(test())


def test_the_date_of_a_proxys_error_is_not_the_stores() -> None:
    faulty = FaultyStore()

    async def test() -> None:
        async with served(faulty) as store:
            await store.learn_time()
            faulty.fault = "fails"
            with pytest.raises(Unavailable):
                await store.put(Bucket.HOT, replace(upload("proxied")))
            assert abs(store.now().timestamp() - time.time()) < 0.5

    asyncio.run(test())


def test_a_twin_that_refuses_does_not_tell_the_time() -> None:
    async def test() -> None:
        store = MemoryObjectStore(Outage.REFUSES)
        with pytest.raises(Unavailable):
            await store.learn_time()
        store.outage = Outage.NONE
        await store.learn_time()
        store.outage = Outage.REFUSES
        await store.learn_time()

        assert store.now() > datetime(2026, 1, 1, tzinfo=UTC)

    asyncio.run(test())

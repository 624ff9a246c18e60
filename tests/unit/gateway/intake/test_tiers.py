"""New instances enter the hot tier, and an instance is found in whichever tier a mover has put it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.intake.tiers import TieredObject, TieredStore
from operators.connectors.memory.stores import MemoryObjectStore, Outage, StoredBytes
from operators.errors import Unavailable
from operators.store.checksum import crc32c_of
from operators.store.ports import StoredObject, Upload
from schemas.objects import TIERS, Bucket, Identity, commands_prefix, policy_key
from tests.support.worlds.intake import envelope_of

KEY = f"local/1.2.3/1.2.3.9/1.2.3.1_{'ab' * 32}.dcm"
DATA = b"an instance"
EVERY = tuple(TIERS.values())
ENVELOPE = envelope_of("t-1")
UPLOAD = Upload(KEY, (DATA,), len(DATA), crc32c_of(DATA), ENVELOPE)


@dataclass
class ObservedStore(MemoryObjectStore):
    """A store that remembers which buckets were looked up, and lets look-ups pass once `at_once` of them have come."""

    looked_up: list[Bucket] = field(default_factory=list)
    at_once: int = 1

    def __post_init__(self) -> None:
        self.barrier = asyncio.Barrier(self.at_once)

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        self.looked_up.append(bucket)
        await self.barrier.wait()
        return await super().head(bucket, key)


def store_with(*buckets: Bucket, at_once: int = 1) -> ObservedStore:
    held = StoredBytes(DATA, ENVELOPE.to_metadata())
    return ObservedStore(objects={(bucket, KEY): held for bucket in buckets}, at_once=at_once)


def moved(store: MemoryObjectStore, *in_use: Bucket) -> TieredObject | None:
    return asyncio.run(TieredStore(store, in_use).find_moved(KEY))


def found(bucket: Bucket) -> TieredObject:
    return TieredObject(bucket, KEY, len(DATA), "", ENVELOPE)


@pytest.mark.parametrize("in_use", [(Bucket.HOT,), EVERY, (Bucket.COLD,), ()], ids=["hot", "every", "cold", "none"])
def test_a_new_instance_enters_the_hot_tier_whichever_tiers_are_in_use(in_use: tuple[Bucket, ...]) -> None:
    store = store_with()

    async def put_twice() -> list[bool]:
        tiers = TieredStore(store, in_use)
        return [await tiers.put(UPLOAD) for _ in range(2)]

    assert asyncio.run(put_twice()) == [True, False]
    assert list(store.objects) == [(Bucket.HOT, KEY)]


@pytest.mark.parametrize(
    ("holding", "in_use", "expected"),
    [
        ([], EVERY, None),
        ([Bucket.HOT], EVERY, None),
        ([Bucket.WARM], EVERY, Bucket.WARM),
        ([Bucket.COLD], EVERY, Bucket.COLD),
        ([Bucket.HOT, Bucket.WARM], EVERY, Bucket.WARM),
        ([Bucket.WARM, Bucket.COLD], EVERY, Bucket.WARM),
        ([Bucket.WARM], (Bucket.HOT, Bucket.COLD), None),
        ([Bucket.COLD], (Bucket.HOT, Bucket.COLD), Bucket.COLD),
        ([Bucket.QUARANTINE, Bucket.DERIVED], EVERY, None),
    ],
)
def test_a_moved_instance_is_found_in_the_colder_tiers_in_use(
    holding: list[Bucket], in_use: tuple[Bucket, ...], expected: Bucket | None
) -> None:
    assert moved(store_with(*holding), *in_use) == (found(expected) if expected else None)


@pytest.mark.parametrize(
    ("in_use", "looked_up"),
    [
        ((Bucket.HOT,), []),
        ((Bucket.HOT, Bucket.WARM), [Bucket.WARM]),
        (EVERY, [Bucket.WARM, Bucket.COLD]),
    ],
    ids=["hot", "warm", "every"],
)
def test_a_look_up_costs_one_request_for_each_colder_tier_in_use(
    in_use: tuple[Bucket, ...], looked_up: list[Bucket]
) -> None:
    store = store_with(Bucket.WARM)

    moved(store, *in_use)

    assert store.looked_up == looked_up


def test_the_hot_tier_is_the_only_one_in_use_unless_others_are_named() -> None:
    store = store_with(Bucket.WARM)

    assert asyncio.run(TieredStore(store).find_moved(KEY)) is None
    assert store.looked_up == []


def test_the_colder_tiers_are_asked_all_at_once() -> None:
    store = store_with(Bucket.COLD, at_once=2)

    assert moved(store, *EVERY) == found(Bucket.COLD)


def test_a_tier_that_does_not_answer_in_time_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intake.tiers.LOOKUP_S", 0.01)

    with pytest.raises(Unavailable, match="slow"):
        moved(store_with(Bucket.WARM, at_once=3), *EVERY)


@pytest.mark.parametrize("in_use", [(Bucket.HOT,), EVERY], ids=["hot", "every"])
@pytest.mark.parametrize("tier", EVERY)
def test_the_first_tier_that_has_an_object_is_found_in_use_or_not(tier: Bucket, in_use: tuple[Bucket, ...]) -> None:
    store = store_with(*EVERY[EVERY.index(tier) :])

    assert asyncio.run(TieredStore(store, in_use).find(KEY)) == found(tier)
    assert store.looked_up == list(EVERY[: EVERY.index(tier) + 1])


def test_an_object_that_no_tier_has_is_not_found() -> None:
    assert asyncio.run(TieredStore(store_with(Bucket.QUARANTINE)).find(KEY)) is None


@pytest.mark.parametrize(
    "request_of",
    [lambda tiers: tiers.put(UPLOAD), lambda tiers: tiers.find_moved(KEY), lambda tiers: tiers.find(KEY)],
    ids=["put", "find moved", "find"],
)
def test_a_store_that_refuses_is_unavailable_and_not_a_missing_object(
    request_of: Callable[[TieredStore], Coroutine[Any, Any, object]],
) -> None:
    tiers = TieredStore(MemoryObjectStore(outage=Outage.REFUSES), EVERY)

    with pytest.raises(Unavailable, match="store"):
        asyncio.run(request_of(tiers))


async def content(tiers: TieredStore, one: TieredObject, end: int | None) -> bytes:
    return b"".join([chunk async for chunk in tiers.read(one, end)])


@pytest.mark.parametrize(
    ("end", "expected"), [(None, DATA), (2, DATA[:2]), (len(DATA), DATA), (len(DATA) + 1, DATA), (0, b"")]
)
def test_an_object_is_read_up_to_its_end_from_the_tier_that_has_it(end: int | None, expected: bytes) -> None:
    tiers = TieredStore(store_with(Bucket.COLD))

    assert asyncio.run(content(tiers, found(Bucket.COLD), end)) == expected


def test_an_object_that_was_moved_meanwhile_is_no_longer_there() -> None:
    tiers = TieredStore(store_with(Bucket.COLD))

    with pytest.raises(KeyError):
        asyncio.run(content(tiers, found(Bucket.HOT), None))


def test_the_contents_of_a_study_are_found_in_every_tier_and_no_command_or_policy_is_one_of_them() -> None:
    command = f"{commands_prefix('local', '1.2.3')}6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21.json"
    store = store_with(Bucket.HOT, Bucket.COLD)
    policy = policy_key("local", "tiering", "age", 1)
    for key in (command, policy, "local/1.2.3/notes.txt", KEY.replace("local/1.2.3/", "local/1.2.33/")):
        store.objects[Bucket.HOT, key] = StoredBytes(b"{}", {})

    async def listed() -> tuple[list[Identity], list[str]]:
        tiers = TieredStore(store)
        contents = [identity async for identity in tiers.identities("local", "1.2.3")]
        return contents, await tiers.command_keys("local", "1.2.3")

    assert asyncio.run(listed()) == ([Identity.of(KEY)] * 2, [command])

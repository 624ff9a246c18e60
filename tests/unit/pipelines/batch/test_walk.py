"""A walk finds each study of the store once, whatever tiers have it, and holds little at a time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from operators.connectors.memory.stores import MemoryObjectStore, StoredBytes
from operators.store.ports import ListedObject
from pipelines.batch.selection import Selection
from pipelines.batch.walk import FoundObject, Size, StudyFolder, measured, objects, studies, tenants
from schemas.objects import Bucket

HOT, WARM, COLD = Bucket.HOT, Bucket.WARM, Bucket.COLD
EARLY, LATE = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)


def store_of(*keys: tuple[Bucket, str], modified_at: datetime = EARLY) -> MemoryObjectStore:
    return MemoryObjectStore(objects={key: StoredBytes(b"x", {}, modified_at=modified_at) for key in keys})


STORE = store_of(
    (HOT, "local/1.2/1.2.1/a.dcm"),
    (HOT, "local/1.2/_commands/c.json"),
    (HOT, "local/1.2.3/1.2.1/b.dcm"),
    (HOT, "local/_policies/tiering/night/000001.json"),
    (WARM, "local/1.2/1.2.1/a.dcm"),
    (WARM, "local/1.2/1.2.1/old.dcm"),
    (COLD, "other/1.9/1.9.1/d.dcm"),
)


EVERYTHING = Selection()


def found(selection: Selection = EVERYTHING, store: MemoryObjectStore = STORE, **more: object) -> list[StudyFolder]:
    async def walked() -> list[StudyFolder]:
        return [each async for each in studies(store, selection, **more)]  # type: ignore[arg-type]

    return asyncio.run(walked())


def test_each_study_is_found_once_with_the_tiers_that_have_it() -> None:
    assert found() == [
        StudyFolder("local", "1.2.3", (HOT,)),
        StudyFolder("local", "1.2", (HOT, WARM)),
        StudyFolder("other", "1.9", (COLD,)),
    ]


@pytest.mark.parametrize(
    ("selection", "uids"),
    [
        (Selection(tenant="other"), ["1.9"]),
        (Selection(tenant="nobody"), []),
        (Selection(study_uid="1.2"), ["1.2"]),
        (Selection(study_uid="1"), []),
        (Selection(stored_from=LATE), []),
        (Selection(stored_from=EARLY, stored_to=LATE), ["1.2.3", "1.2", "1.9"]),
    ],
)
def test_a_selection_leaves_the_other_studies_out(selection: Selection, uids: list[str]) -> None:
    assert [study.study_uid for study in found(selection)] == uids


def test_a_study_that_got_one_object_in_a_time_is_selected_as_a_whole() -> None:
    store = store_of((HOT, "local/1.2/1.2.1/a.dcm"), (HOT, "local/1.5/1.5.1/b.dcm"))
    store.objects[WARM, "local/1.2/1.2.1/late.dcm"] = StoredBytes(b"x", {}, modified_at=LATE)

    assert [study.study_uid for study in found(Selection(stored_from=LATE), store)] == ["1.2"]


@dataclass
class ListedStore(MemoryObjectStore):
    """A store that notes which listings were asked for."""

    listed: list[str] = field(default_factory=list)

    def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        self.listed.append(f"{bucket}:{prefix}")
        return super().listing(bucket, prefix)


def test_a_time_takes_one_listing_of_each_tier_however_many_studies_there_are() -> None:
    store = ListedStore(objects=STORE.objects)
    late = Selection(stored_from=LATE)

    assert asyncio.run(measured(store, late)) == Size()
    assert store.listed == [f"{tier}:{tenant}/" for tenant in ("local", "other") for tier in ("hot", "warm", "cold")]
    assert asyncio.run(measured(STORE, Selection(stored_from=EARLY))) == Size(studies=3, objects=5)


def test_shares_divide_the_studies_among_them() -> None:
    store = store_of(*((HOT, f"local/1.{number}/1.1/a.dcm") for number in range(50)))
    shares = [{study.study_uid for study in found(store=store, share=(number, 3))} for number in range(3)]

    assert all(shares)
    assert sum(map(len, shares)) == len(set.union(*shares)) == 50


def test_each_object_of_a_study_is_found_once_and_commands_come_last() -> None:
    async def listed() -> list[FoundObject]:
        return [each async for each in objects(STORE, StudyFolder("local", "1.2", (HOT, WARM)))]

    assert [(each.key, each.tiers) for each in asyncio.run(listed())] == [
        ("local/1.2/1.2.1/a.dcm", (HOT, WARM)),
        ("local/1.2/1.2.1/old.dcm", (WARM,)),
        ("local/1.2/_commands/c.json", (HOT,)),
    ]


def test_studies_and_objects_are_measured_without_policies() -> None:
    assert asyncio.run(measured(STORE, EVERYTHING)) == Size(studies=4, objects=6)
    assert asyncio.run(measured(STORE, Selection(study_uid="1.2"))) == Size(studies=1, objects=3)


def test_tenants_are_those_that_have_objects() -> None:
    assert asyncio.run(tenants(STORE, EVERYTHING)) == ["local", "other"]


class CountedObject(ListedObject):
    """A listed object that is counted as long as it is in memory."""

    present = 0
    most = 0

    def __init__(self, key: str) -> None:
        super().__init__(key, 1000, EARLY)
        CountedObject.present += 1
        CountedObject.most = max(CountedObject.most, CountedObject.present)

    def __del__(self) -> None:
        CountedObject.present -= 1


@dataclass
class GeneratedStore(MemoryObjectStore):
    """A store of many studies with several objects each, which are made as they are listed."""

    studies: int = 0
    objects_each: int = 0

    async def folders(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        names = (f"1.2.{10**9 + number}" for number in range(self.studies)) if prefix else ("local",)
        for name in names if bucket is HOT else ():
            yield name

    async def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        for number in range(self.objects_each if bucket is HOT else 0):
            yield CountedObject(f"{prefix}1.2.3/1.2.{10**9 + number}_{'a' * 64}.dcm")


@pytest.mark.parametrize(("count", "each"), [(20, 10_000), (10_000, 20)])
def test_a_walk_over_200_000_keys_has_a_handful_of_them_in_memory(count: int, each: int) -> None:
    store = GeneratedStore(studies=count, objects_each=each)

    async def walked() -> int:
        keys = 0
        async for study in studies(store, EVERYTHING):
            async for _ in objects(store, study):
                keys += 1
        return keys

    assert asyncio.run(walked()) == 200_000
    assert 0 < CountedObject.most <= 5

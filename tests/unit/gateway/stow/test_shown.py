"""A request's answer has an address only for contents that are shown, as far as can be known when it is made."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.intake.known_contents import KnownContents
from gateway.intake.status import FAILED, STORED
from gateway.stow.delivery import PartResult
from gateway.stow.shown import PAUSE_S, ShownContents, ShownQuery, Uids
from operators.catalog.contents import Precedence, merge
from operators.catalog.projection import storable_instance
from operators.connectors.memory.stores import MemoryObjectStore, Outage
from operators.store.ports import PlainUpload
from schemas.events import InstanceStored
from schemas.objects import Bucket
from tests.support.worlds.reading import World, part10
from tests.support.worlds.stow import Response, StowWorld, multipart, stow_world

ONE = part10()
REFERENCED = "00081199"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
OTHER = part10(SeriesInstanceUID="1.2.3.7")


class FirstEndsLast(MemoryObjectStore):
    """A store in which the first PUT ends after `is_over` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = asyncio.Event()
        self.puts = 0

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        self.puts += 1
        if self.puts == 1:
            await asyncio.wait_for(self.is_over.wait(), 5)
        return await super().put(bucket, upload)


@pytest.mark.parametrize("path", ["/dicomweb/studies", "/dicomweb/studies/1.2.3"])
@pytest.mark.parametrize(
    "other",
    [part10(SOPInstanceUID="1.2.3.1.1", PatientComments="other"), part10(SeriesInstanceUID="1.2.3.7")],
    ids=["another content", "another series"],
)
def test_of_two_contents_in_one_request_only_the_shown_one_has_an_address_in_whatever_order_they_end(
    tmp_path: Path, other: bytes, path: str
) -> None:
    store = FirstEndsLast()

    async def run(world: StowWorld) -> Response:
        asking = asyncio.create_task(world.post(multipart(ONE, other), path=path))
        async with asyncio.timeout(5):
            while not world.instances:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
        store.is_over.set()
        return await asking

    async def opened() -> tuple[Response, list[InstanceStored]]:
        async with stow_world(tmp_path, store=store) as world:
            return await run(world), world.instances

    response, events = asyncio.run(opened())

    shown = merge((), (storable_instance(event).content for event in events)).shown
    items = response.json[REFERENCED]["Value"]
    assert response.status == 202
    assert [("00081196" in item, "Value" in item["00081190"]) for item in items] == [
        (event.data_hash != shown.data_hash, event.data_hash == shown.data_hash) for event in reversed(events)
    ]


def posted(folder: Path, *files: bytes, query: ShownQuery) -> list[tuple[int, list[str]]]:
    """Send each file in a request of its own to a new process; return its status and address."""

    async def run() -> list[tuple[int, list[str]]]:
        async with stow_world(folder, query=query) as world:
            answers = [await world.post(multipart(file)) for file in files]
            return [(answer.status, answer.codes(REFERENCED, "00081190")) for answer in answers]

    return asyncio.run(run())


def archive_of(*files: bytes) -> World:
    """Return an archive whose catalog shows these files, which were stored long ago."""
    world = World()
    asyncio.run(world.add(*files))
    return world


ADDRESS = "http://localhost:8060/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"


def test_a_content_has_no_address_if_the_catalog_shows_another_one_that_a_process_before_took_in(
    tmp_path: Path,
) -> None:
    query = archive_of(ONE).queries.shown

    assert posted(tmp_path, OTHER, ONE, query=query) == [(202, []), (200, [ADDRESS])]


def test_a_catalog_that_cannot_answer_fails_no_request(tmp_path: Path) -> None:
    world = archive_of(ONE)
    world.queries.outage = Outage.REFUSES

    assert [status for status, _ in posted(tmp_path, OTHER, query=world.queries.shown)] == [200]


def result(series_uid: str = "1.2.3.1") -> PartResult:
    """Return the result of a part that was stored."""
    return PartResult(STORED, "1.2", "1.2.3.1.1", "1.2.3", series_uid, Precedence(NOW, "b" * 64))


def test_a_silent_catalog_is_waited_for_once_and_asked_again_after_a_pause() -> None:
    asked, clock = list[float](), [100.0]

    async def silent(_: str, __: Collection[Uids]) -> Mapping[Uids, Precedence]:
        asked.append(clock[0])
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        shown = ShownContents(KnownContents(), silent, lambda: clock[0])
        for clock[0] in (100.0, 100.0 + PAUSE_S / 2, 100.0 + PAUSE_S):
            assert await shown.judged("local", [result()]) == (result(),)

    asyncio.run(run())

    assert asked == [100.0, 100.0 + PAUSE_S]


def test_the_catalog_is_asked_once_for_all_results_and_not_for_none() -> None:
    asked = list[Collection[Uids]]()

    async def answering(_: str, instances: Collection[Uids]) -> Mapping[Uids, Precedence]:
        asked.append(instances)
        return {}

    async def run() -> None:
        shown = ShownContents(KnownContents(), answering)
        await shown.judged("local", [result(), result("1.9"), PartResult(FAILED)])
        await shown.judged("local", [PartResult(FAILED)])

    asyncio.run(run())

    assert asked == [{("1.2.3", "1.2.3.1.1")}]

"""A request's answer has an address only for contents that are shown, as far as can be known when it is made."""

import asyncio
from pathlib import Path

import pytest

from operators.catalog.contents import merge
from operators.catalog.projection import storable_instance
from operators.connectors.memory.stores import MemoryObjectStore
from operators.store.ports import Upload
from schemas.events import InstanceStored
from schemas.objects import Bucket
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import Response, StowWorld, multipart, stow_world

ONE = part10()
REFERENCED = "00081199"


class FirstEndsLast(MemoryObjectStore):
    """A store in which the first PUT ends after `is_over` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = asyncio.Event()
        self.puts = 0

    async def put(self, bucket: Bucket, upload: Upload) -> bool:
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

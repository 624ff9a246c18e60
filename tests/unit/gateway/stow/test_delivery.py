"""The parts of a request take memory while they arrive, and free it when they are closed."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.stow.delivery import PartDelivery
from operators.dicom.part10 import FileMeta, split_incoming_part10
from operators.store import quarantine
from schemas.objects import Bucket
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import multipart, stow_world

ONE = part10()


def test_the_beginning_of_a_part_takes_memory_until_its_file_meta_is_complete(tmp_path: Path) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as world:
            room, part = world.intake.room, PartDelivery(world.intake.acceptance, {})
            part.write(memoryview(ONE[:200]))
            assert room.held_bytes == 200
            part.write(memoryview(ONE[200:]))
            part.end()
            assert room.held_bytes >= len(ONE)
            part.close()
            part.close()

            assert room.held_bytes == 0

    asyncio.run(test())


def test_an_unexpected_error_while_a_part_arrives_fails_that_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split(beginning: memoryview, *, is_whole: bool) -> FileMeta | None:
        if b"1.2.3.1.1" in bytes(beginning):
            raise ZeroDivisionError
        return split_incoming_part10(beginning, is_whole=is_whole)

    monkeypatch.setattr("gateway.stow.delivery.split_incoming_part10", split)

    async def test() -> None:
        async with stow_world(tmp_path) as world:
            long = part10(ImageComments="x" * 2000)
            response = await world.post(multipart(long, part10(SOPInstanceUID="1.2.3.1.2")))

            assert (response.status, response.failures()) == (202, [0x0110])
            assert [(end.outcome, end.instances) for end in await world.ends()] == [("partial", 1)]
            assert world.intake.room.held_bytes == 0

    asyncio.run(test())


def test_a_refused_part_says_why_and_its_log_line_has_the_hash(tmp_path: Path) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as world:
            with capture_logs() as logs:
                response = await world.post(multipart(b"no DICOM", part10()))

            assert response.codes("0008119A", "00000902") == ["quarantined: no DICOM file, lacks DICM at byte 128"]
            refusal = next(line for line in logs if line["event"] == "instance_refused")
            assert refusal["reason"] == "not-part10"
            (key,) = (key for bucket, key in world.store.objects if bucket is Bucket.QUARANTINE)
            assert quarantine.tenant_and_hash(key)[1] == refusal["hash"]

    asyncio.run(test())


def test_the_end_of_a_request_has_its_address_its_bytes_and_its_refusals_by_reason(tmp_path: Path) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as world:
            await world.post(multipart(b"no DICOM", part10(), b"no DICOM either"))
            (end,) = await world.ends()

            assert (end.address, end.peer, end.calling_ae) == ("127.0.0.1", "", "")
            assert (end.instances, end.size_bytes) == (1, len(world.stored()[0]))
            assert end.refused == {"not-part10": 2}

    asyncio.run(test())

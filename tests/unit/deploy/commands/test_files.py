"""Objects are copied into files that nobody else may read, and only if their bytes are those that were stored."""

import asyncio
import stat
from pathlib import Path

import pytest

from deploy.commands.files import copy_object, new_file
from deploy.errors import Failed
from schemas.objects import Bucket
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import StowWorld, multipart, stow_world

NO_UID = part10(SOPInstanceUID="1.2.3.1.8").replace(b"1.2.3.1.8\0", b"1.2/3.1.8\0")
NOT_PART10 = part10()[132:]


async def copy_quarantined(door: StowWorld, path: Path, data_hash: str | None = None) -> None:
    ((_, key),) = door.store.objects
    with new_file(path) as file:
        await copy_object(door.store, Bucket.QUARANTINE, key, data_hash or key.split("/")[1], file)


@pytest.mark.parametrize("sent", [NO_UID, NOT_PART10], ids=["no-uid", "not-part-10"])
def test_an_object_is_copied_as_received_into_a_file_that_only_its_owner_may_read(tmp_path: Path, sent: bytes) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as door:
            await door.post(multipart(sent))
            await copy_quarantined(door, tmp_path / "copy")

    asyncio.run(test())
    assert (tmp_path / "copy").read_bytes() == sent
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


def test_bytes_that_are_not_those_stored_leave_no_file(tmp_path: Path) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as door:
            await door.post(multipart(NO_UID))
            with pytest.raises(Failed, match="not what was stored"):
                await copy_quarantined(door, tmp_path / "copy", "0" * 64)

    asyncio.run(test())
    assert not (tmp_path / "copy").exists()


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("before")
    with pytest.raises(Failed, match="exists already: name another file"), new_file(tmp_path / "copy"):
        pass

    assert (tmp_path / "copy").read_text() == "before"

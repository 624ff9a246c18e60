"""Real files through the application: bytes come back equal, metadata is always UTF-8, frames are pydicom's."""

import asyncio
import json
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length

from operators.dicom.frames import NATIVE
from operators.errors import Rejected
from tests.support.worlds.reading import World, parts_of, stored

ANYTHING = {"accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def storable(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    """Return every file that the gateway would store: its name, its bytes, the address of its instance."""
    for path in sorted(folder.rglob("*")):
        whole = path.read_bytes() if path.is_file() else b""
        try:
            upload, _ = stored(whole, 1)
        except Rejected:
            continue
        _, study, series, name = upload.key.split("/")
        yield path.name, whole, f"/dicomweb/studies/{study}/series/{series}/instances/{name.split('_')[0]}"


def test_every_file_comes_back_byte_for_byte_with_metadata_in_utf_8(corpus: Path) -> None:
    async def read(whole: bytes, address: str) -> tuple[bytes, bytes]:
        world = World()
        await world.add(whole)
        one = await world.get(address, accept="application/dicom")
        metadata = await world.get(f"{address}/metadata")
        assert metadata.status_code == 200
        return one.content, metadata.content

    seen = 0
    for name, whole, address in storable(corpus):
        content, metadata = asyncio.run(read(whole, address))
        (found,) = json.loads(metadata.decode("utf-8"))
        seen += 1

        assert content == whole, name
        assert found["00080018"]["Value"] == [address.rpartition("/")[2]], name

    assert seen > 400


@pytest.mark.filterwarnings("ignore")
def test_frames_are_the_ones_that_pydicom_finds(corpus: Path) -> None:
    async def frames(whole: bytes, address: str, count: int) -> list[bytes]:
        world = World()
        await world.add(whole)
        response = await world.get(f"{address}/frames/{','.join(map(str, range(1, count + 1)))}", **ANYTHING)
        return [part.body for part in parts_of(response)] if response.status_code == 200 else []

    seen = 0
    for name, whole, address in storable(corpus / "ts"):
        wanted = expected(whole)
        if wanted and len(wanted) <= 20:
            found = asyncio.run(frames(whole, address, len(wanted)))
            seen += bool(found)

            assert found in ([], wanted), name

    assert seen > 30


def expected(whole: bytes) -> list[bytes]:
    """Return the frames as pydicom cuts them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(BytesIO(whole), force=True)
        count = int(dataset.get("NumberOfFrames") or 1)
        if "PixelData" not in dataset:
            return []
        if dataset.file_meta.TransferSyntaxUID in NATIVE:
            size = get_expected_length(dataset) // count  # some are padded
            return [dataset.PixelData[at * size : (at + 1) * size] for at in range(count)]
        try:
            return list(generate_frames(dataset.PixelData, number_of_frames=count))
        except ValueError:
            return []

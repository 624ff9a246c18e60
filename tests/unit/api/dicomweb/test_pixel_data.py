"""The address of the pixels answers for every form of them (CONFORMANCE.md, WADO-RS)."""

import asyncio

import httpx
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from operators.dicom.transfer_syntaxes import NATIVE
from tests.support.worlds.reading import World, bodies, part10

INSTANCE = "/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"


def ask(path: str, file: bytes, **headers: str) -> httpx.Response:
    """Send a request to an archive of this file."""

    async def asked() -> httpx.Response:
        world = World()
        await world.add(file)
        return await world.get(path, **headers)

    return asyncio.run(asked())


def test_encapsulated_pixels_are_answered_frame_by_frame_at_their_address() -> None:
    frames = [b"\xff\xd8one\xff\xd9x", b"\xff\xd8two\xff\xd9y"]
    file = part10(JPEGBaseline8Bit, frames, NumberOfFrames=2)
    response = ask(f"{INSTANCE}/bulkdata/7FE00010", file)

    assert bodies(response) == frames
    assert response.headers["content-type"].startswith('multipart/related; type="image/jpeg"; boundary=')
    assert ask(f"{INSTANCE}/bulkdata/7fe00010", file, accept="image/png").status_code == 406


def test_a_video_is_answered_as_its_stream_at_the_address_of_its_pixels() -> None:
    file = part10("1.2.840.10008.1.2.4.102", [b"video"[:4], b"data"], NumberOfFrames=30)
    response = ask(f"{INSTANCE}/bulkdata/7FE00010", file)

    assert (response.content, response.headers["content-type"]) == (b"videdata", "video/mp4")


def test_native_pixels_are_one_value_and_so_are_others_that_are_written_as_one() -> None:
    native = part10()
    as_value = native.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")

    assert ask(f"{INSTANCE}/bulkdata/7FE00010", native).content == native[-12:]
    assert ask(f"{INSTANCE}/bulkdata/7FE00010", as_value).content == native[-12:]


def test_encapsulated_pixels_whose_frames_are_unknown_are_501() -> None:
    file = part10(JPEG2000Lossless, [b"\xff\x4f\xff\xd9"], NumberOfFrames=2)

    assert ask(f"{INSTANCE}/bulkdata/7FE00010", file).status_code == 501


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("count", [1, 2])
def test_encapsulated_pixels_of_a_native_syntax_are_the_value_of_their_items(syntax: str, count: int) -> None:
    file = part10(syntax, [b"\xff\xd8one\xff\xd9x"], NumberOfFrames=count, DataSetTrailingPadding=bytes(30))
    start = file.index(b"\xff\xd8one") - 20
    response = ask(f"{INSTANCE}/bulkdata/7FE00010", file)

    assert (response.content, response.headers["content-type"]) == (
        file[start : start + 28],
        "application/octet-stream",
    )
    assert ask(f"{INSTANCE}/bulkdata/7FE00010", file, range="bytes=20-").content == b"\xff\xd8one\xff\xd9x"

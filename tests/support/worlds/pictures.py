"""A small archive that is asked for pictures, and files to render or to refuse."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from operators.connectors.memory.stores import MemoryObjectStore
from schemas.settings.web import RenderSettings
from tests.support.data.render_jobs import opened
from tests.support.worlds.reading import World, part10

STUDY = "/dicomweb/studies/1.2.3"
SERIES = f"{STUDY}/series/1.2.3.1"
INSTANCE = f"{SERIES}/instances/1.2.3.1.1"
# One decoding process.
LIMITS = RenderSettings(processes=1)
# The tones of ONE's six pixels.
SIX = [0, 51, 102, 153, 204, 255]

Ask = Callable[..., httpx.Response]


def without_pixels(whole: bytes) -> bytes:
    return whole[: whole.rindex(b"\xe0\x7f\x10\x00")]


ONE = part10()
SR = "1.2.840.10008.5.1.4.1.1.88.11"
REPORT = without_pixels(
    part10(SOPClassUID=SR, SeriesInstanceUID="1.2.3.0", SOPInstanceUID="1.2.3.0.1", SeriesNumber=0, Modality="SR")
)
BROKEN = part10(JPEG2000Lossless, [b"\xff\x4f no image \xff\xd9"], SOPInstanceUID="1.2.3.1.9", InstanceNumber=9)


@contextmanager
def archive(*files: bytes, objects: MemoryObjectStore | None = None) -> Iterator[Ask]:
    """Return a way to ask an archive of these files, each time in a loop of its own; its processes end at the end."""
    with asyncio.Runner() as runner:
        world = World(objects=objects or MemoryObjectStore(), render=LIMITS)
        runner.run(world.add(*files))

        def ask(path: str, change: Callable[[World], Any] | None = None, **headers: str) -> httpx.Response:
            if change:
                change(world)
            return runner.run(world.get(path, **headers))

        try:
            yield ask
        finally:
            world.app.close()


def tones(response: httpx.Response) -> list[int]:
    """Return the tones of a picture that is expected to be there."""
    assert response.status_code == 200, response.text
    return [int(tone) for tone in opened(response.content).reshape(-1)]


def image(elements: dict[str, Any], fill: int = 7) -> bytes:
    """Return a file whose pixels are as many as its header says, all of one value."""
    head = without_pixels(part10(**elements))
    samples = elements["Rows"] * elements["Columns"] * elements.get("SamplesPerPixel", 1)
    size = int(samples * elements["BitsAllocated"] // 8)
    return head + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little") + bytes([fill]) * size


def address_of(whole: bytes) -> str:
    """Return the address of the instance in a file."""
    one = dcmread(BytesIO(whole))
    return f"/dicomweb/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"

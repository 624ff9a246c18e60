"""A thumbnail represents a study, a series or an instance (CONFORMANCE.md, WADO-RS rendered resources)."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np

from operators.connectors.memory.stores import MemoryObjectStore
from schemas.objects import Bucket
from tests.support.data.render_jobs import opened
from tests.support.worlds.pictures import (
    BROKEN,
    INSTANCE,
    ONE,
    REPORT,
    SERIES,
    SIX,
    STUDY,
    archive,
    image,
    tones,
    without_pixels,
)
from tests.support.worlds.reading import part10

LARGE = {"Rows": 300, "Columns": 600, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def test_a_thumbnail_is_small_and_fits_the_requested_viewport() -> None:
    with archive(image(LARGE)) as ask:
        assert opened(ask(f"{INSTANCE}/thumbnail").content).shape == (64, 128)
        assert opened(ask(f"{INSTANCE}/thumbnail?viewport=30,30").content).shape == (15, 30)
        assert ask(f"{INSTANCE}/thumbnail?viewport=30,30,0,0").status_code == 400


def test_a_study_is_represented_by_the_middle_image_of_its_first_image_series() -> None:
    images = [
        part10(SOPInstanceUID=f"1.2.3.1.{n}", InstanceNumber=n, WindowCenter="6", WindowWidth="1") for n in (1, 2, 3)
    ]
    images[1] = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
    with archive(REPORT, *images) as ask:
        for path in (STUDY, SERIES):
            assert tones(ask(f"{path}/thumbnail", accept="image/png")) == SIX


@dataclass
class CountingStore(MemoryObjectStore):
    """A store that counts the bytes that are read from it."""

    read_bytes: int = 0

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes, and count them."""
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            self.read_bytes += len(chunk)
            yield chunk


def test_the_middle_frame_is_the_thumbnail_and_no_other_frame_is_read() -> None:
    side, count = 400, 5
    store = CountingStore()
    with archive(frames_of(side, count), objects=store) as ask:
        shown = tones(ask(f"{INSTANCE}/thumbnail?window=6,12,linear-exact", accept="image/png"))

        assert set(shown) == {round(255 * 3 / 12)}
        assert store.read_bytes < 2 * 2 * side * side


def frames_of(side: int, count: int) -> bytes:
    """Return a file of square frames; every sample of a frame is the frame's number."""
    whole = part10(Rows=side, Columns=side, NumberOfFrames=count)
    pixels = np.arange(1, count + 1, dtype="<u2").repeat(side * side).tobytes()
    return without_pixels(whole) + b"\xe0\x7f\x10\x00OW\0\0" + len(pixels).to_bytes(4, "little") + pixels


def test_a_broken_image_does_not_leave_its_series_without_a_thumbnail() -> None:
    with archive(ONE, BROKEN) as ask:
        assert tones(ask(f"{SERIES}/thumbnail", accept="image/png")) == SIX


def damage(objects: MemoryObjectStore, *sop_uids: str) -> None:
    """Let the store no longer give the objects of these instances."""
    for bucket, key in [place for place in objects.objects if place[1].split("/")[-1].split("_")[0] in sop_uids]:
        objects.damage(bucket, key, "unreadable")


def test_a_damaged_image_does_not_leave_its_series_without_a_thumbnail() -> None:
    images = [part10(SOPInstanceUID=f"1.2.3.1.{n}", InstanceNumber=n) for n in (1, 2, 3)]
    objects = MemoryObjectStore()
    with archive(*images, objects=objects) as ask:
        damage(objects, "1.2.3.1.2")
        shown = ask(f"{SERIES}/thumbnail", accept="image/png")
        alone = ask(f"{SERIES}/instances/1.2.3.1.2/thumbnail")
        damage(objects, "1.2.3.1.1", "1.2.3.1.3")
        none = ask(f"{SERIES}/thumbnail")

    assert tones(shown) == SIX
    assert (alone.status_code, alone.json()["reason"]) == (500, "object-unreadable")
    assert (none.status_code, none.json()["reason"]) == (500, "object-unreadable")


def test_reports_have_no_thumbnail() -> None:
    series = f"{STUDY}/series/1.2.3.0"
    with archive(REPORT) as ask:
        paths = (STUDY, series, f"{series}/instances/1.2.3.0.1")
        assert [ask(f"{path}/thumbnail").status_code for path in paths] == [404, 404, 406]
        assert [ask(f"{path}/rendered").status_code for path in paths] == [406, 406, 406]

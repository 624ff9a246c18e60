"""Metadata has the pixels and what lies behind them, and reads no pixels for it (CONFORMANCE.md, WADO-RS)."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest
from pydicom import Dataset

from operators.connectors.memory.stores import MemoryObjectStore
from operators.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from schemas.objects import Bucket
from tests.support.worlds.reading import World, part10

STUDY = "/dicomweb/studies/1.2.3"
SERIES = f"{STUDY}/series/1.2.3.1"
INSTANCE = f"{SERIES}/instances/1.2.3.1.1"


def ask(path: str, file: bytes, **headers: str) -> httpx.Response:
    """Send a request to an archive of this file."""

    async def asked() -> httpx.Response:
        world = World()
        await world.add(file)
        return await world.get(path, **headers)

    return asyncio.run(asked())


JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = {
    "native": (EXPLICIT_VR_LITTLE_ENDIAN, None, 1),
    "implicit": (IMPLICIT_VR_LITTLE_ENDIAN, None, 1),
    "big endian": (EXPLICIT_VR_BIG_ENDIAN, None, 1),
    "encapsulated": (JPEG, [b"\xff\xd8one\xff\xd9x", b"\xff\xd8two\xff\xd9y"], 2),
    "encapsulated with unknown frames": (JPEG, [b"one", b"two!"], 3),
    "encapsulated in a native syntax": (EXPLICIT_VR_LITTLE_ENDIAN, [b"\xff\xd8one\xff\xd9x"], 1),
    "encapsulated in a deflated syntax": (DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, [b"\xff\xd8one\xff\xd9x"], 1),
    "encapsulated in a big-endian syntax": (EXPLICIT_VR_BIG_ENDIAN, [b"\xff\xd8one\xff\xd9x"], 3),
    "encapsulated with a long list of frames": (JPEG, [b"\xff\xd8one\xff\xd9x"] * 300, 300),
}


@pytest.mark.parametrize("claim", SYNTAXES)
@pytest.mark.parametrize("path", [f"{INSTANCE}/metadata", f"{SERIES}/metadata"])
def test_metadata_has_the_pixels_and_what_lies_behind_them(claim: str, path: str) -> None:
    syntax, frames, count = SYNTAXES[claim]
    signature = Dataset()
    signature.MACIDNumber, signature.Signature = 7, bytes(2000)
    file = part10(
        syntax,
        frames,
        NumberOfFrames=count,
        DigitalSignaturesSequence=[signature],
        DataSetTrailingPadding=bytes(3000),
    )
    (found,) = ask(path, file).json()
    at = f"http://localhost:8060{INSTANCE}/bulkdata"

    assert found["7FE00010"] == {"vr": "OB" if frames else "OW", "BulkDataURI": f"{at}/7FE00010"}
    assert found["FFFAFFFA"]["Value"] == [
        {
            "04000005": {"vr": "US", "Value": [7]},
            "04000120": {"vr": "OB", "BulkDataURI": f"{at}/FFFAFFFA/0/04000120"},
        }
    ]
    assert found["FFFCFFFC"] == {"vr": "OB", "BulkDataURI": f"{at}/FFFCFFFC"}
    assert list(found) == sorted(found)
    assert ask(f"{INSTANCE}/bulkdata/FFFCFFFC", file).content == bytes(3000)
    assert ask(f"{INSTANCE}/bulkdata/FFFAFFFA/0/04000120", file).content == bytes(2000)
    assert ask(f"{INSTANCE}/bulkdata/FFFAFFFA", file).status_code == 404


def test_metadata_reads_no_pixels() -> None:
    read: list[int] = []

    class Counting(MemoryObjectStore):
        async def read(
            self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
        ) -> AsyncGenerator[bytes, None]:
            async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
                read.append(len(chunk))
                yield chunk

    async def asked() -> None:
        world = World(objects=Counting())
        await world.add(part10(Rows=1000, Columns=1000, PixelData=bytes(2_000_000)))
        await world.get(f"{INSTANCE}/metadata")

    asyncio.run(asked())

    assert len(read) == 1
    assert read[0] < 2000


def test_garbage_behind_the_pixels_is_no_metadata() -> None:
    (found,) = ask(f"{INSTANCE}/metadata", part10() + b"garbage" * 10).json()

    assert max(found) == "7FE00010"

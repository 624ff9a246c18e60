"""Values of an instance are served whole, in ranges and in parts, wherever they are (CONFORMANCE.md, WADO-RS)."""

import asyncio
from typing import Any

import httpx
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from api.dicomweb import bulkdata
from api.http.multipart import BYTE_RANGES
from tests.support.worlds.reading import World, deflated, nested, part10, parts_of, scope_of, still_there

INSTANCE = "/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
TABLE = f"{INSTANCE}/bulkdata/00281201"
VALUE = bytes(range(256)) * 8
ONE = part10(RedPaletteColorLookupTableData=VALUE)


def ask(path: str, file: bytes = ONE, method: str = "GET", **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        world = World()
        await world.add(file)
        return await world.ask(method, path, **headers)

    return asyncio.run(asked())


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_value_is_served_as_stored(transfer_syntax: str) -> None:
    response = ask(TABLE, part10(transfer_syntax, RedPaletteColorLookupTableData=VALUE))

    assert response.content == VALUE
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["accept-ranges"] == "bytes"


def test_a_value_of_a_deflated_instance_is_served_inflated() -> None:
    file = deflated(ONE)

    assert ask(TABLE, file).content == VALUE
    assert ask(f"{INSTANCE}/bulkdata/7FE00010", file).content == ONE[-12:]


def test_a_value_in_a_sequence_is_found_by_its_path() -> None:
    file = part10(ReferencedImageSequence=[nested(b"\0\1"), nested(VALUE)])

    assert ask(f"{INSTANCE}/bulkdata/00081140/1/00281201", file).content == VALUE
    assert ask(f"{INSTANCE}/bulkdata/00081140/1/00281201", file, range="bytes=2-3").content == VALUE[2:4]


def test_native_pixels_are_bulk_data() -> None:
    assert ask(f"{INSTANCE}/bulkdata/7FE00010").content == ONE[-12:]


def test_a_value_behind_larger_values_is_found_without_reading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkdata, "HEADER_BYTES", 600)
    file = part10(RedPaletteColorLookupTableData=VALUE, EncapsulatedDocument=bytes(5000), LensMake="a")

    assert ask(TABLE, file).content == VALUE
    assert ask(f"{INSTANCE}/bulkdata/00420011", file).content == bytes(5000)
    assert ask(f"{INSTANCE}/bulkdata/00420012", file).status_code == 404


def test_a_value_in_a_sequence_of_a_header_too_long_to_read_is_501(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkdata, "HEADER_BYTES", 600)
    file = part10(EncapsulatedDocument=bytes(5000), OriginalAttributesSequence=[nested(VALUE)])

    assert ask(f"{INSTANCE}/bulkdata/04000561/0/00281201", file).status_code == 501


@pytest.mark.parametrize("path", ["00281202", "00081140", "x", "00081140/9/00281201", "0028120", "00281201/0", "..%2f"])
def test_a_path_to_no_value_is_404(path: str) -> None:
    file = part10(RedPaletteColorLookupTableData=VALUE, ReferencedImageSequence=[nested(VALUE)])

    assert ask(f"{INSTANCE}/bulkdata/{path}", file).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "0x281201",
        "0028_1201",
        "+0281201",
        "%0d00281201",
        "\u0660\u0660281201",
        "00081140/+1/00281201",
        "00081140/0x1/00281201",
        "00081140/\u0661/00281201",
        "00081140/1_0/00281201",
        "00081140/00000001/00281201",
    ],
)
def test_another_spelling_of_a_path_is_404(path: str) -> None:
    file = part10(RedPaletteColorLookupTableData=VALUE, ReferencedImageSequence=[nested(VALUE), nested(VALUE)] * 6)

    assert ask(f"{INSTANCE}/bulkdata/{path}", file).status_code == 404


def test_the_address_of_a_value_is_spelled_as_in_the_metadata() -> None:
    (part,) = parts_of(ask(f"{INSTANCE}/bulkdata/7fe00010", accept="multipart/related"))

    assert part.headers["content-location"].endswith("/bulkdata/7FE00010")


@pytest.mark.parametrize("path", ["00281202", "00081140/0/00281201"])
def test_a_missing_value_is_404_even_with_if_none_match(path: str) -> None:
    assert ask(f"{INSTANCE}/bulkdata/{path}", if_none_match="*").status_code == 404
    assert ask(TABLE, if_none_match="*").status_code == 304


def test_head_ignores_the_range_and_describes_the_whole_value() -> None:
    response = ask(TABLE, method="HEAD", range="bytes=0-9")

    assert (response.status_code, response.headers["content-length"]) == (200, str(len(VALUE)))


@pytest.mark.parametrize("size", range(590, 640))
def test_a_value_is_found_wherever_a_window_ends(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkdata, "HEADER_BYTES", size)
    file = part10(RedPaletteColorLookupTableData=VALUE, EncapsulatedDocument=bytes(5000), LensMake="a")

    assert ask(TABLE, file).content == VALUE
    assert ask(f"{INSTANCE}/bulkdata/00420011", file).content == bytes(5000)


@pytest.mark.parametrize(
    ("text", "found", "place"),
    [
        ("bytes=0-0", VALUE[:1], "bytes 0-0/2048"),
        ("bytes=10-19", VALUE[10:20], "bytes 10-19/2048"),
        ("bytes=-4", VALUE[-4:], "bytes 2044-2047/2048"),
        ("bytes=2000-9999", VALUE[2000:], "bytes 2000-2047/2048"),
        ("bytes=0-9,10-19", VALUE[:20], "bytes 0-19/2048"),
    ],
)
def test_a_range_is_206_with_its_content_range(text: str, found: bytes, place: str) -> None:
    response = ask(TABLE, range=text)

    assert (response.status_code, response.content) == (206, found)
    assert response.headers["content-range"] == place
    assert int(response.headers["content-length"]) == len(found)


def test_several_ranges_are_answered_in_parts_with_a_content_range_each() -> None:
    response = ask(TABLE, range="bytes=0-9,1000-1009")
    parts = parts_of(response)

    assert response.status_code == 206
    assert response.headers["content-type"].startswith(BYTE_RANGES)
    assert [part.body for part in parts] == [VALUE[:10], VALUE[1000:1010]]
    assert [part.headers["content-range"] for part in parts] == ["bytes 0-9/2048", "bytes 1000-1009/2048"]
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize("text", ["bytes=5000-", "bytes=-0", "bytes=" + "0-0," * 10 + "0-0"])
def test_a_range_outside_the_value_and_more_than_ten_ranges_are_416(text: str) -> None:
    response = ask(TABLE, range=text)

    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */2048")


def test_if_range_with_another_tag_is_answered_in_full() -> None:
    tag = ask(TABLE).headers["etag"]

    assert ask(TABLE, range="bytes=0-9", if_range=tag).status_code == 206
    assert ask(TABLE, range="bytes=0-9", if_range='"other"').content == VALUE


@pytest.mark.parametrize(("accept", "status"), [("*/*", 200), ("application/dicom", 406)])
def test_a_value_is_served_as_octets_or_refused(accept: str, status: int) -> None:
    assert ask(TABLE, accept=accept).status_code == status


def test_a_value_is_served_in_a_part_on_request() -> None:
    response = ask(TABLE, accept='multipart/related; type="application/octet-stream"')
    (part,) = parts_of(response)

    assert part.body == VALUE
    assert part.headers["content-location"] == f"http://localhost:8060{TABLE}"


def test_a_long_text_is_served_as_bulk_data() -> None:
    text = "a" * 70_000
    file = part10(TextValue=text)
    (found,) = ask(f"{INSTANCE}/metadata", file).json()

    assert found["0040A160"] == {"vr": "UT", "BulkDataURI": f"http://localhost:8060{INSTANCE}/bulkdata/0040A160"}
    assert ask(found["0040A160"]["BulkDataURI"], file).content == text.encode()


def test_a_large_value_is_never_whole_in_memory() -> None:
    largest: list[int] = []

    async def asked() -> int:
        world = World()
        await world.add(part10(EncapsulatedDocument=bytes(24 * 2**20)))
        send = sizes_of(largest)
        await world.app(scope_of(f"{INSTANCE}/bulkdata/00420011"), still_there, send)
        return sum(largest)

    assert asyncio.run(asked()) == 24 * 2**20
    assert max(largest) < 2**20


def sizes_of(sizes: list[int]) -> Any:
    async def send(message: Any) -> None:
        sizes.append(len(message.get("body", b"")))

    return send

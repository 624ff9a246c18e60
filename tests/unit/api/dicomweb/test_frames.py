"""Frames are served as stored, in any order, with few reads, even bit-packed or deflated (CONFORMANCE.md, WADO-RS)."""

import asyncio
import tracemalloc
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from api.dicomweb import frames
from api.dicomweb.frames import FrameBytes, _runs
from operators.dicom.bulkdata import align
from operators.dicom.scan import scan
from operators.dicom.transfer_syntaxes import NATIVE as NATIVE_SYNTAXES
from schemas.settings.web import ApiSettings
from tests.support.data.elements import item
from tests.support.data.sent_images import described, encapsulated_image, native_image
from tests.support.worlds.reading import (
    CountingStore,
    World,
    bodies,
    deflated,
    halved_chroma,
    part10,
    parts_of,
    scope_of,
    still_there,
    storable_files,
)

INSTANCE = "/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
COUNT = 40
NATIVE = part10(NumberOfFrames=COUNT)
CODE_STREAMS = [b"\xff\x4f %3d \xff\xd9" % number for number in range(COUNT)]
J2K = part10(JPEG2000Lossless, CODE_STREAMS, NumberOfFrames=COUNT)
ANY_SYNTAX = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def ask(path: str, file: bytes, **headers: str) -> tuple[httpx.Response, CountingStore]:
    async def asked() -> httpx.Response:
        world = World(objects=store)
        await world.add(file)
        return await world.get(path, **headers)

    store = CountingStore()
    return asyncio.run(asked()), store


def pixels(number: int) -> bytes:
    """Return a frame of NATIVE; the first frame is number 1."""
    start = len(NATIVE) - (COUNT - number + 1) * 12
    return NATIVE[start : start + 12]


ORDERS = [[1], [2, 1], [40, 3, 3, 17], list(range(COUNT, 0, -1)), [1] * 100]


@pytest.mark.parametrize("numbers", ORDERS)
def test_neighbouring_native_frames_are_served_in_the_requested_order_by_one_read(numbers: list[int]) -> None:
    response, store = ask(f"{INSTANCE}/frames/{','.join(map(str, numbers))}", NATIVE)

    assert bodies(response) == [pixels(number) for number in numbers]
    assert int(response.headers["content-length"]) == len(response.content)
    assert len(store.reads) == 1 or numbers == ORDERS[2]
    assert store.open == 0


@pytest.mark.parametrize("numbers", ORDERS)
def test_compressed_frames_are_served_in_the_requested_order(numbers: list[int]) -> None:
    response, store = ask(f"{INSTANCE}/frames/{','.join(map(str, numbers))}", J2K, accept=ANY_SYNTAX)

    assert [body.rstrip(b"\0") for body in bodies(response)] == [CODE_STREAMS[number - 1] for number in numbers]
    assert len(store.reads) <= 3


@pytest.mark.parametrize("file", [NATIVE, J2K])
def test_a_frame_larger_than_a_read_is_sent_while_it_is_read(file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "RUN_BYTES", 4)
    response, store = ask(f"{INSTANCE}/frames/2,1", file, accept=ANY_SYNTAX)

    wanted = [pixels(2), pixels(1)] if file is NATIVE else [CODE_STREAMS[1], CODE_STREAMS[0]]
    assert [body.rstrip(b"\0") for body in bodies(response)] == [one.rstrip(b"\0") for one in wanted]
    assert len(store.reads) == 2


def test_a_frame_requested_many_times_is_in_memory_once() -> None:
    side, most = 500, 8
    file = part10(Rows=side, Columns=side, NumberOfFrames=2)
    file = file[: len(file) - 28] + (4 * side * side).to_bytes(4, "little") + bytes(4 * side * side)

    async def asked() -> int:
        world = World()
        await world.add(file)
        sent = 0

        async def send(message: Any) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))

        tracemalloc.start()
        await world.app(scope_of(f"{INSTANCE}/frames/{','.join(['1,2'] * 50)}"), still_there, send)
        assert sent > 100 * 2 * side * side
        return tracemalloc.get_traced_memory()[1]

    try:
        assert asyncio.run(asked()) < most * 2 * side * side
    finally:
        tracemalloc.stop()


def test_a_header_is_scanned_once_for_any_number_of_1_bit_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = 0

    def counted(*arguments: Any) -> Any:
        nonlocal scans
        scans += 1
        return scan(*arguments)

    whole, planes = bits(5, 3, 7)
    file = packed_file(whole, "1.2.840.10008.1.2.1", Rows=3, Columns=7, NumberOfFrames=5)
    monkeypatch.setattr("operators.dicom.bulkdata.scan", counted)
    response, _ = ask(f"{INSTANCE}/frames/{','.join(['5,1'] * 50)}", file)

    assert bodies(response) == [planes[4], planes[0]] * 50
    assert scans == 1


def test_a_large_1_bit_frame_is_sent_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "RUN_BYTES", 4)
    whole, planes = bits(3, 13, 21)
    file = packed_file(whole, "1.2.840.10008.1.2.1", Rows=13, Columns=21, NumberOfFrames=3)

    assert bodies(ask(f"{INSTANCE}/frames/2,3", file)[0]) == [planes[1], planes[2]]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=50), st.integers(1, 2**20))
def test_runs_hold_every_frame_in_order_and_little_else(numbers: list[int], size: int) -> None:
    asked = [FrameBytes(number * size, (number + 1) * size, frames._as_stored, size) for number in numbers]
    runs = list(_runs(asked))

    assert [one for run in runs for one in run] == asked
    for run in runs:
        span = max(one.end for one in run) - min(one.start for one in run)
        assert len(run) == 1 or span <= min(frames.RUN_BYTES, 2 * size * len(run))


def bits(count: int, rows: int, columns: int) -> tuple[bytes, list[bytes]]:
    """Return consecutive bit-packed frames as one value, and as a list of single frames."""
    rng = np.random.default_rng(1)
    planes = [rng.integers(0, 2, rows * columns, dtype=np.uint8) for _ in range(count)]
    whole = np.packbits(np.concatenate(planes), bitorder="little").tobytes()
    return whole + b"\0" * (len(whole) % 2), [np.packbits(one, bitorder="little").tobytes() for one in planes]


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian])
def test_each_bit_packed_frame_is_served_from_the_start_of_a_byte(transfer_syntax: str) -> None:
    whole, planes = bits(5, 3, 7)
    file = packed_file(whole, transfer_syntax, Rows=3, Columns=7, NumberOfFrames=5)
    response, _ = ask(f"{INSTANCE}/frames/5,1,3", file)

    assert bodies(response) == [planes[4], planes[0], planes[2]]
    assert {part.headers["content-type"] for part in parts_of(response)} == {
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    }


def test_bit_packed_frames_of_deflated_instances_are_served_from_the_start_of_a_byte() -> None:
    whole, planes = bits(5, 3, 7)
    file = deflated(packed_file(whole, "1.2.840.10008.1.2.1", Rows=3, Columns=7, NumberOfFrames=5))
    response, _ = ask(f"{INSTANCE}/frames/5,1,3", file)

    assert bodies(response) == [planes[4], planes[0], planes[2]]


@pytest.mark.parametrize("written", [bytes, deflated])
def test_bit_packed_frames_that_are_cut_off_are_501(written: Callable[[bytes], bytes]) -> None:
    whole, planes = bits(5, 3, 7)
    file = packed_file(whole, "1.2.840.10008.1.2.1", Rows=3, Columns=7, NumberOfFrames=5)[:-4]
    responses = [ask(f"{INSTANCE}/frames/{number}", written(file))[0] for number in (3, 5)]

    assert bodies(responses[0]) == [planes[2]]
    assert responses[1].status_code == 501


def test_bit_packed_frames_of_big_endian_words_are_501() -> None:
    whole, _ = bits(5, 3, 7)
    response, _ = ask(
        f"{INSTANCE}/frames/1", packed_file(whole, ExplicitVRBigEndian, Rows=3, Columns=7, NumberOfFrames=5)
    )

    assert (response.status_code, response.json()["reason"]) == (501, "frames-unlisted")


@pytest.mark.parametrize("photometric_interpretation", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_every_frame_of_halved_chroma_is_found(photometric_interpretation: str) -> None:
    file = halved_chroma(photometric_interpretation)
    response, _ = ask(f"{INSTANCE}/frames/2,1", file)

    assert bodies(response) == [file[-12:], file[-24:-12]]


def packed_file(whole: bytes, transfer_syntax: str, **elements: Any) -> bytes:
    """Return a file with these bit-packed frames as its pixels."""
    shape = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, **elements}
    file = part10(transfer_syntax, **shape)
    length = len(file) - int(elements["NumberOfFrames"]) * 12
    order = "big" if transfer_syntax == ExplicitVRBigEndian else "little"
    return file[: length - 4] + len(whole).to_bytes(4, order) + whole  # type: ignore[arg-type]


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_1_bit_frame_has_exactly_the_requested_bits(data: bytes, draw: st.DataObject) -> None:
    skip = draw.draw(st.integers(0, 7))
    count = draw.draw(st.integers(0, len(data) * 8 - skip))
    wanted = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[skip : skip + count]

    assert align(data, skip, count) == np.packbits(wanted, bitorder="little").tobytes()


def test_frames_of_a_deflated_instance_are_served_inflated() -> None:
    response, store = ask(f"{INSTANCE}/frames/3,1", deflated(NATIVE))

    assert bodies(response) == [pixels(3), pixels(1)]
    assert len(store.reads) == 1


def test_slow_clients_hold_few_inflated_instances_in_memory() -> None:
    async def asked(path: str) -> tuple[int, int, int]:
        world = World(settings=ApiSettings(inflated_at_once=1))
        await world.add(deflated(NATIVE))
        began, goes_on = asyncio.Event(), asyncio.Event()

        async def slow(_message: Any) -> None:
            began.set()
            await goes_on.wait()

        slowly = asyncio.ensure_future(world.app(scope_of(path), still_there, slow))
        await asyncio.wait_for(began.wait(), 5)
        meanwhile, other = await world.get(path), await world.get(f"{INSTANCE}/metadata")
        goes_on.set()
        await slowly
        return meanwhile.status_code, other.status_code, (await world.get(path)).status_code

    for path in (f"{INSTANCE}/frames/1", f"{INSTANCE}/bulkdata/7FE00010"):
        assert asyncio.run(asked(path)) == (503, 200, 200)


def test_a_deflated_instance_too_large_for_memory_is_501(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "DEFLATED_BYTES", 100)
    response, _ = ask(f"{INSTANCE}/frames/1", deflated(NATIVE))

    assert response.status_code == 501


@pytest.mark.parametrize("path", ["", "/metadata", "/frames/1,2,3", "/bulkdata/7FE00010"])
def test_every_read_is_closed_when_the_client_disconnects(path: str) -> None:
    store, large = CountingStore(), part10(Rows=2048, Columns=1024, NumberOfFrames=1) + bytes(9 * 2**20)
    sent = 0

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        await asyncio.sleep(0)

    async def asked() -> int:
        world = World(objects=store)
        world.serve(world.queries, store)
        await world.add(large, *(part10(SOPInstanceUID=f"1.2.3.1.{number}") for number in range(2, 30)))
        target = (INSTANCE if path else "/dicomweb/studies/1.2.3") + path
        await world.app(scope_of(target), gone, send)
        return store.open

    assert asyncio.run(asked()) == 0
    assert sent < len(large)


STREAMS = [b"\xff\x4f first \xff\xd9", b"\xff\x4f second one \xff\xd9", b"\xff\x4f third! \xff\xd9"]
THREE_NATIVE = part10(NumberOfFrames=3)
THREE_COMPRESSED = part10(JPEG2000Lossless, STREAMS, NumberOfFrames=3)


def test_native_frames_are_served_with_their_size_in_the_requested_order() -> None:
    response = ask(f"{INSTANCE}/frames/1,3,2", THREE_NATIVE)[0]
    pixels = THREE_NATIVE[-36:]

    assert bodies(response) == [pixels[:12], pixels[24:], pixels[12:24]]
    assert int(response.headers["content-length"]) == len(response.content)
    assert {part.headers["content-type"] for part in parts_of(response)} == {
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    }


def test_compressed_frames_are_the_code_streams_without_item_headers() -> None:
    response = ask(f"{INSTANCE}/frames/3,1", THREE_COMPRESSED, accept=ANY_SYNTAX)[0]

    assert [body.rstrip(b"\0") for body in bodies(response)] == [STREAMS[2], STREAMS[0]]
    assert {part.headers["content-type"] for part in parts_of(response)} == {
        "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"
    }


@pytest.mark.parametrize(
    ("file", "accept", "status"),
    [
        (THREE_COMPRESSED, 'multipart/related; type="image/jp2"', 200),
        (THREE_COMPRESSED, 'multipart/related; type="application/octet-stream"', 406),
        (THREE_NATIVE, 'multipart/related; type="application/octet-stream"', 200),
        (THREE_NATIVE, 'multipart/related; type="image/jp2"', 406),
        (part10(JPEGBaseline8Bit, STREAMS, NumberOfFrames=3), 'multipart/related; type="image/jpeg"', 406),
        (part10(RLELossless, STREAMS, NumberOfFrames=3), 'multipart/related; type="image/dicom-rle"', 200),
    ],
)
def test_frames_are_served_as_stored_or_refused(file: bytes, accept: str, status: int) -> None:
    assert ask(f"{INSTANCE}/frames/1,2", file, accept=accept)[0].status_code == status


@pytest.mark.parametrize(
    ("file", "accept"),
    [
        (THREE_NATIVE, "application/octet-stream"),
        (THREE_COMPRESSED, "image/jp2"),
        (THREE_COMPRESSED, "image/jp2;transfer-syntax=*"),
    ],
)
def test_a_single_frame_is_served_without_parts_on_request(file: bytes, accept: str) -> None:
    response = ask(f"{INSTANCE}/frames/2", file, accept=accept)[0]

    wanted = THREE_NATIVE[-24:-12] if file is THREE_NATIVE else STREAMS[1]
    assert response.content.rstrip(b"\0") == wanted.rstrip(b"\0")
    assert response.headers["content-type"].startswith(accept.partition(";")[0])


@pytest.mark.parametrize(
    ("frames", "status"),
    [("1,4", 404), ("1,,2", 400)],
)
def test_a_missing_frame_is_404_and_a_malformed_list_is_400(frames: str, status: int) -> None:
    assert ask(f"{INSTANCE}/frames/{frames}", THREE_NATIVE)[0].status_code == status


@pytest.mark.filterwarnings("ignore")
def test_the_frames_of_real_files_equal_the_frames_of_pydicom(corpus: Path) -> None:
    async def served(whole: bytes, address: str, count: int) -> list[bytes]:
        world = World()
        await world.add(whole)
        response = await world.get(f"{address}/frames/{','.join(map(str, range(1, count + 1)))}", accept=ANY_SYNTAX)
        return [part.body for part in parts_of(response)] if response.status_code == 200 else []

    seen = 0
    for name, whole, address in storable_files(corpus / "ts"):
        wanted = expected(whole)
        if wanted and len(wanted) <= 20:
            found = asyncio.run(served(whole, address, len(wanted)))
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
        if dataset.file_meta.TransferSyntaxUID in NATIVE_SYNTAXES:
            size = get_expected_length(dataset) // count  # some are padded
            if dataset["PixelData"].VR == "OW" and not dataset.original_encoding[1]:
                size += size % 2  # bytes in big-endian words: the last one lies behind its padding
            return [dataset.PixelData[at * size : (at + 1) * size] for at in range(count)]
        try:
            return list(generate_frames(dataset.PixelData, number_of_frames=count))
        except ValueError:
            return []


def test_encapsulated_frames_of_a_native_syntax_cannot_be_served_alone() -> None:
    whole = encapsulated_image([b"\xff\xd8\xff\xe0 a JPEG \xff\xd9"], "1.2.840.10008.1.2.1", **described(8, 8))
    response, _ = ask(f"{INSTANCE}/frames/1", whole, accept=ANY_SYNTAX)

    assert (response.status_code, response.json()["reason"]) == (501, "frames-unlisted")


@pytest.mark.parametrize("syntax", sorted(NATIVE_SYNTAXES))
@pytest.mark.parametrize("count", [1, 3])
def test_items_in_native_pixels_of_one_bit_are_no_frames(syntax: str, count: int) -> None:
    items = item() + item(bytes(range(200, 216)))
    one_bit = described(3, 7, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=count)
    whole = native_image(items, syntax, **one_bit)
    response, _ = ask(f"{INSTANCE}/frames/1", whole)

    assert (response.status_code, response.json()["reason"]) == (501, "frames-unlisted")
    assert ask(f"{INSTANCE}/bulkdata/7FE00010", whole)[0].content == items


def test_frames_with_all_their_chroma_are_served_whole() -> None:
    colours = described(1, 2, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", NumberOfFrames=3)
    response, _ = ask(f"{INSTANCE}/frames/2", native_image(bytes(range(18)), **colours))

    assert bodies(response) == [bytes(range(6, 12))]

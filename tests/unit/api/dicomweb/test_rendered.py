"""Pictures through the whole application, made by real child processes (CONFORMANCE 38, 39; SECURITY 11)."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from api.children import ENVIRONMENT, Child, Children, Gone
from api.render_child import ANSWER
from operators.connectors.memory.stores import MemoryObjectStore, Outage
from operators.errors import Unavailable
from operators.http.problem import Problem
from operators.imaging.job import RenderJob
from operators.imaging.request import Rendering
from schemas.objects import Bucket
from schemas.settings.web import RenderSettings
from schemas.telemetry import API_CHILDREN_ENDED, API_DAMAGED, API_RENDERED
from tests.support.data.render_jobs import job_of, opened, storable_job_of
from tests.support.worlds.reading import World, halved_chroma, part10, parts_of, scope_of, still_there

STUDY = "/dicomweb/studies/1.2.3"
SERIES = f"{STUDY}/series/1.2.3.1"
INSTANCE = f"{SERIES}/instances/1.2.3.1.1"


def without_pixels(whole: bytes) -> bytes:
    return whole[: whole.rindex(b"\xe0\x7f\x10\x00")]


ONE = part10()
SR = "1.2.840.10008.5.1.4.1.1.88.11"
REPORT = without_pixels(
    part10(SOPClassUID=SR, SeriesInstanceUID="1.2.3.0", SOPInstanceUID="1.2.3.0.1", SeriesNumber=0, Modality="SR")
)
BROKEN = part10(JPEG2000Lossless, [b"\xff\x4f no image \xff\xd9"], SOPInstanceUID="1.2.3.1.9", InstanceNumber=9)
J2K_BOMB = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + b"\x00\x00\xff\xff" * 2 + b"\x00" * 8 + b"\x00\x00\xff\xff" * 2
SETTINGS = RenderSettings(processes=1)
SIX = [0, 51, 102, 153, 204, 255]

Ask = Callable[..., httpx.Response]


@contextmanager
def archive(*files: bytes, objects: MemoryObjectStore | None = None) -> Iterator[Ask]:
    """Return a way to ask an archive of these files, each time in a loop of its own; its children end at the end."""
    with asyncio.Runner() as runner:
        world = World(objects=objects or MemoryObjectStore(), render=SETTINGS)
        runner.run(world.add(*files))

        def ask(path: str, change: Callable[[World], Any] | None = None, **headers: str) -> httpx.Response:
            if change:
                change(world)
            return runner.run(world.get(path, **headers))

        try:
            yield ask
        finally:
            world.app.close()


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Return a way to ask an archive of a report and a series of two images, the second of three frames, and a broken one."""
    second = part10(NumberOfFrames=3, SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
    with archive(ONE, second, REPORT, BROKEN) as asking:
        yield asking


def tones(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [int(tone) for tone in opened(response.content).reshape(-1)]


# What comes back


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/gif", "image/gif"),
        ("image/jpeg;q=0.5, image/png", "image/png"),
        ("image/avif,image/webp,*/*;q=0.8", "image/jpeg"),
    ],
)
@pytest.mark.parametrize("what", ["rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"])
def test_an_instance_is_one_picture_as_accepted(ask: Ask, what: str, accept: str, media_type: str) -> None:
    response = ask(f"{INSTANCE}/{what}", accept=accept)

    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert opened(response.content).shape[:2] == (2, 3)


def test_the_accept_parameter_goes_before_the_header(ask: Ask) -> None:
    response = ask(f"{INSTANCE}/rendered?accept=image/png", accept="image/gif")

    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"{INSTANCE}/rendered", "image/jp2"),
        (f"{INSTANCE}/rendered", "application/dicom"),
        (f"{INSTANCE}/rendered", "image/jpeg;q=0"),
        (f"{INSTANCE}/thumbnail", "text/html"),
        (f"{SERIES}/rendered", "image/jpeg"),
        (f"{SERIES}/instances/1.2.3.1.2/frames/1,2/rendered", "image/png"),
    ],
)
def test_what_cannot_be_made_is_406_and_says_what_can(ask: Ask, path: str, accept: str) -> None:
    response = ask(path, accept=accept)

    assert response.status_code == 406
    assert "image/jpeg" in response.json()["advice"]


def test_parameters_decide_how_it_looks(ask: Ask) -> None:
    plain = ask(f"{INSTANCE}/rendered", accept="image/png")
    seen = ask(f"{INSTANCE}/rendered?window=1,1,linear&viewport=6,4,0,0,-3,2", accept="image/png")

    assert tones(plain) == SIX
    assert opened(seen.content).shape == (4, 6)
    assert opened(seen.content)[0].tolist()[0] == 255


@pytest.mark.parametrize(
    "query", ["window=1", "viewport=0,0", "quality=0", "quality=1&quality=2", "viewport=9,9,5,5,1,1"]
)
def test_parameters_that_make_no_sense_are_400_with_advice(ask: Ask, query: str) -> None:
    response = ask(f"{INSTANCE}/rendered?{query}")

    assert response.status_code == 400
    assert response.json()["advice"]


def test_annotation_is_left_out_with_a_warning(ask: Ask) -> None:
    response = ask(f"{INSTANCE}/rendered?annotation=patient")

    assert response.headers["warning"].startswith("299 http://localhost:8060/dicomweb: ")
    assert "warning" not in ask(f"{INSTANCE}/rendered").headers


def test_frames_come_in_the_order_asked_for(ask: Ask) -> None:
    at = f"{SERIES}/instances/1.2.3.1.2"
    response = ask(f"{at}/frames/3,1/rendered?window=6,12,linear-exact", accept="multipart/related; type=image/png")
    third, first = parts_of(response)

    assert opened(third.body).mean() > opened(first.body).mean()
    assert third.headers["content-location"] == f"http://localhost:8060{at}/frames/3/rendered"
    assert int(third.headers["content-length"]) == len(third.body)


@pytest.mark.parametrize("photometric_interpretation", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_every_frame_of_halved_chroma_is_rendered(photometric_interpretation: str) -> None:
    whole = halved_chroma(photometric_interpretation)
    with archive(whole[:-12] + bytes(range(100, 112))) as asking:
        shown = [opened(asking(f"{INSTANCE}/frames/{n}/rendered", accept="image/png").content) for n in (1, 2)]

    assert [picture.shape for picture in shown] == [(1, 6, 3)] * 2
    assert (shown[0] != shown[1]).any()


@pytest.mark.parametrize(("frames", "status"), [("0", 404), ("4", 404), ("1,4", 404), ("a", 400), ("1,,2", 400)])
@pytest.mark.parametrize("what", ["rendered", "thumbnail"])
def test_a_frame_that_is_not_there_is_404_and_a_list_that_is_none_is_400(
    ask: Ask, what: str, frames: str, status: int
) -> None:
    assert ask(f"{SERIES}/instances/1.2.3.1.2/frames/{frames}/{what}").status_code == status


def test_a_study_or_series_is_its_images_in_parts_without_what_has_none(ask: Ask) -> None:
    for path in (STUDY, SERIES):
        parts = parts_of(ask(f"{path}/rendered"))

        assert [part.headers["content-location"].split("/")[-2] for part in parts] == ["1.2.3.1.1", "1.2.3.1.2"]
        assert {part.headers["content-type"] for part in parts} == {"image/jpeg"}


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/dicomweb/studies/9/rendered", 404, "no-such-study"),
        (f"{STUDY}/series/9/thumbnail", 404, "no-such-series"),
        (f"{SERIES}/instances/9/rendered", 404, "no-such-instance"),
        (f"{STUDY}/series/1.2.x/rendered", 400, "bad-uid"),
        (f"{SERIES}/instances/1.2.3.1.9/rendered", 406, "undecodable-frame"),
        (f"{SERIES}/instances/1.2.3.1.9/thumbnail", 406, "undecodable-frame"),
    ],
)
def test_what_has_no_picture_says_why(ask: Ask, path: str, status: int, reason: str) -> None:
    response = ask(path)

    assert (response.status_code, response.json()["reason"]) == (status, reason)


def test_a_client_that_has_a_picture_is_told_so_without_making_it_again(ask: Ask) -> None:
    for path in (f"{INSTANCE}/rendered", f"{SERIES}/thumbnail", f"{SERIES}/rendered", f"{INSTANCE}/frames/1/rendered"):
        tag = ask(path).headers["etag"]
        made = API_RENDERED.labels("rendered")._value.get()
        again, other = ask(path, if_none_match=tag), ask(f"{path}?quality=10", if_none_match=tag)

        assert (again.status_code, again.content) == (304, b"")
        assert (other.status_code, other.headers["etag"] == tag) == (200, False)
        assert API_RENDERED.labels("rendered")._value.get() > made


# Thumbnails

LARGE = {"Rows": 300, "Columns": 600, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def test_a_thumbnail_is_small_and_fits_the_viewport_asked_for() -> None:
    with archive(image(LARGE)) as asking:
        assert opened(asking(f"{INSTANCE}/thumbnail").content).shape == (64, 128)
        assert opened(asking(f"{INSTANCE}/thumbnail?viewport=30,30").content).shape == (15, 30)
        assert asking(f"{INSTANCE}/thumbnail?viewport=30,30,0,0").status_code == 400


def test_a_study_is_represented_by_the_middle_image_of_its_first_image_series() -> None:
    images = [
        part10(SOPInstanceUID=f"1.2.3.1.{n}", InstanceNumber=n, WindowCenter="6", WindowWidth="1") for n in (1, 2, 3)
    ]
    images[1] = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
    with archive(REPORT, *images) as asking:
        for path in (STUDY, SERIES):
            assert tones(asking(f"{path}/thumbnail", accept="image/png")) == SIX


@dataclass
class Watched(MemoryObjectStore):
    """A store that counts the bytes asked of it."""

    asked_bytes: int = 0

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Stream the bytes and count them."""
        async for chunk in super().read(bucket, key, start, end):
            self.asked_bytes += len(chunk)
            yield chunk


def test_of_many_frames_the_middle_one_is_the_thumbnail_and_no_other_is_read() -> None:
    side, count = 400, 5
    store = Watched()
    with archive(frames_of(side, count), objects=store) as asking:
        shown = tones(asking(f"{INSTANCE}/thumbnail?window=6,12,linear-exact", accept="image/png"))

        assert set(shown) == {round(255 * 3 / 12)}
        assert store.asked_bytes < 2 * 2 * side * side


def frames_of(side: int, count: int) -> bytes:
    """Return a file of square frames, each of one value: its number."""
    whole = part10(Rows=side, Columns=side, NumberOfFrames=count)
    pixels = np.arange(1, count + 1, dtype="<u2").repeat(side * side).tobytes()
    return without_pixels(whole) + b"\xe0\x7f\x10\x00OW\0\0" + len(pixels).to_bytes(4, "little") + pixels


def test_a_broken_image_does_not_leave_its_series_without_a_thumbnail() -> None:
    with archive(ONE, BROKEN) as asking:
        assert tones(asking(f"{SERIES}/thumbnail", accept="image/png")) == SIX


def test_what_holds_no_image_has_no_thumbnail() -> None:
    series = f"{STUDY}/series/1.2.3.0"
    with archive(REPORT) as asking:
        paths = (STUDY, series, f"{series}/instances/1.2.3.0.1")
        assert [asking(f"{path}/thumbnail").status_code for path in paths] == [404, 404, 406]
        assert [asking(f"{path}/rendered").status_code for path in paths] == [406, 406, 406]


def image(elements: dict[str, Any], fill: int = 7) -> bytes:
    """Return a file whose pixels are as many as its header says, all of one value."""
    head = without_pixels(part10(**elements))
    samples = elements["Rows"] * elements["Columns"] * elements.get("SamplesPerPixel", 1)
    size = int(samples * elements["BitsAllocated"] // 8)
    return head + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little") + bytes([fill]) * size


# What is passed on


def test_a_video_is_passed_on_as_it_is_stored(corpus: Path) -> None:
    whole = (corpus / "synthetic/video_h264.dcm").read_bytes()
    with archive(whole) as asking:
        at = address_of(whole)
        video = asking(f"{at}/rendered")

        assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
        assert video.content.rstrip(b"\0") in whole
        assert len(video.content) > 1000
        assert asking(f"{at}/rendered", accept="image/jpeg").status_code == 406
        assert asking(f"{at}/frames/1/rendered").status_code == 406


VIDEO = "1.2.840.10008.1.2.4.102"


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        (without_pixels(part10(VIDEO, [b"stream"])), "no-pixels"),
        (without_pixels(part10(VIDEO, [b"stream"])) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", "no-pixels"),
        (part10(VIDEO, [b"stream"]).replace(b"\xfe\xff\x00\xe0", b"none"), "bad-frame"),
    ],
)
def test_a_video_without_a_stream_is_406_and_no_damage(whole: bytes, reason: str) -> None:
    damaged = sum(sample.value for metric in API_DAMAGED.collect() for sample in metric.samples)
    with archive(whole) as asking:
        response = asking(f"{INSTANCE}/rendered")

    assert (response.status_code, response.json()["reason"]) == (406, reason)
    assert sum(sample.value for metric in API_DAMAGED.collect() for sample in metric.samples) == damaged


def test_a_picture_that_cannot_be_made_is_406_whatever_the_client_has() -> None:
    with archive(BROKEN) as asking:
        for what in ("rendered", "thumbnail"):
            assert asking(f"{SERIES}/instances/1.2.3.1.9/{what}", if_none_match="*").status_code == 406


def test_a_large_document_is_never_in_memory_whole() -> None:
    largest: list[int] = []

    async def send(message: Any) -> None:
        largest.append(len(message.get("body", b"")))

    async def asked() -> None:
        world = World(render=SETTINGS)
        document = b"%PDF-" + bytes(24 * 2**20 - 5)
        await world.add(
            without_pixels(part10(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=document))
        )
        await world.app(scope_of(f"{INSTANCE}/rendered"), still_there, send)

    asyncio.run(asked())

    assert (sum(largest), max(largest) < 2**20) == (24 * 2**20, True)


def test_a_pdf_is_passed_on_to_be_saved(corpus: Path) -> None:
    whole = next(corpus.rglob("*encapsulated_pdf*.dcm")).read_bytes()
    with archive(whole) as asking:
        document = asking(f"{address_of(whole)}/rendered", accept="application/pdf")

        assert document.content.startswith(b"%PDF-")
        assert document.headers["content-disposition"] == "attachment"
        assert asking(f"{address_of(whole)}/rendered", accept="image/png").status_code == 406


def address_of(whole: bytes) -> str:
    one = dcmread(BytesIO(whole))
    return f"/dicomweb/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"


# Faults behind


@pytest.mark.parametrize("what", ["objects", "queries"])
def test_a_server_that_is_away_is_503_with_retry_after(what: str) -> None:
    with archive(ONE) as asking:
        away = asking(
            f"{INSTANCE}/rendered", change=lambda world: setattr(getattr(world, what), "outage", Outage.REFUSES)
        )

        assert (away.status_code, int(away.headers["retry-after"]) > 0) == (503, True)


# Children


def ended(why: str) -> float:
    return float(API_CHILDREN_ENDED.labels(why)._value.get())


def good_job() -> RenderJob:
    job = job_of(ONE)
    assert job
    return job


@contextmanager
def children(**changes: Any) -> Iterator[Children]:
    """Return a pool of one child."""
    pool = Children(RenderSettings(processes=1, **changes))
    try:
        yield pool
    finally:
        pool.close()


async def at_once(job: RenderJob) -> RenderJob:
    return job


async def pid_of(pool: Children) -> int:
    """Return the number of the pool's one idle child, started by a job if need be."""
    await pool.rendered(partial(at_once, good_job()))
    return pool._idle[0].pid


async def end_at_work(pool: Children, number: signal.Signals) -> bytes:
    """Have the pool's child end by a signal in the middle of a job; give what comes of the job."""
    pid = await pid_of(pool)
    os.kill(pid, signal.SIGSTOP)
    work = asyncio.ensure_future(pool.rendered(partial(at_once, good_job())))
    async with asyncio.timeout(10):
        while not pool._at_work:  # noqa: ASYNC110 - the thread that takes the child tells nobody
            await asyncio.sleep(0.01)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
    return await work


@pytest.mark.parametrize(
    ("number", "reason", "why"),
    [
        (signal.SIGSEGV, "undecodable-frame", "crashed"),
        (signal.SIGABRT, "undecodable-frame", "crashed"),
        (signal.SIGXCPU, "too-costly", "cpu"),
    ],
)
def test_a_child_that_ends_over_a_job_costs_one_answer(number: signal.Signals, reason: str, why: str) -> None:
    async def lived() -> None:
        with children() as pool:
            before = ended(why)
            with pytest.raises(Problem, match=reason):
                await end_at_work(pool, number)

            assert ended(why) == before + 1
            assert opened(await pool.rendered(partial(at_once, good_job()))).shape == (2, 3)

    asyncio.run(lived())


def test_a_child_that_somebody_kills_says_nothing_of_the_frame() -> None:
    async def lived() -> None:
        with children() as pool:
            before = ended("killed")
            with pytest.raises(Unavailable):
                await end_at_work(pool, signal.SIGKILL)

            assert ended("killed") == before + 1

    asyncio.run(lived())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_ended_while_idle_costs_no_answer(number: signal.Signals) -> None:
    async def lived() -> None:
        with children() as pool:
            pid, before = await pid_of(pool), ended("idle")
            os.kill(pid, number)
            async with asyncio.timeout(10):
                while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - nor does the kernel
                    await asyncio.sleep(0.01)

            assert await pid_of(pool) != pid
            assert ended("idle") == before + 1

    asyncio.run(lived())


def say(pid: int, descriptor: int, forged: bytes) -> None:
    """Write into what a child holds under a descriptor, as native code in it could."""
    with Path(f"/proc/{pid}/fd/{descriptor}").open("wb", buffering=0) as sink:
        sink.write(forged)


FORGED = bytes(ANSWER.size - 8) + len(b"another's").to_bytes(8, "little") + b"another's"


def test_what_a_library_prints_is_nobodys_picture() -> None:
    async def lived() -> None:
        with children() as pool:
            pid = await pid_of(pool)
            say(pid, 1, FORGED)
            shown = await pool.rendered(partial(at_once, good_job()))

            assert opened(shown).shape == (2, 3)
            assert pool._idle[0].pid == pid

    asyncio.run(lived())


def test_a_child_that_spoke_unasked_is_not_asked_again() -> None:
    async def lived() -> None:
        with children() as pool:
            pid = await pid_of(pool)
            say(pid, 3, FORGED)
            shown = await pool.rendered(partial(at_once, good_job()))

            assert opened(shown).shape == (2, 3)
            assert pool._idle[0].pid != pid

    asyncio.run(lived())


def test_an_answer_that_names_another_job_is_none() -> None:
    child = Child(SETTINGS).started()
    try:
        say(child.pid, 3, FORGED)
        with pytest.raises(Gone):
            child.ask(good_job(), 20)
    finally:
        child.end()


def test_the_end_of_the_application_waits_for_no_child_that_starts() -> None:
    async def lived() -> None:
        with children() as pool:
            work = asyncio.ensure_future(pool.rendered(partial(at_once, good_job())))
            async with asyncio.timeout(10):
                while not pool._at_work:  # noqa: ASYNC110 - the thread that starts the child tells nobody
                    await asyncio.sleep(0.001)
            (starting,) = pool._at_work
            os.kill(starting.pid, signal.SIGSTOP)
            await asyncio.wait_for(asyncio.to_thread(pool.close), 5)

            with pytest.raises(Unavailable):
                await work

    asyncio.run(lived())


def test_a_child_that_hangs_is_ended_and_the_client_may_try_again() -> None:
    async def lived() -> None:
        with children(wall_s=2.0) as pool:
            hung = await pid_of(pool)
            os.kill(hung, signal.SIGSTOP)
            with pytest.raises(Unavailable):
                await pool.rendered(partial(at_once, good_job()))

            assert not psutil.pid_exists(hung)
            assert await pid_of(pool) != hung

    asyncio.run(lived())


def test_a_child_that_cannot_start_is_no_fault_of_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PYTHONHOME", "/nowhere")

    async def lived() -> None:
        with children() as pool, pytest.raises(Unavailable):
            await pool.rendered(partial(at_once, good_job()))

    asyncio.run(lived())


def test_a_child_that_computes_too_long_is_ended_by_the_kernel() -> None:
    endless = "from api.render_child import _give_cpu; _give_cpu(0)\nwhile True: pass"
    found = subprocess.run([sys.executable, "-c", endless], check=False, timeout=60)

    assert found.returncode == -signal.SIGXCPU


def test_a_child_that_runs_out_of_memory_says_so_and_is_replaced() -> None:
    planes = {"SamplesPerPixel": 3, "PlanarConfiguration": 1, "PhotometricInterpretation": "RGB"}
    large = image({"Rows": 4700, "Columns": 4700, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, **planes})

    async def lived() -> None:
        with children(memory_bytes=256 * 2**20) as pool:
            first, job = await pid_of(pool), job_of(large)
            assert job
            with pytest.raises(Problem, match="out-of-memory"):
                await pool.rendered(partial(at_once, job))

            assert await pid_of(pool) != first

    asyncio.run(lived())


def test_the_largest_image_that_may_be_rendered_fits_into_a_childs_memory() -> None:
    side = 5792  # 64 MiB of 16 bits
    whole = image({"Rows": side, "Columns": side, "BitsAllocated": 16})
    child = Child(RenderSettings()).started()
    try:
        for rendering in (Rendering(), Rendering("image/png")):
            job = job_of(whole, rendering=rendering)
            assert job
            assert child.ask(job, 60)[0] == ""
        most = memory_of(child.pid)
    finally:
        child.end()

    assert most["VmHWM"] < most["VmPeak"] < 2**30


def memory_of(pid: int) -> dict[str, int]:
    """Return the most memory that a process has had, in bytes: resident, and all."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmHWM", "VmPeak"))}


def test_a_child_holds_no_descriptor_no_secret_and_can_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUORO_STORE_SECRET_KEY", "canary")
    with (Path(__file__)).open():
        child = Child(SETTINGS).started()
        try:
            assert child.ask(good_job(), 20)[0] == ""
            process = psutil.Process(child.pid)
            limits = Path(f"/proc/{child.pid}/limits").read_text()

            assert process.num_fds() == 4
            assert not [name for name in process.environ() if name.startswith("FLUORO")]
            assert process.rlimit(psutil.RLIMIT_NOFILE) == (4, 4)
            assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
            assert process.rlimit(psutil.RLIMIT_AS) == (SETTINGS.memory_bytes,) * 2
            assert "Max processes             0" in limits
            assert "NoNewPrivs:\t1" in Path(f"/proc/{child.pid}/status").read_text()
        finally:
            child.end()


def test_children_end_with_their_parent_whatever_they_are_doing() -> None:
    parent = (
        "import time; from api.children import Child; from schemas.settings.web import RenderSettings\n"
        "from tests.support.data.render_jobs import job_of; from tests.support.worlds.reading import part10\n"
        "child = Child(RenderSettings()).started(); child.ask(job_of(part10()), 20); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout
        child = psutil.Process(int(process.stdout.readline()))
        child.suspend()
        process.kill()

        assert child.wait(10) is not None or not child.is_running()


def test_no_process_and_no_thread_is_left_when_the_application_ends() -> None:
    before = set(psutil.Process().children())
    with archive(ONE) as asking:
        assert asking(f"{INSTANCE}/rendered").status_code == 200
        assert len(set(psutil.Process().children()) - before) == 1

    assert set(psutil.Process().children()) <= before


def test_the_end_of_the_application_waits_for_no_child_that_hangs() -> None:
    async def lived() -> None:
        with children() as pool:
            hung = await pid_of(pool)
            os.kill(hung, signal.SIGSTOP)
            work = asyncio.ensure_future(pool.rendered(partial(at_once, good_job())))
            async with asyncio.timeout(10):
                while pool._idle:  # noqa: ASYNC110 - the thread that takes the child tells nobody
                    await asyncio.sleep(0.01)
            await asyncio.wait_for(asyncio.to_thread(pool.close), 10)

            assert not psutil.pid_exists(hung)
            with pytest.raises(Unavailable):
                await work

    asyncio.run(lived())


def test_when_too_many_wait_the_next_is_told_to_come_again() -> None:
    async def lived() -> list[Any]:
        with children(queue=2) as pool:
            await pid_of(pool)
            works = [pool.rendered(partial(at_once, good_job())) for _ in range(20)]
            return await asyncio.gather(*works, return_exceptions=True)

    found = asyncio.run(lived())
    refused = [one for one in found if isinstance(one, Problem)]

    assert {(one.status, one.reason, one.headers["Retry-After"]) for one in refused} == {(503, "renderer-busy", "5")}
    assert len(found) - len(refused) == 4


def test_a_client_that_leaves_costs_no_child() -> None:
    async def lived() -> None:
        with children() as pool:
            first = await pid_of(pool)
            work = asyncio.ensure_future(pool.rendered(partial(at_once, good_job())))
            await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

            assert await pid_of(pool) == first

    asyncio.run(lived())


async def pid_after_the_third(pool: Children) -> int:
    await pool.rendered(partial(at_once, good_job()))
    return await pid_of(pool)


def test_a_child_answers_many_jobs_and_then_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.children.JOBS", 3)

    async def lived() -> list[int]:
        with children() as pool:
            return [await pid_of(pool), await pid_of(pool), await pid_after_the_third(pool)]

    first, second, third = asyncio.run(lived())

    assert first == second != third


# Hostile frames

HOSTILE = {
    "lies of its size": part10(JPEG2000Lossless, [J2K_BOMB + b"\x00\x01\x07\x01\x01\xff\xd9"]),
    "a JPEG of 65500 lines": part10(
        JPEGBaseline8Bit, [b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xdc\xff\xdc\x01\x01\x11\x00\xff\xd9"]
    ),
    "more pixels than may be": image({"Rows": 2, "Columns": 3, "BitsAllocated": 16}).replace(
        b"\x28\x00\x10\x00US\x02\x00\x02\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_refused_and_the_child_lives_or_is_replaced(name: str) -> None:
    with archive(HOSTILE[name]) as asking:
        response = asking(f"{INSTANCE}/rendered")

        assert response.status_code in {404, 406}, response.text


def test_every_odd_and_fuzzed_file_is_answered_by_one_child_within_its_memory(corpus: Path) -> None:
    child, answered = Child(SETTINGS).started(), 0
    try:
        for path in sorted((corpus / "odd").rglob("*")):
            job = storable_job_of(path.read_bytes()) if path.is_file() else None
            if job:
                reason, picture = child.ask(job, 30)
                answered += 1

                assert bool(reason) != bool(picture), path.name
        most = memory_of(child.pid)
    finally:
        child.end()

    assert answered > 60
    assert most["VmPeak"] <= SETTINGS.memory_bytes


def test_bytes_cut_and_turned_anywhere_never_take_more_than_a_child(corpus: Path) -> None:
    rng = np.random.default_rng(11)
    files = [*sorted((corpus / "ts").rglob("*.dcm"))[::6], *sorted((corpus / "ts/DICOMHTJ2K").iterdir())[:4]]
    child, gone = Child(SETTINGS).started(), 0
    try:
        for path in files:
            job = storable_job_of(path.read_bytes())
            for _ in range(4 if job else 0):
                assert job
                frame = bytearray(job.frame[: rng.integers(1, len(job.frame) + 1)])
                for at in rng.integers(0, len(frame), 8):
                    frame[at] = rng.integers(256)
                try:
                    child.ask(RenderJob(**{**vars(job), "frame": bytes(frame)}), 30)
                except Gone:
                    gone += 1
                    child.end()
                    child = Child(SETTINGS).started()
    finally:
        child.end()

    assert gone <= len(files)

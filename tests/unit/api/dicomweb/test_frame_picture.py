"""To render a frame, its header and its bytes are read and little else; what is too large is refused unread."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from pydicom.uid import JPEG2000Lossless

from api.dicomweb import frame_picture
from api.dicomweb.frame_picture import FramedInstance, framed_instance, render_frame
from api.services import Services
from operators.access.principal import Principal
from operators.catalog.ports import Location
from operators.connectors.memory.stores import Outage, StoredBytes
from operators.errors import Unavailable
from operators.http.problem import Problem
from operators.imaging.job import Form, RenderJob
from operators.imaging.ports import FrameRejected
from operators.imaging.request import Rendering
from operators.retrieval.reading import ArchiveReader, Damaged, NotFound
from schemas.settings.web import ApiSettings, RenderSettings
from tests.support.worlds.pictures import without_pixels
from tests.support.worlds.reading import CountingStore, World, deflated, part10

PNG = Rendering("image/png")
VIDEO = "1.2.840.10008.1.2.4.102"
NATIVE = part10(NumberOfFrames=3)
CODE_STREAMS = [b"\xff\x4f first  \xff\xd9", b"\xff\x4f other  \xff\xd9"]
COMPRESSED = part10(JPEG2000Lossless, CODE_STREAMS, NumberOfFrames=2)


@dataclass
class KeepingRenderer:
    """A renderer that keeps its jobs, and rejects those of a form."""

    rejects: Form | None = None
    jobs: list[RenderJob] = field(default_factory=list)

    async def render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return a picture."""
        job = await fetch()
        self.jobs.append(job)
        if job.form == self.rejects:
            raise FrameRejected("undecodable-frame")
        return b"picture"

    def close(self) -> None:
        """Stop nothing."""


class Archive:
    """An archive of one file, its reader, and a renderer that keeps its jobs."""

    def __init__(self, file: bytes, **render: int) -> None:
        self.store, self.renderer = CountingStore(), KeepingRenderer()
        self.world = World(objects=self.store)
        queries = self.world.queries
        self.reader = ArchiveReader(Principal("local", "ann", "a test"), queries, self.store)
        self.services = Services(queries, self.store, ApiSettings(), RenderSettings(**render), self.renderer)
        asyncio.run(self.world.add(file))

    def location(self) -> Location:
        """Return the location of the instance, as its study lists it if its frames are many: without them."""
        (location,) = asyncio.run(self.reader.locate("1.2.3"))
        return replace(location, frames=b"")

    def framed(self) -> FramedInstance:
        return asyncio.run(framed_instance(self.reader, self.location()))

    def render(self, number: int = 1) -> RenderJob:
        """Return the job of rendering a frame."""
        instance = self.framed()
        assert asyncio.run(render_frame(self.services, self.reader, instance, number, PNG)) == b"picture"
        return self.renderer.jobs[-1]


# Which instances have frames


@pytest.mark.parametrize(
    ("file", "kind", "form"),
    [
        (NATIVE, "native", "native"),
        (COMPRESSED, "encapsulated", "encapsulated"),
        (deflated(NATIVE), "unlisted", "object"),
    ],
)
def test_frames_are_looked_up_if_the_location_lacks_them(file: bytes, kind: str, form: Form) -> None:
    archive = Archive(file)
    instance = archive.framed()

    assert instance.location.frames
    assert (instance.listed.kind, instance.form) == (kind, form)


@pytest.mark.parametrize(
    "file",
    [
        without_pixels(part10()),
        part10(VIDEO, [b"a video"], SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4.1", NumberOfFrames=100),
    ],
)
def test_an_instance_without_pixels_and_a_video_have_no_picture(file: bytes) -> None:
    with pytest.raises(Problem) as refused:
        Archive(file).framed()

    assert (refused.value.status, refused.value.reason) == (406, "no-pixels")


def test_an_instance_that_is_gone_is_not_found() -> None:
    archive = Archive(NATIVE)
    location = archive.location()
    archive.world.catalog.tables.instances.clear()

    with pytest.raises(NotFound, match="instance"):
        asyncio.run(framed_instance(archive.reader, location))


# What is read


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_frame_near_the_header_is_read_together_with_it(number: int) -> None:
    archive = Archive(NATIVE)
    job = archive.render(number)
    end = len(NATIVE) - (3 - number) * 12

    assert (job.header, job.frame) == (NATIVE[:-36], NATIVE[end - 12 : end])
    assert archive.store.reads == [(0, end)]
    assert (job.number, job.form, job.rendering) == (number, "native", PNG)
    assert job.header[: job.prefix_length].startswith(bytes(128) + b"DICM")
    assert job.most_bytes == RenderSettings().frame_bytes


@pytest.mark.parametrize("limit", ["NEAR_BYTES", "SMALL_BYTES"])
def test_a_frame_far_from_the_header_is_read_by_itself(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_picture, limit, 24)
    archive = Archive(NATIVE)
    job = archive.render(3)

    assert (job.header, job.frame) == (NATIVE[:-36], NATIVE[-12:])
    assert sorted(archive.store.reads) == [(0, len(NATIVE) - 36), (len(NATIVE) - 12, len(NATIVE))]


@pytest.mark.parametrize("number", [1, 2])
def test_a_compressed_frame_is_read_with_the_headers_of_its_fragments(number: int) -> None:
    job = Archive(COMPRESSED).render(number)

    assert COMPRESSED.startswith(job.header)
    assert job.frame == b"\xfe\xff\x00\xe0" + len(CODE_STREAMS[0]).to_bytes(4, "little") + CODE_STREAMS[number - 1]


def test_an_object_whose_frames_are_not_listed_is_read_whole() -> None:
    file = deflated(NATIVE)
    archive = Archive(file)
    job = archive.render(2)

    assert (job.form, job.number, job.header, job.frame) == ("object", 2, b"", file)
    assert archive.store.reads == [(0, len(file))]


# What is refused


def refused(archive: Archive, number: int = 1) -> str:
    """Return the reason why a frame is not rendered; nothing is read then."""
    with pytest.raises(Problem) as caught:
        archive.render(number)
    assert caught.value.status == 406
    assert archive.store.reads == []
    return caught.value.reason


def test_a_frame_larger_than_the_settings_allow_is_refused_unread() -> None:
    assert Archive(NATIVE, frame_bytes=12).render().frame
    assert refused(Archive(NATIVE, frame_bytes=11)) == "image-too-large"


def test_an_object_that_must_be_read_whole_may_have_twice_as_many_bytes() -> None:
    file = deflated(NATIVE)
    most = -(-len(file) // 2)

    assert Archive(file, frame_bytes=most).render().frame
    assert refused(Archive(file, frame_bytes=most - 1)) == "image-too-large"


def test_a_frame_behind_a_header_that_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    header_bytes = len(NATIVE) - 36
    monkeypatch.setattr(frame_picture, "MOST_HEADER_BYTES", header_bytes)
    assert Archive(NATIVE).render().frame

    monkeypatch.setattr(frame_picture, "MOST_HEADER_BYTES", header_bytes - 1)
    assert refused(Archive(NATIVE)) == "image-too-large"


def test_what_the_renderer_rejects_is_rejected() -> None:
    archive = Archive(NATIVE)
    archive.renderer.rejects = "native"

    with pytest.raises(FrameRejected, match="undecodable-frame"):
        archive.render()


def test_a_shortened_object_is_damaged() -> None:
    archive = Archive(NATIVE)
    for place, held in archive.store.objects.items():
        archive.store.objects[place] = StoredBytes(held.data[:-30], held.metadata)

    with pytest.raises(Damaged, match="object-short"):
        archive.render(3)


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    archive = Archive(NATIVE)
    archive.store.outage = Outage.REFUSES

    with pytest.raises(Unavailable):
        archive.render()

"""A multipart body has the size that was announced, any parser finds its parts, and its sources are closed."""

import asyncio
import email
import email.policy
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.multipart import BYTE_RANGES, SMALL_BYTES, MultipartFraming, Part, stream

DICOM = "application/dicom"
FRAMING = MultipartFraming(DICOM, "B")
BODIES = st.lists(st.lists(st.binary(max_size=20), max_size=4), max_size=4)


def parts_for(bodies: list[list[bytes]]) -> list[Part]:
    return [Part(DICOM, f"http://a/{at}", sum(map(len, body))) for at, body in enumerate(bodies)]


class SourceFailed(Exception):
    """The source of a body cannot be read any further."""


class Sources:
    """The bodies of parts, of which one chunk may be an error; it knows which are open."""

    def __init__(self, bodies: list[list[bytes | Exception]]) -> None:
        self.open = set[str]()
        # Kept, so that only aclose() closes a generator: a garbage collector would close it some time later.
        self.each = [self._body(f"body {at}", body) for at, body in enumerate(bodies)]
        self.all = self._all()

    async def _all(self) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
        self.open.add("bodies")
        try:
            for body in self.each:
                yield body
        finally:
            self.open.remove("bodies")

    async def _body(self, name: str, chunks: list[bytes | Exception]) -> AsyncGenerator[bytes, None]:
        self.open.add(name)
        try:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.open.remove(name)


def sent(bodies: Any, framing: MultipartFraming = FRAMING, parts: list[Part] | None = None) -> list[bytes]:
    """Return the chunks of the response's body."""

    async def read() -> list[bytes]:
        return [chunk async for chunk in stream(framing, parts or parts_for(bodies), Sources(bodies).all)]

    return asyncio.run(read())


@given(BODIES)
def test_the_size_that_is_announced_is_the_size_that_is_sent(bodies: list[list[bytes]]) -> None:
    assert FRAMING.size_bytes(parts_for(bodies)) == len(b"".join(sent(bodies)))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_another_parser_finds_the_same_parts(bodies: list[bytes]) -> None:
    framing = MultipartFraming.of(DICOM)
    whole = b"".join(sent([[body.hex().encode()] for body in bodies], framing))
    head = f"Content-Type: {framing.content_type}\r\n\r\n".encode()
    found = email.message_from_bytes(head + whole, policy=email.policy.HTTP)

    assert found["content-type"].params["type"] == DICOM
    assert [bytes.fromhex(str(part.get_payload())) for part in found.iter_parts()] == bodies
    assert [part["content-location"] for part in found.iter_parts()] == [f"http://a/{at}" for at in range(len(bodies))]


def test_a_response_is_framed_byte_for_byte() -> None:
    assert b"".join(sent([[b"one", b"two"], []])) == (
        b"--B\r\nContent-Type: application/dicom\r\nContent-Length: 6\r\nContent-Location: http://a/0\r\n\r\nonetwo\r\n"
        b"--B\r\nContent-Type: application/dicom\r\nContent-Length: 0\r\nContent-Location: http://a/1\r\n\r\n\r\n"
        b"--B--\r\n"
    )


def test_without_parts_there_is_only_the_last_boundary() -> None:
    assert sent([]) == [b"--B--\r\n"]


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        (Part("image/png", "http://a", None), ["Content-Type: image/png", "Content-Location: http://a"]),
        (
            Part("image/png", "http://a", 5, "bytes 0-4/9"),
            [
                "Content-Type: image/png",
                "Content-Length: 5",
                "Content-Range: bytes 0-4/9",
                "Content-Location: http://a",
            ],
        ),
    ],
)
def test_the_headers_of_a_part_say_what_is_known(part: Part, lines: list[str]) -> None:
    assert part.head.decode().split("\r\n") == [*lines, "", ""]


def test_the_size_is_unknown_when_that_of_one_part_is() -> None:
    known, unknown = Part(DICOM, "a", 1), Part(DICOM, "a", None)

    assert FRAMING.size_bytes([known, unknown]) is None
    assert FRAMING.size_bytes([known]) is not None


@pytest.mark.parametrize(
    ("media_type", "content_type"),
    [
        (DICOM, 'multipart/related; type="application/dicom"; boundary=tag'),
        (BYTE_RANGES, "multipart/byteranges; boundary=tag"),
    ],
)
def test_the_content_type_names_the_boundary_and_the_type_of_related_parts(media_type: str, content_type: str) -> None:
    assert MultipartFraming.of(media_type, '"tag"').content_type == content_type


def test_answers_with_one_tag_have_one_boundary_and_without_a_tag_each_has_its_own() -> None:
    assert MultipartFraming.of(DICOM, '"tag"') == MultipartFraming.of(DICOM, '"tag"')
    assert MultipartFraming.of(DICOM) != MultipartFraming.of(DICOM)


@pytest.mark.parametrize(("size", "chunks"), [(SMALL_BYTES - 1, 3), (SMALL_BYTES, 4)])
def test_only_a_small_chunk_is_copied_behind_the_headers(size: int, chunks: int) -> None:
    assert len(sent([[bytes(size)]])) == chunks


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """A loop that outlives the test: a loop that ends closes every source that was left open."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize(
    ("bodies", "yielded"),
    [
        ([[SourceFailed()]], 0),
        ([[b"one", SourceFailed()]], 1),
        ([[b"one"], [SourceFailed()]], 2),
    ],
)
def test_an_error_before_the_first_chunk_comes_before_anything_else(
    bodies: list[list[bytes | Exception]], yielded: int, loop: asyncio.Runner
) -> None:
    async def read() -> None:
        async for chunk in stream(FRAMING, [Part(DICOM, "a", None)] * len(bodies), sources.all):
            found.append(chunk)

    sources, found = Sources(bodies), list[bytes]()
    with pytest.raises(SourceFailed):
        loop.run(read())

    assert len(found) == yielded
    assert not sources.open


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_source_is_closed_when_the_body_is_closed_early(count: int, loop: asyncio.Runner) -> None:
    async def read() -> None:
        body = stream(FRAMING, [Part(DICOM, "a", None)] * 2, sources.all)
        for _ in range(count):
            await anext(body)
        assert sources.open
        await body.aclose()

    sources = Sources([[b"one", b"two"], [b"three"]])
    loop.run(read())

    assert not sources.open

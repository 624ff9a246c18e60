"""A streamed response reads its body while it is sent, and closes its source however the response ends."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from api.http.streaming import (
    Chunks,
    StreamedResponse,
    in_larger_chunks,
    in_order,
    single_chunk,
    with_first_chunk_read,
)
from tests.support.worlds.reading import scope_of, still_there

CHUNKS = [b"one", b"two", b"three"]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """A loop that outlives the test: a loop that ends closes every source that was left open."""
    with asyncio.Runner() as runner:
        yield runner.run


class SourceFailed(Exception):
    """The source of a body cannot be read any further."""


@dataclass
class Source:
    """A source of chunks that counts how many were read, and knows whether it was closed."""

    chunks: list[bytes] = field(default_factory=lambda: list(CHUNKS))
    fails_at: int | None = None
    read: int = 0
    is_closed: bool = False

    def __post_init__(self) -> None:
        # Kept, so that only aclose() closes the generator: a garbage collector would close it some time later.
        self.stream = self._stream()

    async def _stream(self) -> Chunks:
        try:
            for chunk in self.chunks:
                if self.read == self.fails_at:
                    raise SourceFailed
                self.read += 1
                yield chunk
        finally:
            self.is_closed = True


@dataclass
class Client:
    """A client that keeps the messages that it is sent; it refuses every message from the `refuses_at`th on."""

    refuses_at: int | None = None
    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if len(self.messages) == self.refuses_at:
            raise ConnectionResetError
        self.messages.append(message)
        await asyncio.sleep(0)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


async def gone() -> Message:
    return {"type": "http.disconnect"}


async def send(
    source: Source,
    client: Client,
    method: str = "GET",
    receive: Callable[[], Coroutine[Any, Any, Message]] = still_there,
    **options: Any,
) -> None:
    """Send a response with the source's chunks to the client."""
    response = StreamedResponse(source.stream, "application/dicom", **options)
    await response({**scope_of("/"), "method": method}, receive, client.send)


@pytest.mark.parametrize("chunks", [CHUNKS, [b"one"], [b""], []])
def test_every_chunk_is_sent_in_order(run: Run, chunks: list[bytes]) -> None:
    source, client = Source(chunks), Client()
    run(send(source, client))

    assert client.messages[0]["type"] == "http.response.start"
    assert client.body == b"".join(chunks)
    assert client.is_complete
    assert source.is_closed or not chunks


@pytest.mark.parametrize(("size_bytes", "length"), [(None, None), (11, b"11"), (0, b"0")])
def test_the_content_length_is_the_size_if_it_is_known(run: Run, size_bytes: int | None, length: bytes | None) -> None:
    client = Client()
    run(send(Source(), client, size_bytes=size_bytes, headers={"etag": '"a"'}, status_code=206))

    assert client.messages[0]["status"] == 206
    assert client.headers.get(b"content-length") == length
    assert client.headers[b"content-type"] == b"application/dicom"
    assert client.headers[b"etag"] == b'"a"'


def test_head_has_the_headers_and_nothing_is_read(run: Run) -> None:
    source, client = Source(), Client()
    run(send(source, client, "HEAD", size_bytes=11))

    assert client.headers[b"content-length"] == b"11"
    assert (client.body, client.is_complete, source.read) == (b"", True, 0)


def test_an_error_in_the_first_chunk_is_raised_before_anything_is_sent(run: Run) -> None:
    source, client = Source(fails_at=0), Client()
    with pytest.raises(SourceFailed):
        run(send(source, client))

    assert client.messages == []
    assert source.is_closed


def test_an_error_in_a_later_chunk_breaks_the_response_off(run: Run) -> None:
    source, client = Source(fails_at=2), Client()
    with pytest.raises(SourceFailed):
        run(send(source, client))

    assert client.body == b"onetwo"
    assert not client.is_complete
    assert source.is_closed


def test_nothing_more_is_read_for_a_client_that_has_disconnected(run: Run) -> None:
    source, client = Source([b"x"] * 1000), Client()
    run(send(source, client, receive=gone))

    assert source.read < 10
    assert not client.is_complete
    assert source.is_closed


@pytest.mark.parametrize("refuses_at", [0, 1, 2])
def test_the_source_is_closed_when_the_client_can_be_sent_no_more(run: Run, refuses_at: int) -> None:
    source = Source()
    with pytest.raises(ConnectionResetError):
        run(send(source, Client(refuses_at)))

    assert source.is_closed


async def collected(chunks: AsyncGenerator[Any, None]) -> list[Any]:
    return [chunk async for chunk in chunks]


def test_bytes_in_memory_are_one_chunk(run: Run) -> None:
    assert run(collected(single_chunk(b"all of it"))) == [b"all of it"]


def test_after_its_first_chunk_is_read_a_stream_yields_all_chunks(run: Run) -> None:
    async def read() -> tuple[int, list[bytes]]:
        opened = await with_first_chunk_read(source.stream)
        return source.read, await collected(opened)

    source = Source()

    assert run(read()) == (1, CHUNKS)


def test_a_stream_whose_first_chunk_is_read_closes_its_source_before_it_yields_any(run: Run) -> None:
    async def read_and_close() -> None:
        opened = await with_first_chunk_read(source.stream)
        await opened.aclose()

    source = Source()
    run(read_and_close())

    assert source.is_closed


@given(st.lists(st.binary(max_size=20)), st.integers(1, 50))
def test_larger_chunks_are_the_same_bytes_and_all_but_the_last_are_large_enough(
    chunks: list[bytes], least_bytes: int
) -> None:
    found = asyncio.run(collected(in_larger_chunks(Source(chunks).stream, least_bytes)))

    assert b"".join(found) == b"".join(chunks)
    assert all(len(chunk) >= least_bytes for chunk in found[:-1])


def test_larger_chunks_close_their_source_when_they_are_closed(run: Run) -> None:
    async def read_one() -> None:
        larger = in_larger_chunks(source.stream, 4)
        await anext(larger)
        await larger.aclose()

    source = Source()
    run(read_one())

    assert source.is_closed


@dataclass
class Works:
    """Works that each take a few turns of the loop, the later ones fewer, and count how many are in progress."""

    fails_at: int | None = None
    hangs_from: int = 100
    begun: int = 0
    in_progress: int = 0
    most: int = 0
    cancelled: int = 0

    async def work(self, number: int) -> int:
        self.begun += 1
        self.in_progress += 1
        self.most = max(self.most, self.in_progress)
        try:
            for _ in range(20 - number):
                await asyncio.sleep(0)
            if number >= self.hangs_from:
                await asyncio.Event().wait()
            if number == self.fails_at:
                raise SourceFailed
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_progress -= 1
        return number

    def results(self, count: int, at_once: int) -> AsyncGenerator[int, None]:
        return in_order((partial(self.work, number) for number in range(count)), at_once)


@pytest.mark.parametrize("at_once", [1, 2, 5, 20])
def test_results_come_in_order_and_few_works_are_in_progress(run: Run, at_once: int) -> None:
    works = Works()

    assert run(collected(works.results(12, at_once))) == list(range(12))
    assert works.most == min(at_once, 12)


def test_no_work_has_no_result(run: Run) -> None:
    assert run(collected(Works().results(0, 3))) == []


def test_a_failed_work_is_raised_in_its_turn_and_the_others_are_cancelled(run: Run) -> None:
    async def read() -> None:
        async for result in works.results(12, 3):
            found.append(result)

    works, found = Works(fails_at=2), list[int]()
    with pytest.raises(SourceFailed):
        run(read())

    assert found == [0, 1]
    assert works.begun < 12
    assert works.in_progress == 0


def test_when_closed_early_works_in_progress_are_cancelled(run: Run) -> None:
    async def read_one() -> None:
        results = works.results(12, 3)
        await anext(results)
        await results.aclose()

    works = Works(hangs_from=1)
    run(read_one())

    assert works.begun == 3
    assert works.cancelled == 2
    assert works.in_progress == 0


def test_when_closed_early_streams_that_were_opened_and_not_yielded_are_closed(run: Run) -> None:
    async def read_one() -> None:
        opened = in_order((partial(with_first_chunk_read, source.stream) for source in sources), 3)
        first = await anext(opened)
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(5)))
        await opened.aclose()
        await first.aclose()

    sources = [Source() for _ in range(6)]
    run(read_one())

    assert [source.read for source in sources] == [1, 1, 1, 0, 0, 0]
    assert [source.is_closed for source in sources] == [True, True, True, False, False, False]

"""Responses whose body is read while it is sent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from operators.tasks import supervised

T = TypeVar("T")

Chunks = AsyncGenerator[bytes, None]


class StreamedResponse(Response):
    """A response with a body of chunks; an exception from their source breaks the response off."""

    def __init__(
        self,
        chunks: Chunks,
        media_type: str,
        size_bytes: int | None = None,
        headers: Mapping[str, str] | None = None,
        status_code: int = 200,
    ) -> None:
        super().__init__(status_code=status_code, media_type=media_type, headers=headers)
        self.chunks = chunks
        del self.headers["content-length"]
        if size_bytes is not None:
            self.headers["content-length"] = str(size_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks until the last, or until the client has disconnected; for HEAD, read and send none."""
        try:
            if scope["method"] == "HEAD":
                await self._begin(send)
            else:
                # An error in the first chunk can still be answered, because nothing has been sent.
                self.chunks = await with_first_chunk_read(self.chunks)
                await self._begin(send)
                if not await self._send_chunks(receive, send):
                    return
        finally:
            await self.chunks.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _send_chunks(self, receive: Receive, send: Send) -> bool:
        """Send every chunk; False when the client disconnected before the last."""
        gone = supervised("client_watch", _disconnected(receive))
        try:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if gone.done():
                    return False
        finally:
            gone.cancel()
        return True


async def _disconnected(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def with_first_chunk_read(chunks: Chunks) -> Chunks:
    """Return the same chunks after reading the first; raises the exceptions of that read."""
    begun = _begun(chunks)
    await anext(begun)
    return begun


async def _begun(chunks: Chunks) -> Chunks:
    """Yield nothing once the first chunk has been read, then every chunk.

    A generator that was never begun closes nothing when it is closed; this one closes its source from the start.
    """
    async with aclosing(chunks):
        first = await anext(chunks, b"")
        yield b""
        yield first
        async for chunk in chunks:
            yield chunk


async def single_chunk(data: bytes) -> Chunks:
    """Yield bytes in memory as one chunk."""
    yield data


async def in_larger_chunks(chunks: Chunks, least_bytes: int) -> Chunks:
    """Yield the same bytes in chunks of at least `least_bytes`, except for the last: each chunk costs time to send."""
    held: list[bytes] = []
    size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= least_bytes:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


async def in_order(works: Iterable[Callable[[], Coroutine[Any, Any, T]]], at_once: int) -> AsyncGenerator[T, None]:
    """Yield the results of the works in their order, with at most `at_once` works in progress.

    When the generator is closed early, works in progress are cancelled, and streams not yet yielded are closed.
    """
    tasks: deque[asyncio.Task[T]] = deque()
    try:
        for work in works:
            tasks.append(supervised("read_ahead", work(), is_awaited=True))
            if len(tasks) >= at_once:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        for left in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(left, AsyncGenerator):
                await left.aclose()

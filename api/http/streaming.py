"""Responses whose body comes while it goes out."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

Chunks = AsyncGenerator[bytes, None]


class Streamed(Response):
    """A body in chunks, its size known or not. What its source raises breaks the response off."""

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
        """Send the chunks as they come, until the client has gone; to HEAD none (nothing is read for them then)."""
        try:
            if scope["method"] == "HEAD":
                await self._begin(send)
            else:
                # What fails before the first chunk is still an answer of its own.
                self.chunks = await begun(self.chunks)
                await self._begin(send)
                if not await self._sent(receive, send):
                    return
        finally:
            await self.chunks.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _sent(self, receive: Receive, send: Send) -> bool:
        """Send every chunk; say whether the client was there to the end."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if gone.done():
                    return False
        finally:
            gone.cancel()
        return True


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def begun(chunks: Chunks) -> Chunks:
    """Return the same chunks once the first is there."""
    try:
        first = await anext(chunks, b"")
    except BaseException:
        await chunks.aclose()
        raise
    return _after(first, chunks)


async def _after(first: bytes, chunks: Chunks) -> Chunks:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


async def once(data: bytes) -> Chunks:
    """Return bytes that are here already."""
    yield data


async def joined(chunks: Chunks, least_bytes: int) -> Chunks:
    """Return the same bytes in chunks of at least this size, the last one but for: each costs a turn of the server."""
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


async def in_order(works: Iterable[Callable[[], Awaitable[T]]], at_once: int) -> AsyncGenerator[T, None]:
    """Return the results in the order of the works, so many of them under way at a time.

    When it is closed early, what is under way is ended and what nobody took is closed.
    """
    tasks: deque[asyncio.Future[T]] = deque()
    try:
        for work in works:
            tasks.append(asyncio.ensure_future(work()))
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


@asynccontextmanager
async def closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Close what gives the chunks when nobody wants more, so that its connection is free at once."""
    try:
        yield chunks
    finally:
        close: Any = getattr(chunks, "aclose", None)
        if close is not None:
            await close()

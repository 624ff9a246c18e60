"""Responses whose body comes while it goes out."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class Streamed(Response):
    """A body in chunks, its size known or not. What its source raises breaks the response off."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], media_type: str, size_bytes: int | None = None) -> None:
        super().__init__(media_type=media_type)
        self.chunks = chunks
        del self.headers["content-length"]
        if size_bytes is not None:
            self.headers["content-length"] = str(size_bytes)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks as they come, until the client has gone."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if gone.done():
                    return
        finally:
            gone.cancel()
            await self.chunks.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def begun(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Give the same chunks once the first is there: what fails before is still an answer of its own."""
    first = await anext(chunks, b"")
    return _after(first, chunks)


async def _after(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


async def in_order(works: Iterable[Callable[[], Awaitable[T]]], at_once: int) -> AsyncGenerator[T, None]:
    """Give the results in the order of the works, so many of them under way at a time."""
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
        await asyncio.gather(*tasks, return_exceptions=True)

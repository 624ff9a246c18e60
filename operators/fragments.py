"""Encapsulated pixel data as the stream that its fragments make up, while it comes (PS3.5 A.4)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from operators.errors import Rejected
from operators.frames import ITEM, ITEM_HEADER, SEQUENCE_END
from operators.header import Reason


async def joined(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Give what the fragments hold, without their headers and without the offset table, which is the first item.

    `chunks` begin at the table and may be cut anywhere. Raises Rejected(BAD_FRAME) where an item should begin.
    """
    rest, left, items = b"", 0, 0
    async with aclosing(chunks):
        async for chunk in chunks:
            waiting, at = rest + chunk, 0
            while at < len(waiting):
                if left:
                    piece = waiting[at : at + left]
                    at, left = at + len(piece), left - len(piece)
                    if items > 1:
                        yield piece
                elif len(waiting) - at < ITEM_HEADER.size:
                    break
                else:
                    tag, left = _item(waiting, at)
                    if tag == SEQUENCE_END:
                        return
                    at, items = at + ITEM_HEADER.size, items + 1
            rest = waiting[at:]


def _item(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Give an item's tag and length, or the tag that ends them."""
    group, element, length = ITEM_HEADER.unpack_from(data, at)
    if (group, element) not in (ITEM, SEQUENCE_END):
        raise Rejected(Reason.BAD_FRAME.value)
    return (group, element), length

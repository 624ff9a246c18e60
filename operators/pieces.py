"""Long work that is done in pieces, so that an event loop can serve others between them.

A data set within the limits of its structure can cost a second to examine, and an ordinary one costs 40 us. A thread
would not help others: it keeps the interpreter for 5 ms whenever the event loop wants to go on.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Work that yields after each of its pieces, and returns its result after the last; short work yields nothing.
Pieces = Generator[None, None, R]

# The most steps of a piece through sequences; a step takes up to 4 us.
PIECE_STEPS = 1_000
# The most elements of a data set, or fragments of its pixels, in a piece; each takes less than 1 us.
PIECE_LENGTH = 2_000


def finished(work: Pieces[R]) -> R:
    """Return the result of work that is done without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: R = stop.value
            return result


def in_pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in order, in slices of at most PIECE_LENGTH."""
    for start in range(0, len(items), PIECE_LENGTH):
        yield items[start : start + PIECE_LENGTH]

"""A sample of a sequence, spread evenly."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def sample(every: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items, at even distances."""
    return list(every[:: -(-len(every) // most)]) if every and most else []

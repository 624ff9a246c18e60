"""What the checks of parsers share: cuts of an input, and the outcome of a parser that may reject it."""

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from operators.errors import Rejected

CT = "1.2.840.10008.5.1.4.1.1.2"


def cut(stream: bytes, seed: int) -> Iterator[bytes]:
    """Cut a stream into pieces at places that a seed determines."""
    chance = random.Random(seed)
    cuts = (chance.randrange(len(stream) + 1) for _ in range(chance.randrange(12)))
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        yield stream[start:end]


def outcome(parse: Callable[[bytes], Any], data: bytes) -> Any:
    """Return what a parser returns for these bytes, or the reason with which it rejects them."""
    try:
        return parse(data)
    except Rejected as rejected:
        return rejected.reason


def must_be(rejected: Rejected, reasons: frozenset[str]) -> None:
    """Raise a rejection whose reason is none of these."""
    if rejected.reason not in reasons:
        raise rejected

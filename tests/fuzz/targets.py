"""The targets of fuzzing: each is a parser of bytes from the network, as a function that checks what it promises.

The first bytes of an input choose a variant (a transfer syntax, a way to cut the rest). A target returns nothing;
anything that it raises is a finding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.parsers.data_sets import check_header, check_metadata, check_part10, header_seeds, part10_seeds
from tests.fuzz.parsers.multipart import check_multipart, multipart_seeds
from tests.fuzz.parsers.requests import accept_seeds, check_accept, check_query, query_seeds
from tests.fuzz.parsers.upper_layer import check_upper_layer, upper_layer_seeds


@dataclass(frozen=True)
class Target:
    """One parser: the check of its promises, and the inputs to begin with."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


TARGETS = {
    "header": Target(check_header, header_seeds),
    "metadata": Target(check_metadata, header_seeds),
    "part10": Target(check_part10, part10_seeds),
    "upper_layer": Target(check_upper_layer, upper_layer_seeds),
    "multipart": Target(check_multipart, multipart_seeds),
    "query": Target(check_query, query_seeds),
    "accept": Target(check_accept, accept_seeds),
}
FOLDER = Path(__file__).parent / "corpus"


def former_findings(name: str) -> list[bytes]:
    """Return the inputs of a target that once were findings."""
    return [path.read_bytes() for path in sorted((FOLDER / name).glob("*"))]

"""Every fuzzing target passes a short run: its seeds, its former findings, and mutations of both.

The long run is `python -m tests.fuzz`.
"""

import random
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.fuzz.targets import TARGETS, Target, former_findings

INPUTS = 2_000
INPUT_S = 2.0
INPUT_BYTES = 64 << 20
INTERESTING = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xfe\xff\x00\xe0",
    b"\x1b",
    b"\r\n",
    b"--B",
    b"*",
    b",",
)


def mutated(seeds: list[bytes], count: int) -> Iterator[bytes]:
    chance = random.Random(20)
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data) + 1)
            few = chance.choice([*INTERESTING, chance.randbytes(chance.randrange(1, 9))])
            change = chance.randrange(4)
            if change == 0:
                data[at : at + len(few)] = few
            elif change == 1:
                data[at:at] = few
            elif change == 2:
                del data[at : at + chance.randrange(1, 16)]
            else:
                other = chance.choice(seeds)
                data[at:] = other[chance.randrange(len(other) + 1) :]
        yield bytes(data)


@pytest.fixture(params=sorted(TARGETS))
def target(request: pytest.FixtureRequest) -> tuple[Target, list[bytes]]:
    found: Target = TARGETS[request.param]
    return found, [*found.seeds(), *former_findings(request.param)]


@pytest.mark.filterwarnings("ignore")
def test_no_input_makes_a_target_raise_or_take_long(target: tuple[Target, list[bytes]]) -> None:
    one, seeds = target
    slowest_s = 0.0
    for data in (*seeds, *mutated(seeds, INPUTS)):
        began = time.process_time()
        one.check(data)
        slowest_s = max(slowest_s, time.process_time() - began)

    assert slowest_s < INPUT_S


@pytest.mark.filterwarnings("ignore")
def test_no_input_makes_a_target_take_much_memory(target: tuple[Target, list[bytes]]) -> None:
    one, seeds = target
    tracemalloc.start()
    try:
        for data in (*seeds, *mutated(seeds, INPUTS // 20)):
            one.check(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < INPUT_BYTES

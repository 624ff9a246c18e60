"""What one measured piece of work has cost: CPU until its archive is idle again, peak memory, the business of others."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from deploy.local.supervision.processes import Process
from tests.bench.machine import usage
from tests.bench.machine.usage import Usage

Heads = Callable[[], Mapping[str, Process]]

SAMPLE_S = 0.5
# An archive is idle when it takes less than this share of one processor for this long; an idle stack takes a tenth.
IDLE_SHARE = 0.25
IDLE_S = 1.0
IDLE_WITHIN_S = 30.0


@dataclass
class Cost:
    """The cost of a piece of work; complete when metered() has ended."""

    used: Usage = field(default_factory=lambda: Usage({}, 0, 0))
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def others(self) -> float:
        """Return how many processors others have used in the mean."""
        return self.used.others / self.seconds if self.seconds else 0.0


@contextmanager
def metered(heads: Heads) -> Iterator[Cost]:
    """Measure the work of the block, and what its archive still does afterwards, until it is idle."""
    cost, over = Cost(), threading.Event()
    sampler = threading.Thread(target=sample_memory, args=(heads, cost, over))
    before, began = usage.read(heads()), time.monotonic()
    sampler.start()
    try:
        yield cost
        after, ended = idle_since(heads)
        cost.used, cost.seconds = after.since(before), ended - began
    finally:
        over.set()
        sampler.join()


def sample_memory(heads: Heads, cost: Cost, over: threading.Event) -> None:
    """Keep the largest of the archive's sizes until it is over."""
    while not over.wait(SAMPLE_S):
        cost.peak_bytes = max(cost.peak_bytes, usage.memory_bytes(heads().values()))


def idle_since(heads: Heads) -> tuple[Usage, float]:
    """Wait until the archive is idle; return what was used before it became idle, and when it did (monotonic clock).

    After IDLE_WITHIN_S the work counts as done, busy or not.
    """
    deadline = time.monotonic() + IDLE_WITHIN_S
    while True:
        before, began = usage.read(heads()), time.monotonic()
        time.sleep(IDLE_S)
        now = usage.read(heads())
        if now.since(before).total < IDLE_SHARE * (time.monotonic() - began) or time.monotonic() > deadline:
            return before, began

"""Ingest at both doors: kinds of instances, numbers of senders, all archives in turns."""

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx

from tests.bench.archives import FLUORO, Archive
from tests.bench.ingest import loads, senders
from tests.bench.ingest.loads import Load, Maker
from tests.bench.machine.meter import metered
from tests.bench.plan import Plan, say
from tests.bench.report.rounds import BYTES, ITEMS, Round, Row, Unit, rows
from tests.support.machine.debian_tools import Programs

QUERYABLE_S = 120.0
POLL_S = 0.05

# Sends a load; returns the seconds of each answer, where they are known.
Send = Callable[[Archive, Load], list[float]]


@dataclass(frozen=True)
class Work:
    """One kind of load: so many senders with so many instances each."""

    name: str
    unit: Unit
    make: Maker
    senders: int
    each: int
    is_stow: bool = False

    def send(self, programs: Programs) -> Send:
        """Return what sends it."""
        return senders.stow if self.is_stow else partial(senders.storescu, programs)


CT = Work("CT of 531 KB, 4 senders", BYTES, loads.ct, 4, 120)
WORKS = (
    CT,
    Work("CT of 531 KB, 1 sender", BYTES, loads.ct, 1, 160),
    Work("CT of 531 KB, 20 senders", BYTES, loads.ct, 20, 10),
    Work("2.9 KB, 6 senders", ITEMS, loads.small, 6, 150),
    Work("30 MB, 4 senders", BYTES, loads.large, 4, 2),
    Work("STOW-RS, CT of 531 KB, 4 clients", ITEMS, loads.ct, 4, 40, is_stow=True),
)
FIRST = "CT of 531 KB, 4 senders, the first 480 after a start"


def section(plan: Plan) -> list[Row]:
    """Return the rows of all loads; the first round warms the servers up, and only its first load counts, as cold."""
    measured: dict[str, dict[str, list[Round]]] = defaultdict(lambda: defaultdict(list))
    for number in range(plan.rounds + 1):
        for work in WORKS:
            say(f"round {number} of {plan.rounds}: {work.name}")
            for name, one in in_turns(plan, number, work).items():
                measured[work.name if number else f"{work.name}, cold"][name].append(one)
    cold = rows(FIRST, BYTES, measured[f"{CT.name}, cold"], FLUORO) if plan.is_fresh else []
    return [*cold, *(row for work in WORKS for row in rows(work.name, work.unit, measured[work.name], FLUORO))]


def in_turns(plan: Plan, number: int, work: Work) -> dict[str, Round]:
    """Send the same new studies to each archive; return the round of each."""
    with plan.files() as folder:
        load = work.make(work.senders, work.each, next(plan.seeds), folder)
        lines = [sample.line for sample in load.samples]
        plan.ledger.plan(lines)
        found = {
            archive.name: measure(archive, load, work.send(plan.dcmtk), work.unit) for archive in plan.in_turns(number)
        }
        plan.ledger.answers(lines, "acked", "0000")
    return found


def measure(archive: Archive, load: Load, send: Send, unit: Unit) -> Round:
    """Send a load, wait until all of it is queryable and the archive is idle; return the round."""
    # What another archive has left for the disk would delay this one's syncs.
    os.sync()
    with metered(archive.heads) as cost:
        began = time.monotonic()
        times_s = send(archive, load)
        seconds = time.monotonic() - began
        until_queryable(archive, load)
    amount = load.size_bytes if unit is BYTES else len(load.samples)
    one = Round(amount, seconds, cost.used.families, cost.peak_bytes, cost.others, times_s)
    say(f"  {archive.name}: {one.line(unit)}")
    return one


def until_queryable(archive: Archive, load: Load) -> None:
    """Wait until QIDO counts every instance of every study; raises TimeoutError when it does not in time."""
    deadline = time.monotonic() + QUERYABLE_S
    with httpx.Client(timeout=QUERYABLE_S) as client:
        for study_uid, instances in load.studies().items():
            while archive.counted(client, study_uid) != instances:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{archive.name}: not all was queryable {QUERYABLE_S:.0f} s after the last answer"
                    )
                time.sleep(POLL_S)

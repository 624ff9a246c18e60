"""The delay until an acknowledged instance is queryable, at a steady rate.

    python -m tests.bench.latency --data FOLDER [--rate 116 --seconds 60 --size 512]

FOLDER is the data folder of a running stack. Instances are sent over several associations, each with one study at a
time, as modalities do. The delay of an instance starts when its C-STORE response is received and ends when the first QIDO
answer that lists it is received. One search every 20 ms asks for all instances that were not seen yet, by a list of UIDs;
a figure is therefore too high by up to one period plus one answer, both of which are printed.
"""

import argparse
import itertools
import math
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local.running import RunningStack
from tests.audit.address import ArchiveAddress
from tests.audit.auditor import audit
from tests.audit.collect.api import Api, one
from tests.audit.ledger import Line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.arguments import amount, count
from tests.support.machine.running_stack import address_of, cpu_seconds, ledgers_of, new_ledger, running_stack
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer

PERIOD_S = 0.020
# UIDs in one search: 100 UIDs make a URL of 4.5 KB.
MOST = 100
SLICES = 100
BOUND_S = 60.0
P99_GOAL_S = 1.0


@dataclass
class Clock:
    """The times at which each instance was due, acknowledged and seen, by SOP Instance UID, in monotonic seconds.

    `over` is set when nothing more is sent.
    """

    due: dict[str, float] = field(default_factory=dict)
    acked: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    periods: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def unseen(self) -> list[str]:
        """Return the instances that were acknowledged but not seen yet, oldest first."""
        return [uid for uid in list(self.acked) if uid not in self.seen]

    def delays(self) -> list[float]:
        """Return the seconds from acknowledged to queryable, in order of size."""
        return sorted(self.seen[uid] - acked for uid, acked in self.acked.items() if uid in self.seen)

    def late(self) -> list[float]:
        """Return the seconds from due to acknowledged, in order of size."""
        return sorted(acked - self.due[uid] for uid, acked in self.acked.items())


def made(volume: Volume) -> list[Instance]:
    """Return the instances of a volume, which all share the pixels of the first: no one looks at pixels here."""
    every = instances(volume)
    first = next(every)
    return [first, *(replace(one, pixels=first.pixels) for one in every)]


def send(studies: Sequence[Sequence[Instance]], peer: Peer, clock: Clock, start: float, every_s: float) -> None:
    """Send one lane's studies, each over an association of its own, an instance every `every_s` seconds."""
    due = itertools.count()
    for study in studies:
        with associated(peer, study[0].sop_class, study[0].transfer_syntax) as association:
            for instance in study:
                moment = start + next(due) * every_s
                if clock.over.wait(max(0.0, moment - time.monotonic())):
                    return
                clock.due[instance.sop_uid] = moment
                if answer := association.store(instance):
                    clock.failed.append(answer)
                else:
                    clock.acked[instance.sop_uid] = time.monotonic()


def watch(address: ArchiveAddress, clock: Clock) -> None:
    """Search for acknowledged instances until, after the end, all were seen or BOUND_S are over."""
    until, last = float("inf"), time.monotonic()
    with Api(address) as api:
        while last < until and not (clock.over.is_set() and not clock.unseen()):
            look(api, clock)
            time.sleep(max(0.0, last + PERIOD_S - time.monotonic()))
            now = time.monotonic()
            clock.periods.append(now - last)
            last = now
            if clock.over.is_set():
                until = min(until, now + BOUND_S)


def look(api: Api, clock: Clock) -> None:
    """Search once for the instances that were not seen yet."""
    if wanted := clock.unseen()[:MOST]:
        asked = time.monotonic()
        found = api.search("instances", SOPInstanceUID=",".join(wanted), limit=MOST)
        now = time.monotonic()
        clock.answers.append(now - asked)
        clock.seen.update((one(row, "00080018"), now) for row in found)


def run(lanes: Sequence[Sequence[Sequence[Instance]]], archive: RunningStack, rate: float) -> Clock:
    """Send over all lanes at a total rate (instances/s) while a thread searches; return the times."""
    clock = Clock()
    every_s, start = len(lanes) / rate, time.monotonic() + 0.2
    watcher = threading.Thread(target=watch, args=(address_of(archive), clock))
    senders = [
        threading.Thread(target=send, args=(lane, Peer(archive.dimse_port), clock, start + number / rate, every_s))
        for number, lane in enumerate(lanes)
    ]
    for thread in (watcher, *senders):
        thread.start()
    try:
        for sender in senders:
            sender.join()
    finally:
        # Also when we are stopped: the threads end before the stack does.
        clock.over.set()
        for thread in (*senders, watcher):
            thread.join()
    return clock


def split(every: Sequence[Instance], lanes: int) -> list[list[list[Instance]]]:
    """Divide instances over lanes, whole studies to each."""
    studies = [list(study) for _, study in itertools.groupby(every, lambda instance: instance.study_uid)]
    return [studies[lane::lanes] for lane in range(lanes)]


def at(share: float, ordered: Sequence[float]) -> float:
    """Return a percentile of values in order of size, in milliseconds."""
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def figures(name: str, ordered: Sequence[float]) -> str:
    """Return a line of percentiles."""
    parts = "".join(f"{what} {at(share, ordered):8.0f}  " for what, share in (("p50", 0.5), ("p99", 0.99), ("max", 1)))
    return f"{name:<36}ms  {parts}"


def report(clock: Clock, sent: int, cpu_s: dict[str, float]) -> str:
    """Return the figures as lines."""
    span = max(clock.acked.values()) - min(clock.acked.values())
    return "\n".join(
        [
            f"{len(clock.acked)} of {sent} acknowledged at {len(clock.acked) / span:.1f}/s, {len(clock.seen)} seen",
            figures("acknowledged to queryable", clock.delays()),
            figures("due to acknowledged", clock.late()),
            figures("one search", sorted(clock.answers)),
            figures("from search to search", sorted(clock.periods)),
            "CPU: " + ", ".join(f"{name} {100 * used / span:.0f} %" for name, used in cpu_s.items()),
        ]
    )


def main() -> None:
    """Measure from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted.add_argument("--data", type=Path, required=True, help="data folder of a stack that runs")
    wanted.add_argument("--rate", type=amount, default=116.0, help="instances/s in all")
    wanted.add_argument("--seconds", type=amount, default=60.0)
    wanted.add_argument("--size", type=count(1), default=64, help="rows and columns; 512 is a full CT slice of 531 KB")
    wanted.add_argument("--associations", type=count(1), default=6)
    wanted.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="another seed, other studies")
    given = wanted.parse_args()
    archive = running_stack(given.data)
    # The same number of studies for each lane, or the rate would drop towards the end.
    studies = given.associations * math.ceil(given.rate * given.seconds / SLICES / given.associations)
    every = made(Volume(studies=studies, slices=SLICES, size=given.size, seed=given.seed))
    before = cpu_seconds(archive)
    clock = run(split(every, given.associations), archive, given.rate)
    used = {name: value - before[name] for name, value in cpu_seconds(archive).items()}
    sys.stdout.write(report(clock, len(every), used) + "\n")
    remember(every, clock, archive)
    began = time.monotonic()
    verdict = audit(address_of(archive), ledgers_of(archive), wait_s=BOUND_S)
    sys.stdout.write(f"audited in {time.monotonic() - began:.1f} s: {verdict.line}\n")
    sys.exit(0 if verdict.clean and at(0.99, clock.delays()) <= 1000 * P99_GOAL_S else 1)


def remember(every: Sequence[Instance], clock: Clock, archive: RunningStack) -> None:
    """Write the ledger after the measurement, which writing it meanwhile would slow down."""
    lines = [line(instance) for instance in every]
    with new_ledger(archive) as ledger:
        ledger.plan(lines)
        ledger.answers([one for one in lines if one.sop_uid in clock.acked], "acked", "0000")


def line(instance: Instance) -> Line:
    """Return an instance's ledger line."""
    uids = instance.study_uid, instance.series_uid, instance.sop_uid
    return Line("planned", "local", *uids, instance.data_hash, instance.transfer_syntax, instance.canary)


if __name__ == "__main__":
    main()

"""The effect of hostile sockets on a legitimate sender at the same address: its C-STOREs before, during and after.

    python -m tests.bench.hostile --data FOLDER [--sockets 200 --seconds 60]

FOLDER is the data folder of a running stack. Exit status 0 when nothing was refused to the sender, its p99 did not more
than double, no process of the gateway took more than 512 MiB, and no hostile socket was open 30 s later.
"""

import argparse
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.audit.ledger import Ledger
from tests.bench.attackers import attack_from_here, large_line
from tests.bench.latency import at, line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.arguments import amount, count
from tests.support.machine.running_stack import new_ledger, processes_of, running_stack
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer

PACE_S = 0.05
# The sender opens an association for every 20 instances, as modalities do.
INSTANCES = 20
MOST_BYTES = 512 << 20
PHASES = ("before", "during", "after")


@dataclass
class Experience:
    """The experience of the sender in one phase: seconds of each answer and of each association, what was refused."""

    stores: list[float] = field(default_factory=list)
    associations: list[float] = field(default_factory=list)
    acked: list[Instance] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """The plan of an attack: its sockets and seconds, the quiet seconds before and after it, and the seconds of grace."""

    sockets: int = 200
    seconds: float = 60.0
    quiet_s: float = 30.0
    grace_s: float = 30.0


@dataclass(frozen=True)
class Attacked:
    """The result of an attack: the sender's experience by phase, attackers by kind, the largest process in bytes."""

    experience: dict[str, Experience]
    attackers: dict[str, tuple[int, int, int]]
    rss_bytes: int

    @property
    def held(self) -> int:
        """Return how many hostile sockets were still open after the grace period."""
        return sum(still for _, _, still in self.attackers.values())

    @property
    def acked(self) -> list[Instance]:
        """Return the instances that were acknowledged."""
        return [instance for experience in self.experience.values() for instance in experience.acked]

    def p99_ms(self, phase: str) -> float:
        """Return the 99th percentile of the C-STORE answers of a phase, in milliseconds."""
        return at(0.99, sorted(self.experience[phase].stores))

    @property
    def verdict(self) -> dict[str, bool]:
        """Return each requirement, and True if it was met."""
        return {
            "nothing was refused to the sender": not any(experience.refused for experience in self.experience.values()),
            "its p99 did not more than double": self.p99_ms("during") <= 2 * self.p99_ms("before"),
            "no process took over 512 MiB": self.rss_bytes <= MOST_BYTES,
            "no hostile socket was open 30 s later": self.held == 0,
        }


class Sender:
    """A sender that stores an instance every PACE_S and records how long each answer took, in the current phase."""

    def __init__(self, peer: Peer, every: Iterator[Instance]) -> None:
        self.experience = {phase: Experience() for phase in PHASES}
        self.phase = PHASES[0]
        self._peer = peer
        self._every = every
        self._over = threading.Event()

    def run(self) -> None:
        """Send until stop() is called."""
        while not self._over.is_set():
            experience, began = self.experience[self.phase], time.monotonic()
            try:
                self._associate(began)
            except (OSError, ValueError) as error:
                experience.refused.append(type(error).__name__)
                self._over.wait(PACE_S)

    def stop(self) -> None:
        """End once the open association is released."""
        self._over.set()

    def _associate(self, began: float) -> None:
        first = next(self._every)
        with associated(self._peer, first.sop_class, first.transfer_syntax) as association:
            self.experience[self.phase].associations.append(time.monotonic() - began)
            for instance in (first, *(next(self._every) for _ in range(INSTANCES - 1))):
                experience, began = self.experience[self.phase], time.monotonic()
                status = association.store(instance)
                experience.stores.append(time.monotonic() - began)
                experience.acked.append(instance) if status == 0 else experience.refused.append(f"{status:04X}")
                if self._over.wait(max(0.0, PACE_S - (time.monotonic() - began))):
                    return


@contextmanager
def sending(sender: Sender) -> Iterator[None]:
    """Run a sender in a thread during the block."""
    thread = threading.Thread(target=sender.run)
    thread.start()
    try:
        yield
    finally:
        sender.stop()
        thread.join()


def measure(sender: Sender, peer: Peer, gateway: Callable[[], Sequence[psutil.Process]], plan: Plan) -> Attacked:
    """Attack while the sender sends, and return the result; `gateway` returns the processes to watch."""
    rss_bytes = 0
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    attack = multiprocessing.get_context("spawn").Process(
        target=attack_from_here, args=(theirs, peer, plan.sockets, plan.seconds, plan.grace_s)
    )
    with sending(sender):
        time.sleep(plan.quiet_s)
        attack.start()
        sender.phase = "during"
        until = time.monotonic() + plan.seconds
        while time.monotonic() < until:
            rss_bytes = max(rss_bytes, *(process.memory_info().rss for process in gateway()))
            time.sleep(0.2)
        sender.phase = "after"
        time.sleep(plan.quiet_s)
    attackers = ours.recv()
    attack.join()
    return Attacked(sender.experience, attackers, rss_bytes)


def record(found: Attacked, ledger: Ledger) -> None:
    """Write down what was acknowledged to the sender, and what the attackers may have brought into quarantine."""
    lines = [line(instance) for instance in found.acked]
    ledger.plan([*lines, large_line()])
    ledger.answers(lines, "acked", "0000")


def report(found: Attacked) -> str:
    """Return the figures as lines."""
    lines = [
        f"{phase:<8} {len(experience.stores):5} stored, p50 {at(0.5, sorted(experience.stores)):7.1f} ms, "
        f"p99 {found.p99_ms(phase):7.1f} ms, associated in {at(0.99, sorted(experience.associations)):7.1f} ms (p99), "
        f"refused {experience.refused[:5] or 'nothing'}"
        for phase, experience in found.experience.items()
    ]
    lines += [
        f"{name:<16} {there:4} sockets, called {calls:5} times, {still} open at last"
        for name, (there, calls, still) in found.attackers.items()
    ]
    lines += [f"largest process of the gateway {found.rss_bytes / 2**20:.0f} MiB"]
    return "\n".join([*lines, *(f"{'yes' if kept else 'NO '} {bar}" for bar, kept in found.verdict.items())])


def main() -> int:
    """Measure from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    wanted.add_argument("--data", type=Path, required=True, help="data folder of a stack that runs")
    wanted.add_argument("--sockets", type=count(1), default=Plan.sockets)
    wanted.add_argument("--seconds", type=amount, default=Plan.seconds)
    wanted.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="another seed, other studies")
    given = wanted.parse_args()
    archive = running_stack(given.data)
    peer = Peer(archive.dimse_port, ae_title=archive.ae_title)
    every = instances(Volume(studies=100, slices=100, size=128, seed=given.seed))
    sender = Sender(peer, every)
    found = measure(sender, peer, lambda: processes_of(archive, "gateway"), Plan(given.sockets, given.seconds))
    with new_ledger(archive) as ledger:
        record(found, ledger)
    sys.stdout.write(report(found) + "\n")
    return 0 if all(found.verdict.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

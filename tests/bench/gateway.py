"""The CPU cost of one gateway process: seconds per GB, in user and system time.

    python -m tests.bench.gateway --data FOLDER [--slices 800 --senders 4 --rounds 4]

FOLDER is the data folder of a running stack, whose store and broker serve the measured gateway. The senders need little
CPU. On a busy machine the lowest of the rounds counts: other programs can only add to it.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.latency import made
from tests.support.data.generate import Instance, Volume
from tests.support.machine.arguments import count
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.machine.running_stack import end_on_term, running_stack
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer


@dataclass(frozen=True)
class Round:
    """The figures of one round: gigabytes, seconds, and the gateway's user and system seconds."""

    gigabytes: float
    seconds: float
    user_s: float
    system_s: float

    def __str__(self) -> str:
        each = [(self.user_s + self.system_s), self.user_s, self.system_s]
        total, user, system = (seconds / self.gigabytes for seconds in each)
        rate = 1000 * self.gigabytes / self.seconds
        return f"{total:6.2f} CPU s/GB ({user:.2f} user, {system:.2f} system) at {rate:.0f} MB/s"


def measure(process: psutil.Process, lanes: Sequence[Sequence[Instance]], peer: Peer) -> Round:
    """Send every lane over an association of its own, and return the figures."""
    senders = [threading.Thread(target=send, args=(lane, peer)) for lane in lanes]
    before, began = process.cpu_times(), time.monotonic()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    seconds, after = time.monotonic() - began, process.cpu_times()
    size_bytes = sum(len(part) for lane in lanes for instance in lane for part in instance.parts)
    return Round(size_bytes / 1e9, seconds, after.user - before.user, after.system - before.system)


def send(lane: Sequence[Instance], peer: Peer) -> None:
    """Send instances over one association; raises RuntimeError when one is refused."""
    with associated(peer, lane[0].sop_class, lane[0].transfer_syntax) as association:
        for instance in lane:
            if status := association.store(instance):
                raise RuntimeError(f"refused with {status:04X}")


def main() -> None:
    """Measure from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted.add_argument("--data", type=Path, required=True, help="data folder of a stack that runs")
    wanted.add_argument("--slices", type=count(1), default=800, help="no fewer than senders")
    wanted.add_argument("--senders", type=count(1), default=4)
    wanted.add_argument("--rounds", type=count(1), default=4)
    given = wanted.parse_args()
    if given.slices < given.senders:
        wanted.error("--slices: each sender needs one")
    end_on_term()
    archive, port = running_stack(given.data), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="fluoro-bench-") as folder,
        gateway(archive, Path(folder), port, {}) as head,
    ):
        (process,) = psutil.Process(head.pid).children()
        for _ in range(given.rounds):
            each = given.slices // given.senders
            every = made(Volume(studies=given.senders, slices=each, seed=time.time_ns() % 10**9))
            lanes = [every[start : start + each] for start in range(0, len(every), each)]
            sys.stdout.write(f"{measure(process, lanes, Peer(port))}\n")


if __name__ == "__main__":
    main()

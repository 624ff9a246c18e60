"""Many senders against few: the rate at which CT slices come in from 20 and from 4 senders, at both doors, in turns.

    python -m tests.bench.many_senders --data FOLDER [--instances 240 --rounds 3 --size 512]

FOLDER is the data folder of a running stack. Prints the rate of each round and the CPU seconds per GB of each server, for
each door and number of senders. Exit status 0 when, at each door, the best rate of the many is at least 90 % of the best
rate of the few: the rest is the machine's noise.
"""

import argparse
import http.client
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.running import RunningStack
from tests.audit.ledger import Line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.arguments import count
from tests.support.machine.running_stack import cpu_seconds, new_ledger, running_stack
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer
from tests.support.senders.stow import CONTENT_TYPE, HEAD, TAIL

FEW, MANY = 4, 20
AT_ONCE = 4
NOISE = 0.9
AGAIN_S = 0.1
PATIENCE_S = 120.0

# Sends a share of instances over one connection.
Send = Callable[[Sequence[Instance]], None]


@dataclass
class Figures:
    """The figures of a door with a number of senders: MB/s of each round, CPU seconds by server, bytes in all."""

    rates: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    size_bytes: int = 0

    def add(self, size_bytes: int, seconds: float, cpu_s: Mapping[str, float]) -> None:
        """Add the figures of a round."""
        self.rates.append(size_bytes / seconds / 1e6)
        self.size_bytes += size_bytes
        for name, used in cpu_s.items():
            self.cpu_s[name] += used

    def line(self, what: str) -> str:
        """Return the figures as a line."""
        rates = " ".join(f"{rate:.0f}" for rate in self.rates)
        per_gb = ", ".join(f"{name} {used / self.size_bytes * 1e9:.1f}" for name, used in sorted(self.cpu_s.items()))
        return f"{what:<18}{max(self.rates):6.1f} MB/s ({rates})   CPU s/GB: {per_gb}"


def dimse(peer: Peer, share: Sequence[Instance]) -> None:
    """Send over one association."""
    with associated(peer, share[0].sop_class, share[0].transfer_syntax) as association:
        for instance in share:
            while (status := association.store(instance)) >> 8 == 0xA7:
                time.sleep(AGAIN_S)
            if status:
                raise RuntimeError(f"status {status:04X}")


def stow(origin: str, share: Sequence[Instance]) -> None:
    """Send over one connection, AT_ONCE instances in each request."""
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=PATIENCE_S)
    try:
        for start in range(0, len(share), AT_ONCE):
            post(connection, share[start : start + AT_ONCE])
    finally:
        connection.close()


def post(connection: http.client.HTTPConnection, some: Sequence[Instance]) -> None:
    """Store instances by one request, which is repeated while the archive is busy."""
    parts = [part for one in some for part in (HEAD, one.meta, *one.parts, b"\r\n")]
    headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(sum(map(len, parts)) + len(TAIL))}
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            connection.request("POST", "/dicomweb/studies", iter([*parts, TAIL]), headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            # The archive refused the request and closed the connection before it read the body.
            connection.close()
        else:
            if response.status == http.client.OK:
                return
            if response.status != http.client.SERVICE_UNAVAILABLE:
                raise RuntimeError(f"status {response.status}")
        time.sleep(AGAIN_S)
    raise TimeoutError("never stored")


def timed(load: Sequence[Instance], senders: int, send: Send) -> float:
    """Send a load divided over senders; return the seconds until the last answer."""
    with ThreadPoolExecutor(senders) as pool:
        began = time.monotonic()
        list(pool.map(send, [load[number::senders] for number in range(senders)]))
        return time.monotonic() - began


def line_of(one: Instance) -> Line:
    """Return an instance's ledger line."""
    return Line(
        "acked",
        "local",
        one.study_uid,
        one.series_uid,
        one.sop_uid,
        one.data_hash,
        one.transfer_syntax,
        one.canary,
    )


def measured(archive: RunningStack, rounds: int, volume: Volume) -> dict[tuple[str, int], Figures]:
    """Send new slices in each round, by few and by many senders in turns, at each door; return the figures."""
    doors: dict[str, Send] = {
        "dimse": partial(dimse, Peer(archive.dimse_port, patience_s=PATIENCE_S)),
        "stow": partial(stow, archive.api_url),
    }
    figures: dict[tuple[str, int], Figures] = defaultdict(Figures)
    seed = volume.seed
    with new_ledger(archive) as ledger:
        for number in range(rounds + 1):
            for door, send in doors.items():
                for senders in (FEW, MANY) if number % 2 else (MANY, FEW):
                    seed += 1
                    load = list(instances(Volume(volume.studies, volume.slices, 1, volume.size, seed)))
                    ledger.plan(map(line_of, load))
                    before = cpu_seconds(archive)
                    seconds = timed(load, senders, send)
                    used = {name: now - before[name] for name, now in cpu_seconds(archive).items()}
                    ledger.answers(map(line_of, load), "acked", "0000")
                    # The first round warms the servers up.
                    if number:
                        size_bytes = sum(len(part) for one in load for part in one.parts)
                        figures[door, senders].add(size_bytes, seconds, used)
    return figures


def main() -> int:
    """Measure from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench.many_senders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    wanted.add_argument("--data", type=Path, required=True, help="data folder of a stack that runs")
    wanted.add_argument("--instances", type=count(MANY), default=240, help="in each round")
    wanted.add_argument("--rounds", type=count(1), default=3, help="after one that warms up")
    wanted.add_argument("--size", type=count(1), default=512, help="rows and columns")
    wanted.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="another seed, other studies")
    given = wanted.parse_args()
    volume = Volume(studies=2, slices=given.instances // 2, size=given.size, seed=given.seed)
    figures = measured(running_stack(given.data), given.rounds, volume)
    for (door, senders), one in sorted(figures.items()):
        sys.stdout.write(f"{one.line(f'{door}, {senders} senders')}\n")
    kept_up = [max(figures[door, MANY].rates) >= NOISE * max(figures[door, FEW].rates) for door in ("dimse", "stow")]
    return 0 if all(kept_up) else 1


if __name__ == "__main__":
    sys.exit(main())

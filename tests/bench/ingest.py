"""The rate of ingest: generated CT studies from parallel dcmtk senders, acknowledged after object and event.

    python -m tests.bench.ingest --data FOLDER [--studies 8 --slices 250 --senders 4]

FOLDER is the data folder of a running stack. Prints a small table; exit status 0 when everything is stored, the counts
are right and the auditor finds nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.running import RunningStack
from tests.audit.auditor import audit
from tests.audit.collect.api import Api
from tests.audit.ledger import Ledger, Line
from tests.support.data.generate import Volume, files
from tests.support.machine.arguments import count
from tests.support.machine.debian_tools import Programs, dcmtk
from tests.support.machine.running_stack import (
    address_of,
    cpu_seconds,
    end_on_term,
    ledgers_of,
    new_ledger,
    running_stack,
)
from tests.support.senders.files import sendable
from tests.support.senders.sender import Peer

BOUND_S = 120.0
SENDER_S = 900.0


@dataclass(frozen=True)
class Load:
    """The files to send, their ledger lines, and the number of parallel senders."""

    files: tuple[Path, ...]
    lines: tuple[Line, ...]
    senders: int

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(path.stat().st_size for path in self.files)

    def shares(self) -> list[list[Path]]:
        """Return the folders of the studies that each sender sends."""
        folders = sorted({path.parent for path in self.files})
        return [folders[sender :: self.senders] for sender in range(self.senders)]


@dataclass(frozen=True)
class Measured:
    """The figures of a run: seconds to the last answer, seconds until all was queryable, CPU seconds by server."""

    load: Load
    sent_s: float
    queryable_s: float
    cpu_s: Mapping[str, float]

    def table(self) -> str:
        """Return the figures as lines."""
        count, gigabytes = len(self.load.files), self.load.size_bytes / 1e9
        rows = [
            ("instances, of MB", f"{count}, {1000 * gigabytes / count:.3f}"),
            ("acknowledged in s", f"{self.sent_s:.2f}"),
            ("MB/s", f"{1000 * gigabytes / self.sent_s:.1f}"),
            ("instances/s", f"{count / self.sent_s:.0f}"),
            ("all queryable after s", f"{self.queryable_s:.2f}"),
        ]
        rows += [(f"CPU s/GB, {name}", f"{used / gigabytes:.2f}") for name, used in self.cpu_s.items()]
        return "\n".join(f"{name:<28}{value:>12}" for name, value in rows)


def made(volume: Volume, folder: Path, senders: int) -> Load:
    """Write the studies and return them as a load; reading their ledger lines puts the files into the page cache."""
    paths = files(volume, folder)
    return Load(tuple(paths), tuple(sendable(path, "local").line for path in paths), senders)


def measure(load: Load, archive: RunningStack, programs: Programs, ledger: Ledger) -> Measured:
    """Send a load, and wait until all of it is queryable."""
    ledger.plan(load.lines)
    before, began = cpu_seconds(archive), time.monotonic()
    commands = [store_command(programs, share, Peer(archive.dimse_port)) for share in load.shares()]
    environment = os.environ | programs.environment
    senders = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    failed = [sender.wait(SENDER_S) for sender in senders]
    sent_s = time.monotonic() - began
    if any(failed):
        raise RuntimeError(f"storescu ended with {failed}")
    ledger.answers(load.lines, "acked", "0000")
    with Api(address_of(archive)) as api:
        until_queryable(api, load)
    after = cpu_seconds(archive)
    used = {name: after[name] - before[name] for name in after}
    return Measured(load, sent_s, time.monotonic() - began, used)


def store_command(programs: Programs, folders: list[Path], peer: Peer) -> list[str]:
    """Return the command of one sender, which sends all its studies over one association."""
    options = ("--scan-directories", "--recurse", "--required", "-aec", peer.ae_title)
    return programs.command("storescu", *options, peer.host, peer.port, *folders)


def until_queryable(api: Api, load: Load) -> None:
    """Wait until QIDO counts every instance of every study."""
    wanted = {line.study_uid: 0 for line in load.lines}
    for line in load.lines:
        wanted[line.study_uid] += 1
    deadline = time.monotonic() + BOUND_S
    for study_uid, instances in wanted.items():
        while api.counted(study_uid) != instances:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not every instance was queryable {BOUND_S:.0f} s after the last answer")
            time.sleep(0.1)


def main() -> None:
    """Measure from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench.ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted.add_argument("--data", type=Path, required=True, help="data folder of a stack that runs")
    wanted.add_argument("--studies", type=count(1), default=8)
    wanted.add_argument("--slices", type=count(1), default=250, help="per study")
    wanted.add_argument("--size", type=count(1), default=512, help="rows and columns")
    wanted.add_argument("--senders", type=count(1), default=4, help="no more than studies")
    wanted.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="another seed, other studies")
    given = wanted.parse_args()
    if given.senders > given.studies:
        wanted.error("--senders: each needs a study of its own")
    end_on_term()
    archive = running_stack(given.data)
    with tempfile.TemporaryDirectory(prefix="fluoro-bench-") as folder:
        volume = Volume(studies=given.studies, slices=given.slices, size=given.size, seed=given.seed)
        load = made(volume, Path(folder) / "files", given.senders)
        with new_ledger(archive) as ledger:
            measured = measure(load, archive, dcmtk(), ledger)
        sys.stdout.write(f"{measured.table()}\n{'resident MB':<28}{sum(archive.rss_bytes().values()) / 1e6:>12.0f}\n")
        began = time.monotonic()
        verdict = audit(address_of(archive), ledgers_of(archive), wait_s=BOUND_S)
        sys.stdout.write(f"audited in {time.monotonic() - began:.1f} s: {verdict.line}\n")
    sys.exit(0 if verdict.clean else 1)


if __name__ == "__main__":
    main()

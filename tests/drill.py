"""The restore drill: a stack loses its broker, its jobs' state and what came after a backup of its database, and has it all again.

    python -m tests.drill [--instances 2000] [--json FILE]

On a stack of its own: studies come through both doors, the database is backed up, more studies come. Then the stack is
stopped, and the disaster strikes: the broker and the checkpoints are removed, the database is the backup. The stack
starts again, the rebuild publishes what the store has, and the auditor compares it with the senders' ledger. Prints how
long each step took. Exit status 0 when the auditor finds nothing wrong, 130 when stopped. docs/operations.md says how
the same is done by hand.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up
from tests.audit.auditor import audit
from tests.audit.judge import Verdict
from tests.audit.ledger import Ledger
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.arguments import count
from tests.support.machine.running_stack import address_of, end_on_term, environment_without_settings
from tests.support.senders.commanding import give
from tests.support.senders.sender import Peer, send
from tests.support.senders.stow import Door, stow
from tests.support.servers.database_backup import back_up, put_back

# How long the auditor waits until nothing is wrong.
WAIT_S = 180.0
SLICES = 25
# What is lost: the broker's records, and what the jobs remember of them.
LOST = ("kafka", "checkpoints")

# How many findings of each set are told.
FEW = 5

T = TypeVar("T")


@dataclass
class Drill:
    """The drill in a folder: what was sent is in the ledger, what each step took in `steps`, in seconds."""

    folder: Path
    ledger: Ledger
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def data(self) -> DataFolder:
        """The data folder of the stack."""
        return DataFolder(self.folder / "data")

    @contextmanager
    def stack(self, step: str) -> Iterator[RunningStack]:
        """Run the stack for the block; `step` names its start."""
        settings = environment_without_settings() | {"FLUORO_STUDY_RELEASED_S": "1"}
        began = time.monotonic()
        with brought_up(self.data, settings, options=["--free-ports"], out=self.folder / "up.log") as stack:
            self.told(step, began)
            yield stack

    def step(self, name: str, do: Callable[[], T]) -> T:
        """Do a step; print and keep how long it took."""
        began = time.monotonic()
        done = do()
        self.told(name, began)
        return done

    def told(self, name: str, began: float) -> None:
        """Print and keep how long a step took that began then."""
        self.steps[name] = round(time.monotonic() - began, 1)
        sys.stdout.write(f"{self.steps[name]:7.1f} s  {name}\n")
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill from the command line; return the exit status."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted.add_argument("--instances", type=count(4 * SLICES), default=2000, help="in all (default 2000)")
    wanted.add_argument("--json", type=Path, metavar="FILE", help="where to write the seconds of each step")
    given = wanted.parse_args(arguments)
    end_on_term()
    # The database runs as another user, who must be able to enter.
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="fluoro-drill-") as name, Ledger(Path(name) / "sent.jsonl") as ledger:
            Path(name).chmod(0o755)
            drill = Drill(Path(name), ledger)
            verdict = drilled(drill, given.instances)
    except Failed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(f"{verdict.line}\n")
    sys.stdout.writelines(
        f"{name}: {one.subject}: {one.why}\n" for name, found in verdict.sets.items() for one in found[:FEW]
    )
    if given.json:
        given.json.write_text(json.dumps(drill.steps, indent=1))
    return 0 if verdict.clean else 1


def drilled(drill: Drill, count_of_instances: int) -> Verdict:
    """Fill an archive, lose most of it, and have it again; return the auditor's verdict."""
    half = count_of_instances // (2 * SLICES)
    backup = drill.folder / "backup"
    with drill.stack("the stack starts") as stack:
        drill.step("the first half is sent", lambda: fill(drill, stack, half, 1))
        drill.step("the database is backed up", lambda: back_up(stack, backup))
        drill.step("the second half is sent", lambda: fill(drill, stack, half, 2))
        before = drill.step("the auditor looks, before", lambda: audited(drill, stack))
    if not before.clean:
        sys.stderr.write("the archive was not clean before anything was lost\n")
        return before
    drill.step("the broker and the jobs' state are lost, the database is the backup", lambda: strike(drill, backup))
    with drill.stack("the stack starts on what is left") as stack:
        drill.step("the rest is rebuilt", lambda: rebuild(stack))
        return drill.step("the auditor looks until all is there", lambda: audited(drill, stack, restored=True))


def fill(drill: Drill, stack: RunningStack, studies: int, seed: int) -> None:
    """Send studies, half by each door, a few instances with other content too; delete one study and hold another."""
    made = list(instances(Volume(studies=studies, slices=SLICES, size=64, seed=seed)))
    files = drill.folder / f"sent-{seed}"
    others = [other_content(one) for one in made[:3]]
    paths = [one.write(files / str(number) / one.file_name) for number, one in enumerate([*made, *others])]
    middle = len(paths) // 2
    tally = send(paths[:middle], Peer(stack.dimse_port), drill.ledger)
    answers = stow(paths[middle:], Door(stack.api_url), drill.ledger, requests=2, at_once=SLICES)
    if not tally.complete or len(answers) < len(paths) - middle:
        raise Failed(f"not everything was stored: {tally}")
    give(stack.api_url, made[0].study_uid, "hold")
    give(stack.api_url, made[-1].study_uid, "delete")


def other_content(one: Instance) -> Instance:
    """Return the instance with other pixels."""
    return replace(one, pixels=one.pixels[::-1])


def strike(drill: Drill, backup: Path) -> None:
    """Remove what is lost, and put the backup in the database's place."""
    for name in LOST:
        shutil.rmtree(drill.data.root / name)
    put_back(drill.data.root / "postgres", backup, drill.folder / "lost-database")


def rebuild(stack: RunningStack) -> None:
    """Publish what the store has, as `make rebuild` does; raises Failed when it fails."""
    command = [sys.executable, "-m", "pipelines.batch.rebuild"]
    ended = subprocess.run(command, env=os.environ | dict(address_of(stack).env), check=False)
    if ended.returncode:
        raise Failed(f"the rebuild ended with status {ended.returncode}")


def audited(drill: Drill, stack: RunningStack, *, restored: bool = False) -> Verdict:
    """Look until nothing is wrong, or it takes too long."""
    return audit(address_of(stack), [drill.ledger.path], wait_s=WAIT_S, restored=restored)


if __name__ == "__main__":
    sys.exit(main())

"""Any server may be killed at any moment of an ingest: nothing acknowledged is lost, and the stack recovers by itself."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from deploy.local.running import RunningStack, wait_until
from tests.audit.ledger import Ledger, Line, State
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import IS_FULL, Healing
from tests.support.faults.recovery import until_whole
from tests.support.machine.running_stack import processes_of
from tests.support.proof import Proof
from tests.support.senders.sender import send

# The number and the size of the instances that are sent around each kill; a full run sets more.
INSTANCES = int(os.environ.get("FLUORO_TEST_INSTANCES", "500" if IS_FULL else "60"))
SIZE = int(os.environ.get("FLUORO_TEST_IMAGE_SIZE", "64"))
RECOVERY_S = 90.0


def head(archive: RunningStack, server: str) -> psutil.Process:
    return processes_of(archive, server)[0]


def virtual_machine(archive: RunningStack, server: str) -> psutil.Process:
    return next(one for one in processes_of(archive, server) if one.name() == "java")


# The process of each server that is killed.
VICTIMS: dict[str, Callable[[RunningStack, str], psutil.Process]] = {
    "gateway": head,
    "flink": virtual_machine,
    "kafka": head,
    "minio": head,
    "postgres": head,
}
# The database and the jobs' JVM are killed alone in tests/faults/.
ELSEWHERE = {"postgres", "flink"}
KILLS = {name: (name,) for name in VICTIMS if name not in ELSEWHERE} | {"everything": (*VICTIMS, "web")}
ROWS = {
    "gateway": ("F1", "the gateway is killed with all its processes while it receives"),
    "kafka": ("F11", "the broker is killed"),
    "minio": ("F5", "the store is killed"),
    "everything": ("F27", "every server is killed at once"),
}


@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.fault(*ROWS[what])) for what in KILLS])
def test_a_kill_during_ingest_loses_nothing(what: str, proof: Proof, tmp_path: Path, healing: Healing) -> None:
    volume = Volume(studies=2, slices=INSTANCES // 2, size=SIZE, seed=100 + list(KILLS).index(what))
    paths = files(volume, tmp_path)
    before = proof.archive.state().servers
    victims = [VICTIMS.get(server, head)(proof.archive, server) for server in KILLS[what]]

    with Tripwire(proof.ledger.path, INSTANCES // 5, victims) as ledger:
        tally = send(paths, proof.peer, ledger)
    for server in KILLS[what]:
        wait_until(lambda: proof.archive.has_changed(server, before[server]), RECOVERY_S, f"{server} lives")  # noqa: B023
    with healing.timed(ledger.killed_at):
        until_whole(proof, tmp_path, RECOVERY_S)

    assert ledger.tripped
    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}


class Tripwire(Ledger):
    """A ledger that kills the victims at the answer number `after`, while other instances are being sent."""

    def __init__(self, path: Path, after: int, victims: list[psutil.Process]) -> None:
        super().__init__(path)
        self._left = after
        self._victims = victims
        self._counting = threading.Lock()
        self.killed_at: float | None = None

    @property
    def tripped(self) -> bool:
        """True if the kill was done."""
        return self.killed_at is not None

    def answers(self, lines: Iterable[Line], state: State, status: str) -> None:
        """Record the answers, and kill the victims when their number is reached."""
        super().answers(lines, state, status)
        with self._counting:
            self._left -= 1
            if self._left == 0:
                for victim in self._victims:
                    victim.kill()
                self.killed_at = time.monotonic()

"""Any server may be killed at any moment of an ingest: nothing acknowledged is lost, and the stack recovers by itself."""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from deploy.local.running import RunningStack, wait_until
from tests.audit.ledger import Ledger, Line, State
from tests.support.data.generate import Volume, files
from tests.support.machine.running_stack import processes_of
from tests.support.proof import Proof
from tests.support.senders.sender import send

# The number and the size of the instances that are sent around each kill; a full run sets more.
INSTANCES = int(os.environ.get("FLUORO_TEST_INSTANCES", "60"))
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
    "postgres": head,
    "minio": head,
}
# The database and the jobs' JVM are killed alone in tests/faults/.
ELSEWHERE = {"postgres", "flink"}
KILLS = {name: (name,) for name in VICTIMS if name not in ELSEWHERE} | {"everything": (*VICTIMS, "web")}


@pytest.mark.parametrize("what", KILLS)
def test_a_kill_during_ingest_loses_nothing(what: str, proof: Proof, tmp_path: Path) -> None:
    volume = Volume(studies=2, slices=INSTANCES // 2, size=SIZE, seed=100 + list(KILLS).index(what))
    paths = files(volume, tmp_path)
    before = proof.archive.state().servers
    victims = [VICTIMS.get(server, head)(proof.archive, server) for server in KILLS[what]]

    with Tripwire(proof.ledger.path, INSTANCES // 5, victims) as ledger:
        tally = send(paths, proof.peer, ledger)
    for server in KILLS[what]:
        wait_until(lambda: proof.archive.has_changed(server, before[server]), RECOVERY_S, f"{server} lives")  # noqa: B023
        proof.archive.wait_healthy(server, RECOVERY_S)

    assert ledger.tripped
    assert tally.complete, tally
    assert proof.wrong() == {}


class Tripwire(Ledger):
    """A ledger that kills the victims at the answer number `after`, while other instances are being sent."""

    def __init__(self, path: Path, after: int, victims: list[psutil.Process]) -> None:
        super().__init__(path)
        self._left = after
        self._victims = victims
        self._counting = threading.Lock()

    @property
    def tripped(self) -> bool:
        """True if the kill was done."""
        return self._left <= 0

    def answers(self, lines: Iterable[Line], state: State, status: str) -> None:
        """Record the answers, and kill the victims when their number is reached."""
        super().answers(lines, state, status)
        with self._counting:
            self._left -= 1
            if self._left == 0:
                for victim in self._victims:
                    victim.kill()

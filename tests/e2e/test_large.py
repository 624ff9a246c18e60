"""A gateway needs little memory for the largest instance, and recovers from a full disk."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.bench.latency import line
from tests.support.data.generate import Volume, instances
from tests.support.data.large import FRAME_BYTES, Large
from tests.support.faults.memory import MemoryWatch
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer

# A full run sets 8191 frames: 4 GiB less one frame, the most that is accepted.
FRAMES = int(os.environ.get("FLUORO_TEST_FRAMES", "512"))
MOST_BYTES = 256 * 2**20
PATIENT_S = 600.0
FILE_BYTES = 4096
TRY_AGAIN = 0xA700
MOST_ANSWERS = 10


def worker(pid: int) -> psutil.Process:
    (only,) = psutil.Process(pid).children()
    return only


def test_a_large_instance_and_its_repeat_need_little_memory(proof: Proof, tmp_path: Path) -> None:
    large, port = Large(FRAMES, seed=os.getpid()), free_port()
    peer = Peer(port, answer_s=PATIENT_S)
    proof.ledger.plan([large.line])

    with (
        gateway(proof.archive, tmp_path, port, {}) as running,
        MemoryWatch(worker(running.pid).pid) as held,
        associated(peer, large.sop_class, large.transfer_syntax) as association,
    ):
        answers = [association.store_in_parts(large) for _ in range(2)]
        # The object of so large a repeat is read in the background, which takes less time than it takes to send it again.
        while answers[-1] == TRY_AGAIN and len(answers) < MOST_ANSWERS:
            answers.append(association.store_in_parts(large))

    proof.ledger.answers([large.line], "acked", "0000")
    assert (answers[:2], answers[-1]) == ([0, TRY_AGAIN], 0)
    assert held.most_bytes < MOST_BYTES
    assert proof.wrong() == {}


def test_an_instance_over_the_size_limit_is_refused_and_stored_nowhere(proof: Proof, tmp_path: Path) -> None:
    large, port = Large(16, seed=os.getpid() + 1), free_port()

    with (
        gateway(proof.archive, tmp_path, port, {"FLUORO_INTAKE_INSTANCE_BYTES": str(15 * FRAME_BYTES)}),
        associated(Peer(port), large.sop_class, large.transfer_syntax) as association,
    ):
        assert association.store_in_parts(large) == 0xC001
    assert [*(tmp_path / "spool").iterdir(), *(tmp_path / "outbox").iterdir()] == []


@contextmanager
def full(process: psutil.Process) -> Iterator[None]:
    """Keep the files of a process from growing beyond 4 KiB for the block, as a full disk would."""
    limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)


@pytest.mark.fault("F26", "the files of a gateway's process, its outbox among them, cannot grow")
def test_a_full_disk_is_answered_with_a700_and_needs_no_restart_once_it_has_space(proof: Proof, tmp_path: Path) -> None:
    # A line of the outbox takes about 700 bytes.
    every = list(instances(Volume(slices=12, size=64, seed=501)))
    port = free_port()
    lines = [line(one) for one in every]
    proof.ledger.plan(lines)

    with (
        gateway(proof.archive, tmp_path, port, {}) as running,
        associated(Peer(port), every[0].sop_class, every[0].transfer_syntax) as association,
    ):
        with full(worker(running.pid)):
            refused = [association.store(one) for one in every]
        again = [association.store(one) for one in every]

    proof.ledger.answers(lines, "acked", "0000")
    assert set(refused) <= {0, 0xA700}
    assert refused[-1] == 0xA700
    assert set(again) == {0}
    assert [*(tmp_path / "spool").iterdir(), *(tmp_path / "outbox").iterdir()] == []

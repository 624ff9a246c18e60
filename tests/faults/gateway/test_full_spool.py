"""The disk of the spool is full: senders are told to try again, and need no restart of the gateway to succeed."""

from pathlib import Path

import httpx
import pytest

from deploy.local.running import wait_until
from tests.bench.latency import line
from tests.support.data.generate import Volume, instances
from tests.support.faults.matrix import Healing
from tests.support.faults.small_disk import fill, small_disk, used_bytes
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer

DISK_BYTES = 2**20
SPOOLED = {"FLUORO_INTAKE_MEMORY_INSTANCE_BYTES": "1000"}
TRY_AGAIN = 0xA700
SOON_S = 30.0


def can_be_read(proof: Proof, study_uid: str) -> bool:
    """True if a study is found and its bytes are read."""
    found = httpx.get(f"{proof.archive.api_url}/dicomweb/studies/{study_uid}", timeout=SOON_S)
    return found.status_code == httpx.codes.OK


@pytest.mark.fault("F26", "the spool's disk, a tmpfs of 1 MiB, is full")
def test_a_full_spool_refuses_what_comes_and_what_is_coming_until_there_is_space(
    proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    # Larger than what is still buffered in memory before it is written to the file.
    first, current, *others = instances(Volume(slices=6, size=256, seed=960))
    lines = [line(one) for one in (first, current, *others)]
    peer, spool = Peer(free_port()), tmp_path / "spool"
    proof.ledger.plan(lines)

    with (
        small_disk(spool, DISK_BYTES),
        gateway(proof.archive, tmp_path, peer.port, SPOOLED),
        associated(peer, first.sop_class, first.transfer_syntax) as association,
        associated(peer, first.sop_class, first.transfer_syntax) as other,
    ):
        stored = [association.store(first)]
        wait_until(lambda: can_be_read(proof, first.study_uid), SOON_S, "what was stored cannot be read")
        message = other.message(current)
        other.send(message[: len(message) // 2])
        filler = fill(spool)
        other.send(message[len(message) // 2 :])
        refused = [other.answer(), *map(association.store, others)]
        is_read = can_be_read(proof, first.study_uid)
        filler.unlink()
        with healing.timed():
            stored += [other.store(current)]
        stored += map(association.store, others)
        wait_until(lambda: used_bytes(spool) == 0, SOON_S, "space in the spool is not given back")

    proof.ledger.answers(lines, "acked", "0000")
    assert set(refused) == {TRY_AGAIN}
    assert set(stored) == {0}
    assert is_read
    assert [*(tmp_path / "outbox").iterdir()] == []
    assert healing.audited(proof.wrong()) == {}

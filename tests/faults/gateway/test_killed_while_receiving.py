"""A gateway's process is killed at random bytes of what it receives: nothing of that is kept, and a repeat is stored."""

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from tests.audit.collect.object_store import listed, store
from tests.bench.latency import line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.faults.gateway_process import serving, spools, wait_for_another
from tests.support.faults.matrix import IS_FULL, Healing
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.scu import AssociationLost, associated
from tests.support.senders.sender import Peer, send

KILLS, SIZE = (30, 512) if IS_FULL else (3, 64)
SEED = int(os.environ.get("FLUORO_TEST_SEED", "1"))
SOON_S = 30.0
# Beyond the limit of memory, so that the process has a file when it dies.
SPOOLED_BYTES = 2000
SPOOLED = {"FLUORO_INTAKE_MEMORY_INSTANCE_BYTES": "1000"}


def keys(proof: Proof, study_uid: str) -> list[str]:
    """Return the keys of a study's objects."""
    with store(address_of(proof.archive)) as client:
        return [key for _, key, _ in listed(client, ("fluoro-hot",)) if f"/{study_uid}/" in key]


@pytest.mark.fault("F1", f"a gateway's process is killed at random bytes of P-DATA, {KILLS} times")
def test_what_a_killed_process_was_receiving_is_nowhere_until_it_is_sent_again(
    proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    every, chance = list(instances(Volume(slices=KILLS, size=SIZE, seed=940 + SEED))), random.Random(SEED)
    peer, spool = Peer(free_port()), tmp_path / "spool"
    proof.ledger.plan(map(line, every))

    with gateway(proof.archive, tmp_path, peer.port, SPOOLED) as running:

        def die_while_receiving(one: Instance) -> None:
            process = serving(running.pid)
            with (
                suppress(AssociationLost, OSError),
                associated(peer, one.sop_class, one.transfer_syntax) as association,
            ):
                message = association.message(one)
                association.send(message[: chance.randrange(SPOOLED_BYTES, len(message))])
                wait_until(lambda: spools(process, spool), SOON_S, "the process receives nothing")
                process.kill()
                association.answer()
            wait_for_another(running.pid, process)

        for one in every:
            die_while_receiving(one)
        proof.ledger.answers(map(line, every), "unknown", "lost")
        left = [*spool.iterdir()], keys(proof, every[0].study_uid)
        with healing.timed():
            tally = send([one.write(tmp_path / one.file_name) for one in every], peer, proof.ledger)

    assert left == ([], [])
    assert tally.complete, tally
    assert [*spool.iterdir(), *(tmp_path / "outbox").iterdir()] == []
    assert healing.audited(proof.wrong()) == {}

"""A gateway's process stands still and goes on: peers that have left get no answer, and nothing is lost with them."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from tests.support.data.generate import Volume, files
from tests.support.faults.gateway_process import associations, serving
from tests.support.faults.matrix import INSTANCES, IS_FULL, Healing
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.sender import Peer, send

STOOD_S = 30.0 if IS_FULL else 5.0
SLICES = INSTANCES if IS_FULL else 60
SOON_S = 30.0
# So that the sending takes longer than it takes to see that it has begun.
REST_S = 0.2


@pytest.mark.fault("F4", f"a gateway's process stands still for {STOOD_S:.0f} s; its peers leave after half of that")
def test_a_process_that_stood_still_ends_the_associations_of_peers_that_have_left(
    proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    peer, metrics_port = Peer(free_port(), answer_s=STOOD_S / 2, rest_s=REST_S), free_port()
    paths = files(Volume(slices=SLICES, size=64, seed=950), tmp_path / "sent")
    begun = len(proof.ledger.path.read_bytes())

    def is_sending() -> bool:
        return proof.ledger.path.read_bytes()[begun:].count(b'"acked"') > SLICES // 10

    with (
        ThreadPoolExecutor(1) as pool,
        gateway(proof.archive, tmp_path, peer.port, {"FLUORO_DIMSE_METRICS_PORT": str(metrics_port)}) as running,
    ):
        sending = pool.submit(send, paths, peer, proof.ledger)
        wait_until(is_sending, SOON_S, "nothing is acknowledged")
        process = serving(running.pid)
        process.send_signal(signal.SIGSTOP)
        time.sleep(STOOD_S)
        process.send_signal(signal.SIGCONT)
        with healing.timed():
            tally = sending.result()
            wait_until(lambda: associations(metrics_port) == 0, SOON_S, "associations stay open")
        is_same = serving(running.pid) == process

    assert is_same
    assert tally.complete, tally
    assert tally.statuses["lost"] > 0
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()
    assert [*(tmp_path / "outbox").iterdir()] == []
    assert healing.audited(proof.wrong()) == {}

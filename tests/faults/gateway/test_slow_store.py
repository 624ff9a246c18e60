"""A gateway before a slow store, or none that answers, holds no more than it may, however many send, and recovers."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from operators.dimse.pdu import BUFFER_BYTES
from tests.support.data.generate import Volume, files
from tests.support.faults.gateway_process import associations, serving, unpublished
from tests.support.faults.matrix import IS_FULL, Healing
from tests.support.faults.memory import MemoryWatch, anonymous_bytes
from tests.support.faults.proxy import SILENT, WORKS, Fault, proxied
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.scu import AssociationLost, associated
from tests.support.senders.sender import Peer, send

FAULT_S = 60.0 if IS_FULL else 12.0
# An instance each, of 2 MiB: together four times what the gateway's process may hold. With 100 of them, proxy and senders
# in one interpreter are slower than the gateway waits, long after the fault.
SENDERS = 32
SIZE = 1024
MEMORY_BYTES = SENDERS * 2 * SIZE * SIZE // 4
# A body grows by an eighth more than it holds, and each association has a buffer to receive into.
MOST_BYTES = MEMORY_BYTES * 9 // 8 + SENDERS * BUFFER_BYTES
# What the process takes besides instances while it works, and what its allocator keeps.
BESIDES_BYTES = 24 * 2**20
SOON_S = 30.0
# The store takes longer to answer than the gateway waits.
SLOW_S = 6.0


def is_refused(peer: Peer) -> bool:
    """True if the gateway accepts no association."""
    try:
        with associated(peer, "1.2.840.10008.1.1", "1.2.840.10008.1.2"):
            return False
    except AssociationLost:
        return True


@pytest.mark.parametrize(
    ("fault", "seed"),
    [
        pytest.param(
            Fault(delay_s=SLOW_S),
            700,
            marks=pytest.mark.fault(
                "F6", f"the store answers {SLOW_S:.0f} s late for {FAULT_S:.0f} s, {SENDERS} send 2 MiB each"
            ),
            id="slow",
        ),
        pytest.param(
            SILENT,
            710,
            marks=pytest.mark.fault(
                "F6", f"the store answers nothing for {FAULT_S:.0f} s, {SENDERS} send 2 MiB each", full=True
            ),
            id="silent",
        ),
    ],
)
def test_a_gateway_before_a_slow_store_refuses_associations_and_holds_no_more_than_it_may(
    fault: Fault, seed: int, proof: Proof, tmp_path: Path, healing: Healing
) -> None:
    first, *paths = files(Volume(slices=1 + SENDERS, size=SIZE, seed=seed), tmp_path / "sent")
    peer, metrics_port = Peer(free_port()), free_port()

    with (
        proxied(proof.archive.plan.ports["minio"]) as proxy,
        gateway(
            proof.archive,
            tmp_path,
            peer.port,
            {
                "FLUORO_STORE_ENDPOINT": f"http://127.0.0.1:{proxy.port}",
                "FLUORO_INTAKE_MEMORY_PROCESS_BYTES": str(MEMORY_BYTES),
                "FLUORO_DIMSE_METRICS_PORT": str(metrics_port),
            },
        ) as running,
        ThreadPoolExecutor(1) as pool,
        MemoryWatch(serving(running.pid).pid) as held,
    ):
        # From then on it knows the store's time.
        assert send([first], peer, proof.ledger).complete
        before = anonymous_bytes(serving(running.pid).pid)
        until, proxy.fault = time.monotonic() + FAULT_S, fault
        sending = pool.submit(send, paths, peer, proof.ledger, SENDERS)
        wait_until(lambda: is_refused(peer), SOON_S, "every association is accepted")
        time.sleep(max(until - time.monotonic(), 0))
        proxy.fault = WORKS
        with healing.timed():
            tally = sending.result()
            wait_until(lambda: associations(metrics_port) == 0, SOON_S, "associations stay open")
        wait_until(lambda: unpublished(metrics_port) == 0, SOON_S, "events wait in the outbox")

    assert held.most_bytes - before < MOST_BYTES + BESIDES_BYTES
    assert tally.complete, tally
    assert tally.statuses["A700"] > 0
    assert [*(tmp_path / "outbox").iterdir()] == []
    assert healing.audited(proof.wrong()) == {}

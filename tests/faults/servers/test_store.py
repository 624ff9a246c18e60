"""A store whose answers are lost makes senders repeat, and stores each content once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.proxy import APPLIES_THEN_CUTS, WORKS, proxied
from tests.support.faults.recovery import until_stored
from tests.support.faults.senders import WatchedLedger
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.sender import Peer, send

HEALED_S = 30.0
REFUSALS = 10


@pytest.mark.fault("F7", "a proxy cuts the store's answers: each PUT is carried out, nobody hears of it")
def test_what_the_store_has_carried_out_unheard_is_stored_once(proof: Proof, tmp_path: Path, healing: Healing) -> None:
    paths, port = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=520), tmp_path / "sent"), free_port()

    with (
        proxied(proof.archive.plan.ports["minio"]) as proxy,
        gateway(proof.archive, tmp_path, port, {"FLUORO_STORE_ENDPOINT": f"http://127.0.0.1:{proxy.port}"}),
        WatchedLedger(proof.ledger.path) as ledger,
        ThreadPoolExecutor(1) as pool,
    ):
        sending = pool.submit(send, paths, Peer(port), ledger)
        ledger.wait_acked(INSTANCES // 5)
        proxy.fault = APPLIES_THEN_CUTS
        wait_until(lambda: ledger.refused >= REFUSALS, HEALED_S, "nothing is refused")
        proxy.fault = WORKS
        with healing.timed():
            until_stored(Peer(port), proof.ledger, tmp_path, HEALED_S)
        tally = sending.result()

    assert tally.complete, tally
    assert tally.statuses["A700"] >= REFUSALS
    assert healing.audited(proof.wrong()) == {}

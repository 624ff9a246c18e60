"""Whatever dies at any moment, an answer is sent after the broker has the event, and the event after the store has the object."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pytest

from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings, StoreSettings
from tests.bench.latency import line
from tests.support.data.generate import Volume, instances
from tests.support.faults.calls import Call, calls, traced
from tests.support.faults.gateway_process import serving
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer

INSTANCES = 3
# The outbox has a line before the object is sent, and another one once the event is acknowledged.
STEPS = ("outbox", "object", "object stored", "event", "event acknowledged", "outbox", "answer")
# Four bytes of length, and then two that say that the request is a Produce.
PRODUCE = re.compile(r'"\\x00\\x\w\w\\x\w\w\\x\w\w\\x00\\x00')
P_DATA = r'"\x04\x00'


def steps(of: Sequence[Call], outbox: Path, ports: tuple[str, str, str]) -> Iterator[str]:
    """Yield the steps of the write path that calls are; `ports` are those of the store, the broker and the gateway."""
    store, broker, door = ports
    awaited: dict[str, str] = {}
    for call in of:
        if call.sends and str(outbox) in call.file:
            yield "outbox"
        elif call.sends and f"->127.0.0.1:{store}]" in call.file and '"PUT ' in call.text:
            awaited[call.file] = "object stored"
            yield "object"
        elif call.sends and f"->127.0.0.1:{broker}]" in call.file and PRODUCE.search(call.text):
            awaited[call.file] = "event acknowledged"
            yield "event"
        elif call.sends and f"127.0.0.1:{door}->" in call.file and P_DATA in call.text:
            yield "answer"
        elif not call.sends and call.file in awaited and not call.text.rstrip().endswith(("= 0", ")")):
            yield awaited.pop(call.file)


@pytest.mark.fault("F27", "the order of system calls of a gateway's process")
def test_object_event_and_answer_leave_a_process_in_this_order(proof: Proof, tmp_path: Path) -> None:
    every, peer = list(instances(Volume(slices=INSTANCES, size=64, seed=970))), Peer(free_port())
    store = load(StoreSettings, proof.archive.env).endpoint.rpartition(":")[2]
    broker = load(BrokerSettings, proof.archive.env).bootstrap.rpartition(":")[2]
    proof.ledger.plan(map(line, every))

    with (
        gateway(proof.archive, tmp_path, peer.port, {}) as running,
        associated(peer, every[0].sop_class, every[0].transfer_syntax) as association,
        traced(serving(running.pid).pid, tmp_path / "calls"),
    ):
        answers = [association.store(one) for one in every]
    proof.ledger.answers(map(line, every), "acked", "0000")

    made = steps(calls(tmp_path / "calls"), tmp_path / "outbox", (store, broker, str(peer.port)))
    assert answers == [0] * INSTANCES
    assert [step for step, _ in groupby(made)] == [*STEPS] * INSTANCES

"""Wherever on the write path a process of a gateway dies, the others complete within a minute what it left unfinished."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.running import wait_until
from schemas.codec import decode
from schemas.events import InstanceStored, TransferEnded
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED, Topic
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import Healing
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.proof import Proof
from tests.support.senders.sender import Peer, send

HEALED_S = 60.0
INSTANCES = 8
# The limit makes even small instances go through the spool.
SPOOLED = {"FLUORO_INTAKE_MEMORY_INSTANCE_BYTES": "1000"}

# The point at which the gateway dies, the fault that this is, and how the transfers of its studies end.
POINTS = {
    "after_spool:3": ("F1", {"lost", "well"}),
    "after_intent:3": ("F1", {"lost", "well"}),
    "after_put:3": ("F2", {"lost", "well"}),
    "after_event:3": ("F3", {"lost", "well"}),
    "after_done:3": ("F3", {"lost", "well"}),
    "mid_transfer_end": ("F3", {"well"}),
}
ROWS = [
    pytest.param(point, marks=pytest.mark.fault(fault, f"a gateway's process dies at {point}"))
    for point, (fault, _) in POINTS.items()
]


def dies_at(point: str) -> dict[str, str]:
    return {"FLUORO_INTAKE_FAILPOINT": point, "FLUORO_TESTS": "1"}


def killed_processes(folder: Path) -> int:
    """Return how many processes of the gateway have killed themselves."""
    lines = (folder / "gateway.log").read_text().splitlines()
    return sum("gateway_process_ended" in line and f'"exit_code": {-signal.SIGKILL}' in line for line in lines)


def open_bytes(outbox: Path) -> int:
    return sum(path.stat().st_size for path in outbox.iterdir())


def events(proof: Proof, topic: Topic, studies: set[str]) -> list[InstanceStored | TransferEnded]:
    """Return the events of a topic that are about these studies."""
    reader = Consumer(
        {
            "bootstrap.servers": proof.archive.env["FLUORO_BROKER_BOOTSTRAP"],
            "group.id": "crash-points",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        partitions = reader.list_topics(topic.name, timeout=10).topics[topic.name].partitions
        reader.assign([TopicPartition(topic.name, number, OFFSET_BEGINNING) for number in partitions])
        found, ended = [], 0
        while ended < len(partitions):
            record = reader.poll(10)
            assert record is not None
            if record.error() is not None:
                ended += 1
                continue
            event = decode(record.value() or b"")
            if isinstance(event, InstanceStored | TransferEnded) and event.study_uid in studies:
                found.append(event)
        return found
    finally:
        reader.close()


@pytest.mark.parametrize("point", ROWS)
def test_the_other_processes_complete_what_a_crash_at_any_point_left(
    point: str, proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    seed, port = 300 + list(POINTS).index(point), free_port()
    paths = files(Volume(studies=2, slices=INSTANCES // 2, size=64, seed=seed), tmp_path / "sent")
    studies = {path.parent.name for path in paths}

    with (
        ThreadPoolExecutor(1) as pool,
        gateway(proof.archive, tmp_path, port, SPOOLED | dies_at(point) | {"FLUORO_DIMSE_PROCESSES": "2"}) as started,
    ):
        sending = pool.submit(send, paths, Peer(port), proof.ledger, 1)
        wait_until(lambda: killed_processes(tmp_path) > 0, HEALED_S, "no process has died")
        with healing.timed():
            tally = sending.result(HEALED_S)
            wait_until(lambda: open_bytes(tmp_path / "outbox") == 0, HEALED_S, "the outbox is not empty")

        assert started.poll() is None
    assert tally.complete, tally
    assert healing.seconds is not None
    assert healing.seconds < HEALED_S
    assert [*(tmp_path / "outbox").iterdir(), *(tmp_path / "spool").iterdir()] == []
    stored = events(proof, INSTANCE_STORED, studies)
    assert {f"{event.sop_uid}.dcm" for event in stored if isinstance(event, InstanceStored)} == {
        path.name for path in paths
    }
    assert len({event.event_id for event in stored}) == INSTANCES
    ends = [event for event in events(proof, TRANSFER_ENDED, studies) if isinstance(event, TransferEnded)]
    assert {event.outcome for event in ends} == POINTS[point][1]
    assert len({(event.event_id, event.outcome, event.instances) for event in ends}) == len(
        {event.event_id for event in ends}
    )


def test_the_auditor_finds_nothing_wrong_after_all_these_crashes(proof: Proof) -> None:
    assert proof.wrong() == {}

"""Every kind of hostile peer against a gateway on memory twins: each is ended, and none causes a traceback."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from schemas.objects import Bucket
from tests.bench.attackers import KINDS, attack
from tests.laws.test_worst_cases import DEFLATED, EMPTY, UIDS, deep, deflated
from tests.support.data.elements import element, item
from tests.support.senders import scu
from tests.support.senders.sender import Peer
from tests.support.worlds.gateway import gateway_in
from tests.support.worlds.running_gateway import CT, RunningGateway, associated, running, slice_of, wait_for

HASTY = {"associate_s": 1.0, "silence_s": 0.5, "stall_s": 1.0, "idle_s": 2.0}
SOCKETS = 2 * len(KINDS)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running(gateway_in(tmp_path, **HASTY)) as found:
        yield found


def test_every_kind_of_hostile_peer_is_ended_and_leaves_nothing(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="asyncio"):
        attacks = asyncio.run(attack(Peer(gateway.port), SOCKETS, seconds=3.0, grace_s=20.0))
        # What was received whole is examined to its end, 10 s on a busy machine, although its sender has hung up.
        wait_for(lambda: not gateway.door.connections and not gateway.door.intake.room.held_bytes, within_s=60.0)

    assert {name for name, (_, calls, _) in attacks.items() if calls == 0} == set()
    assert {name for name, (_, _, held) in attacks.items() if held} == set()
    assert gateway.stored == []
    assert caplog.records == []


def test_a_sender_beside_hostile_peers_is_answered(gateway: RunningGateway) -> None:
    async def beside() -> list[int]:
        attacking = asyncio.create_task(attack(Peer(gateway.port), SOCKETS, seconds=2.0, grace_s=10.0))
        statuses = await asyncio.to_thread(stored, gateway.port)
        await attacking
        return statuses

    assert asyncio.run(beside()) == [0] * 20


def stored(port: int) -> list[int]:
    with associated(port) as association:
        return [int(association.send_c_store(slice_of(number)).Status) for number in range(1, 21)]


@dataclass(frozen=True)
class Bytes:
    """A data set of any bytes, and the UIDs that the command names for it."""

    parts: tuple[bytes, ...]
    sop_class: str = CT
    sop_uid: str = "1.2.3.4.5"


# By setting: its value, a data set that exceeds it, the transfer syntax, and the reason that is counted.
STRUCTURES = {
    "depth": (4, UIDS + deep(5), EXPLICIT_VR_LITTLE_ENDIAN, "too-deep"),
    "items": (10, UIDS + element(0x0040A730, "SQ", item() * 11), EXPLICIT_VR_LITTLE_ENDIAN, "too-many-items"),
    "elements": (10, UIDS + EMPTY * 7, EXPLICIT_VR_LITTLE_ENDIAN, "too-many-elements"),
    "inflate_ratio": (2, deflated(UIDS + EMPTY * 1_000), DEFLATED, "too-inflated"),
    "inflated_bytes": (50, deflated(UIDS), DEFLATED, "too-inflated"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_over_its_setting_is_quarantined_and_counted(name: str, tmp_path: Path) -> None:
    limit, data, transfer_syntax, reason = STRUCTURES[name]

    def counted() -> float:
        return REGISTRY.get_sample_value("fluoro_gateway_rejected_total", {"reason": reason}) or 0.0

    before = counted()
    with running(gateway_in(tmp_path, **{name: limit})) as gateway:
        with scu.associated(Peer(gateway.port), CT, transfer_syntax) as association:
            status = association.store(Bytes((data,)))

        assert status == 0xC000
        assert len(gateway.objects(Bucket.QUARANTINE)) == 1
        assert gateway.objects() == []
    assert counted() == before + 1

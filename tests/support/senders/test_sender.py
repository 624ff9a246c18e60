"""The C-STORE sender retries until every instance has its last answer, and its ledger says what was sent."""

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from tests.audit import ledger as ledgers
from tests.support.data.generate import Volume, files, instances
from tests.support.machine.processes import free_port
from tests.support.senders.scp import Archive, abort_third, always, busy
from tests.support.senders.sender import Peer, send

SMALL = Volume(studies=2, slices=5, size=16)


# The archive's behaviour, and statuses that the sender gets from it.
ANSWERS: dict[str, tuple[Callable[[int, evt.Event], int], set[str]]] = {
    "all well": (always(0), set()),
    "busy now and then": (busy, {"A700"}),
    "a lost association": (abort_third, {"lost"}),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_instances_are_sent_again_until_all_are_acknowledged(tmp_path: Path, what: str) -> None:
    answer, expected = ANSWERS[what]
    archive = Archive(answer)

    with archive.running() as peer, ledgers.Ledger(tmp_path / "ledger") as ledger:
        tally = send(files(SMALL, tmp_path / "files"), peer, ledger, associations=2)

    assert tally.complete
    assert expected <= set(tally.statuses)
    assert archive.kept == {made.sop_uid: made.data_hash for made in instances(SMALL)}
    assert {line.state for line in ledgers.read(tmp_path / "ledger")} == {"acked"}


def test_the_ledger_has_a_line_for_every_instance_that_is_sent(tmp_path: Path) -> None:
    with Archive(always(0)).running() as peer, ledgers.Ledger(tmp_path / "ledger") as ledger:
        send(files(SMALL, tmp_path / "files"), peer, ledger)

    recorded = [(one.study_uid, one.series_uid, one.sop_uid, one.data_hash, one.canary) for one in read(tmp_path)]
    assert recorded == [
        (one.study_uid, one.series_uid, one.sop_uid, one.data_hash, one.canary) for one in instances(SMALL)
    ]


def test_a_permanent_failure_is_not_sent_again(tmp_path: Path) -> None:
    archive = Archive(always(0xC000))

    with archive.running() as peer, ledgers.Ledger(tmp_path / "ledger") as ledger:
        tally = send(files(SMALL, tmp_path / "files"), peer, ledger)

    assert archive.times == 10
    assert tally.states == {"failed": 10}


def test_a_presentation_context_that_the_peer_refuses_fails(tmp_path: Path) -> None:
    archive = Archive(always(0))

    with archive.running(Verification) as peer, ledgers.Ledger(tmp_path / "ledger") as ledger:
        tally = send(files(SMALL, tmp_path / "files")[:1], Peer(peer.port, patience_s=1), ledger, associations=1)

    assert not tally.complete
    assert archive.times == 0


# pynetdicom drops the socket of a refused connection without closing it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
def test_without_a_peer_every_instance_stays_unknown(tmp_path: Path) -> None:
    with ledgers.Ledger(tmp_path / "ledger") as ledger:
        tally = send(files(SMALL, tmp_path / "files"), Peer(1, patience_s=0.5), ledger)

    assert tally.states == {"unknown": 10}
    assert {line.state for line in read(tmp_path)} == {"planned"}


def read(folder: Path) -> list[ledgers.Line]:
    return ledgers.read(folder / "ledger")


def test_a_refused_association_leaves_no_socket_open() -> None:
    entity, port = AE(ae_title="REFUSED"), free_port()
    entity.add_requested_context(Verification)
    gc.collect()
    gc.disable()
    try:
        before = psutil.Process().num_fds()
        association = entity.associate("127.0.0.1", port)
        after = psutil.Process().num_fds()
    finally:
        gc.enable()

    assert not association.is_established
    assert after == before

"""The raw sender sends every byte of a data set as it is in the file, under the UIDs of the file meta."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pynetdicom import evt
from pynetdicom.sop_class import Verification

from tests.audit.ledger import Ledger, read
from tests.support.data.generate import Volume, files, instances
from tests.support.senders.raw import REFUSED, Raw, raw, send_raw
from tests.support.senders.scp import Archive, abort_third, always, busy
from tests.support.senders.sender import Peer

SMALL = Volume(studies=2, slices=5, size=16)


@pytest.fixture
def raws(tmp_path: Path) -> list[Raw]:
    found = [raw(path, "local") for path in files(SMALL, tmp_path / "files")]
    return [one for one in found if one]


@pytest.mark.parametrize("answer", [always(0), always(0xB007), busy, abort_third])
def test_every_data_set_arrives_as_it_is_in_its_file(
    answer: Callable[[int, evt.Event], int], raws: list[Raw], tmp_path: Path
) -> None:
    archive = Archive(answer)

    with archive.running() as peer, Ledger(tmp_path / "ledger") as ledger:
        answers = send_raw(raws, peer, ledger)

    assert set(answers.values()) <= {"0000", "B007"}
    assert len(answers) == len(raws)
    if answer not in (busy, abort_third) and "0000" in answers.values():
        assert archive.kept == {made.sop_uid: made.data_hash for made in instances(SMALL)}
    assert {line.state for line in read(tmp_path / "ledger")} == {"acked"}


def test_a_presentation_context_that_the_peer_refuses_is_recorded_and_nothing_is_sent(
    raws: list[Raw], tmp_path: Path
) -> None:
    archive = Archive(always(0))

    with archive.running(Verification) as peer, Ledger(tmp_path / "ledger") as ledger:
        answers = send_raw(raws, Peer(peer.port, patience_s=5), ledger)

    assert set(answers.values()) == {REFUSED}
    assert archive.times == 0


def test_a_file_may_be_sent_under_another_sop_uid_than_its_file_meta_has(raws: list[Raw]) -> None:
    named = raw(raws[0].path, "local", "1.2.3")

    assert named is not None
    assert named.sop_uid == "1.2.3"
    assert named.data_set == raws[0].data_set


@pytest.mark.parametrize("data", [b"", b"\0" * 128 + b"DICM"])
def test_a_file_without_usable_file_meta_cannot_be_sent(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)

    assert raw(tmp_path / "file", "local") is None

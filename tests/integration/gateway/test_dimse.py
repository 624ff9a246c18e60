"""A gateway over loopback on memory twins, with unmodified DICOM clients: it stores exactly the bytes sent."""

import re
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.presentation import build_context

from operators.connectors.memory.stores import Outage
from operators.dicom import instance, part10
from operators.dimse.pdu import RELEASE_RP_PDU
from operators.errors import Rejected
from schemas.objects import Bucket
from tests.support.machine.debian_tools import Programs
from tests.support.worlds.gateway import GatewaySections
from tests.support.worlds.intake import CT
from tests.support.worlds.running_gateway import (
    VERIFICATION,
    WAIT_S,
    RunningGateway,
    answer_to,
    associate_pdu,
    associated,
    pipelined,
    running,
    slice_of,
    wait_for,
)


def data_set_of(path: Path) -> bytes:
    """Return a Part 10 file's bytes after its file meta."""
    whole = path.read_bytes()
    return whole[part10.split_part10(whole).prefix_length :]


def corpus_files(corpus: Path) -> list[Path]:
    """Return a file for each transfer syntax in the corpus, among the files that agree with their file meta."""
    chosen: dict[str, Path] = {}
    for path in sorted((corpus / "ts").rglob("*.dcm")):
        with suppress(Rejected):
            meta = part10.split_part10(path.read_bytes())
            examined = instance.examine(data_set_of(path), meta.transfer_syntax, meta.prefix_length)
            if (examined.sop_class, examined.sop_uid) == (meta.sop_class, meta.sop_uid):
                chosen.setdefault(meta.transfer_syntax, path)
    return list(chosen.values())


@pytest.fixture
def unchanged_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pynetdicom send a file's data set bytes untouched, with the UIDs of its file meta in the command."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


def test_an_echo_is_answered(gateway: RunningGateway) -> None:
    with associated(gateway.port, (VERIFICATION, ExplicitVRLittleEndian)) as association:
        status = association.send_c_echo()

    assert status.Status == 0x0000


def test_an_echo_is_answered_while_store_and_broker_are_down(gateway: RunningGateway) -> None:
    gateway.store.outage = gateway.events.outage = Outage.REFUSES

    with associated(gateway.port, (VERIFICATION, ExplicitVRLittleEndian)) as association:
        status = association.send_c_echo()

    assert status.Status == 0x0000


def test_a_query_on_a_storage_context_is_refused_and_the_association_goes_on_storing(gateway: RunningGateway) -> None:
    asked, content = Dataset(), slice_of(1)
    asked.QueryRetrieveLevel, asked.PatientID = "STUDY", ""
    with associated(gateway.port) as association:
        found = [(status.Status, identifier) for status, identifier in association.send_c_find(asked, CT)]
        status = association.send_c_store(content).Status

    assert (found, status) == ([(0x0211, None)], 0x0000)
    assert [event.sop_uid for event in gateway.stored] == [content.SOPInstanceUID]


def test_a_requestor_learns_from_the_acceptance_that_no_context_is_served(gateway: RunningGateway) -> None:
    query = build_context("1.2.840.10008.5.1.4.1.2.2.1", ExplicitVRLittleEndian)

    assert answer_to(gateway.port, associate_pdu(contexts=[query, build_context(CT, "1.2.3.4")])) == (3, 4)


def send_file(port: int, path: Path) -> int:
    """Send a file and return its status."""
    meta = part10.split_part10(path.read_bytes())
    with associated(port, (meta.sop_class, meta.transfer_syntax)) as association:
        return int(association.send_c_store(path).Status)


@pytest.mark.usefixtures("unchanged_bytes")
def test_every_transfer_syntax_is_stored_as_sent(gateway: RunningGateway, corpus: Path) -> None:
    sent = corpus_files(corpus)

    statuses = {path.name: send_file(gateway.port, path) for path in sent}

    assert len(sent) > 5
    assert set(statuses.values()) <= {0x0000, 0xB007}, statuses
    stored = {event.data_hash: event for event in gateway.stored}
    by_key = {key: held.data for (_, key), held in gateway.store.objects.items()}
    for path in sent:
        meta, data = part10.split_part10(path.read_bytes()), data_set_of(path)
        hasher = instance.data_hasher(meta.transfer_syntax)
        hasher.update(data)
        event = stored[hasher.hexdigest()]
        prefix = part10.part10_prefix(event.sop_class, event.sop_uid, meta.transfer_syntax)
        assert by_key[event.object_key] == prefix + data


def test_an_association_reports_its_transfers_end_once_with_its_count(gateway: RunningGateway) -> None:
    with associated(gateway.port) as association:
        statuses = [association.send_c_store(slice_of(number)).Status for number in range(1, 4)]

    assert statuses == [0, 0, 0]
    wait_for(lambda: gateway.ended == [("well", 3)])


def test_a_repeat_succeeds_and_adds_nothing(gateway: RunningGateway) -> None:
    for _ in range(2):
        with associated(gateway.port) as association:
            assert association.send_c_store(slice_of(1)).Status == 0

    assert len(gateway.objects()) == 1
    assert len({event.event_id for event in gateway.stored}) == 1
    assert len({event.transfer_id for event in gateway.stored}) == 2


def test_a_large_instance_goes_through_the_spool(gateway: RunningGateway, settings: GatewaySections) -> None:
    large = slice_of(1, pixels=2400)
    assert len(large.PixelData) > settings.intake.memory_instance_bytes

    with associated(gateway.port) as association:
        status = association.send_c_store(large).Status

    (stored,) = gateway.objects()
    assert status == 0
    assert stored.endswith(large.PixelData)
    assert list(settings.intake.spool_dir.iterdir()) == []


@pytest.mark.parametrize("part", ["store", "events"])
@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
def test_an_outage_is_answered_with_a700_and_the_retry_is_stored(
    gateway: RunningGateway, part: str, outage: Outage
) -> None:
    failing = getattr(gateway, part)
    failing.outage = outage

    with associated(gateway.port) as association:
        refused = association.send_c_store(slice_of(1)).Status
        failing.outage = Outage.NONE
        stored = association.send_c_store(slice_of(1)).Status

    assert (refused, stored) == (0xA700, 0x0000)
    assert len(gateway.objects()) == 1
    wait_for(lambda: gateway.ended == [("partial", 1)])


@pytest.mark.usefixtures("unchanged_bytes")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"SOPInstanceUID": "1.2.9"}, 0xA900),
        ({"StudyInstanceUID": "x"}, 0xC000),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_instance_that_can_never_be_stored_is_refused_and_quarantined(
    gateway: RunningGateway, tmp_path: Path, change: dict[str, str], status: int
) -> None:
    odd = slice_of(1)
    for keyword, value in change.items():
        setattr(odd, keyword, value)
    odd.preamble = b"\0" * 128
    path = tmp_path / "odd.dcm"
    dcmwrite(path, odd, enforce_file_format=False)

    answer = send_file(gateway.port, path)

    assert answer == status
    assert len(gateway.objects(Bucket.QUARANTINE)) == 1
    assert gateway.objects() == []


def test_a_lost_connection_ends_the_transfer_as_aborted(gateway: RunningGateway) -> None:
    with associated(gateway.port, release=False) as association:
        assert association.send_c_store(slice_of(1)).Status == 0
        association.abort()

    wait_for(lambda: gateway.ended == [("aborted", 1)])
    wait_for(lambda: not gateway.door.connections)


def test_a_sender_that_does_not_wait_for_answers_is_answered_in_order(gateway: RunningGateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
        connection.sendall(associate_pdu() + pipelined(range(1, 41)))
        received = b""
        while not received.endswith(RELEASE_RP_PDU):
            received += connection.recv(65536)

    # (0000,0120) Message ID Being Responded To, two bytes long.
    answered = [
        struct.unpack("<H", found)[0]
        for found in re.findall(rb"\x00\x00\x20\x01\x02\x00\x00\x00(..)", received, re.DOTALL)
    ]
    assert answered == list(range(1, 41))
    assert len(gateway.objects()) == 40
    wait_for(lambda: gateway.ended == [("well", 40)])


def test_an_instance_over_the_size_limit_is_refused_for_good_and_not_kept(settings: GatewaySections) -> None:
    with running(settings.changed(instance_bytes=4096)) as gateway:
        with associated(gateway.port) as association:
            too_large = association.send_c_store(slice_of(1)).Status
            fine = association.send_c_store(slice_of(2, pixels=8)).Status

        assert (too_large, fine) == (0xC001, 0x0000)
        assert len(gateway.store.objects) == 1
        wait_for(lambda: gateway.ended == [("well", 1)])


@pytest.mark.parametrize("pdu_bytes", [4096, 131072])
def test_dcmtk_stores_a_series(gateway: RunningGateway, dcmtk: Programs, tmp_path: Path, pdu_bytes: int) -> None:
    for number in range(1, 6):
        slice_of(number).save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    files = sorted(tmp_path.glob("*.dcm"))

    dcmtk.run("storescu", "--max-pdu", pdu_bytes, "127.0.0.1", gateway.port, *files)

    assert sorted(held[-8192:] for held in gateway.objects()) == sorted(data_set_of(path)[-8192:] for path in files)
    wait_for(lambda: gateway.ended == [("well", 5)])


def test_senders_count_a_warning_as_stored_and_go_on(gateway: RunningGateway, dcmtk: Programs, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        content = slice_of(number)
        content.Rows = 65
        content.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    with associated(gateway.port) as association:
        short = slice_of(4)
        short.Rows = 65
        answer = association.send_c_store(short)

    done = dcmtk.run(
        "storescu", "-v", "-aec", "FLUORO", "127.0.0.1", str(gateway.port), *map(str, tmp_path.glob("*.dcm"))
    )

    assert (answer.Status, answer.ErrorComment) == (0xB007, "stored, but: truncated-pixels")
    assert done.returncode == 0
    assert [event.warnings for event in gateway.stored] == [("truncated-pixels",)] * 4


def test_dcmtks_echo_succeeds(gateway: RunningGateway, dcmtk: Programs) -> None:
    dcmtk.run("echoscu", "127.0.0.1", gateway.port)

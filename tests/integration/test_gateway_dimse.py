"""The whole gateway over loopback on memory twins, with stock DICOM clients: what is stored is what was sent."""

import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    A_RELEASE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from gateway.association import Door
from gateway.intake import Connectors
from gateway.process import opened
from gateway.upper_layer import RELEASE_RP
from operators import instance
from operators.connectors.memory import MemoryEventLog, MemoryObjectStore, Outage
from operators.errors import Rejected
from schemas.events import InstanceStored, TransferEnded
from schemas.objects import Bucket
from schemas.settings import GatewaySettings
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
WAIT_S = 10.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait, bounded, until something is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.005)


@dataclass
class Running:
    """A gateway in a thread, its port, its outside."""

    port: int
    door: Door
    loop: asyncio.AbstractEventLoop
    store: MemoryObjectStore
    events: MemoryEventLog

    @property
    def stored(self) -> list[InstanceStored]:
        return [event for event in self.events.events(INSTANCE_STORED) if isinstance(event, InstanceStored)]

    @property
    def ended(self) -> list[tuple[str, int]]:
        found = [event for event in self.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)]
        return [(event.outcome, event.instances) for event in found]

    def objects(self, bucket: Bucket = Bucket.HOT) -> list[bytes]:
        return [held.data for (place, _), held in self.store.objects.items() if place == bucket]


@contextmanager
def running(settings: GatewaySettings) -> Iterator[Running]:
    store, events = MemoryObjectStore(), MemoryEventLog()
    started, found = threading.Event(), list[Running]()
    stopping = asyncio.Event()

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with opened(listening, settings, Connectors(store, events)) as door:
                loop = asyncio.get_running_loop()
                found.append(Running(listening.getsockname()[1], door, loop, store, events))
                started.set()
                await stopping.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(WAIT_S)
    try:
        yield found[0]
    finally:
        found[0].loop.call_soon_threadsafe(stopping.set)
        thread.join(2 * WAIT_S)
        assert not thread.is_alive()


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(processes=1, spool_dir=tmp_path / "spool", outbox_dir=tmp_path / "outbox")


@pytest.fixture
def gateway(settings: GatewaySettings) -> Iterator[Running]:
    with running(settings) as found:
        yield found


@contextmanager
def associated(port: int, *contexts: tuple[str, str], release: bool = True) -> Iterator[Association]:
    entity = AE("SENDER")
    for abstract, syntax in contexts or ((CT, ExplicitVRLittleEndian),):
        entity.add_requested_context(abstract, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="FLUORO")
    assert association.is_established
    # pynetdicom may drop a socket that the peer closed, unclosed.
    with closing(association.dul.socket.socket):
        yield association
        if release:
            association.release()


def slice_of(number: int, pixels: int = 64) -> Dataset:
    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = CT
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = f"1.2.3.{number}"
    content.StudyInstanceUID = "1.2.3"
    content.SeriesInstanceUID = "1.2.3.0"
    content.Modality = "CT"
    content.Rows, content.Columns = pixels, pixels
    content.BitsAllocated, content.SamplesPerPixel = 16, 1
    content.PhotometricInterpretation = "MONOCHROME2"
    content.PixelData = bytes(pixels * pixels * 2)
    return content


def data_set_of(path: Path) -> bytes:
    """Give a Part 10 file's bytes after its file meta."""
    whole = path.read_bytes()
    return whole[instance.split_part10(whole).prefix_length :]


def corpus_files(corpus: Path) -> list[Path]:
    """Give a file of every transfer syntax that the corpus has in a file that agrees with its own file meta."""
    chosen: dict[str, Path] = {}
    for path in sorted((corpus / "ts").rglob("*.dcm")):
        with suppress(Rejected):
            meta = instance.split_part10(path.read_bytes())
            examined = instance.examine(data_set_of(path), meta.transfer_syntax, meta.prefix_length)
            if (examined.sop_class, examined.sop_uid) == (meta.sop_class, meta.sop_uid):
                chosen.setdefault(meta.transfer_syntax, path)
    return list(chosen.values())


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pynetdicom send a file's data set bytes untouched, with the UIDs of its file meta in the command."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


def test_an_echo_is_answered(gateway: Running) -> None:
    with associated(gateway.port, (VERIFICATION, ExplicitVRLittleEndian)) as association:
        status = association.send_c_echo()

    assert status.Status == 0x0000


def test_an_echo_is_answered_while_store_and_broker_are_down(gateway: Running) -> None:
    gateway.store.outage = gateway.events.outage = Outage.REFUSES

    with associated(gateway.port, (VERIFICATION, ExplicitVRLittleEndian)) as association:
        status = association.send_c_echo()

    assert status.Status == 0x0000


def send_file(port: int, path: Path) -> int:
    """Send a file; give the status."""
    meta = instance.split_part10(path.read_bytes())
    with associated(port, (meta.sop_class, meta.transfer_syntax)) as association:
        return int(association.send_c_store(path).Status)


@pytest.mark.usefixtures("as_it_is")
def test_every_transfer_syntax_is_stored_as_sent(gateway: Running, corpus: Path) -> None:
    sent = corpus_files(corpus)

    statuses = {path.name: send_file(gateway.port, path) for path in sent}

    assert len(sent) > 5
    assert set(statuses.values()) <= {0x0000, 0xB007}, statuses
    stored = {event.data_hash: event for event in gateway.stored}
    by_key = {key: held.data for (_, key), held in gateway.store.objects.items()}
    for path in sent:
        meta, data = instance.split_part10(path.read_bytes()), data_set_of(path)
        hasher = instance.data_hasher(meta.transfer_syntax)
        hasher.update(data)
        event = stored[hasher.hexdigest()]
        prefix = instance.prefix(event.sop_class, event.sop_uid, meta.transfer_syntax)
        assert by_key[event.object_key] == prefix + data


def test_an_association_makes_one_end_with_its_count(gateway: Running) -> None:
    with associated(gateway.port) as association:
        statuses = [association.send_c_store(slice_of(number)).Status for number in range(1, 4)]

    assert statuses == [0, 0, 0]
    wait_for(lambda: gateway.ended == [("well", 3)])


def test_a_repeat_succeeds_and_adds_nothing(gateway: Running) -> None:
    for _ in range(2):
        with associated(gateway.port) as association:
            assert association.send_c_store(slice_of(1)).Status == 0

    assert len(gateway.objects()) == 1
    assert len({event.event_id for event in gateway.stored}) == 1
    assert len({event.transfer_id for event in gateway.stored}) == 2


def test_a_large_instance_goes_through_the_spool(gateway: Running, settings: GatewaySettings) -> None:
    large = slice_of(1, pixels=2400)
    assert len(large.PixelData) > settings.memory_instance_bytes

    with associated(gateway.port) as association:
        status = association.send_c_store(large).Status

    (stored,) = gateway.objects()
    assert status == 0
    assert stored.endswith(large.PixelData)
    assert list(settings.spool_dir.iterdir()) == []


@pytest.mark.parametrize("part", ["store", "events"])
@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
def test_an_outage_is_a_retryable_answer_and_the_retry_is_stored(gateway: Running, part: str, outage: Outage) -> None:
    failing = getattr(gateway, part)
    failing.outage = outage

    with associated(gateway.port) as association:
        refused = association.send_c_store(slice_of(1)).Status
        failing.outage = Outage.NONE
        stored = association.send_c_store(slice_of(1)).Status

    assert (refused, stored) == (0xA700, 0x0000)
    assert len(gateway.objects()) == 1
    wait_for(lambda: gateway.ended == [("partial", 1)])


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"SOPInstanceUID": "1.2.9"}, 0xA900),
        ({"StudyInstanceUID": "x"}, 0xC000),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_can_never_be_stored_is_refused_and_kept_aside(
    gateway: Running, tmp_path: Path, change: dict[str, str], status: int
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


def test_a_lost_connection_ends_the_transfer_as_aborted(gateway: Running) -> None:
    with associated(gateway.port, release=False) as association:
        assert association.send_c_store(slice_of(1)).Status == 0
        association.abort()

    wait_for(lambda: gateway.ended == [("aborted", 1)])
    wait_for(lambda: not gateway.door.connections)


def test_more_associations_than_allowed_are_rejected_for_now(settings: GatewaySettings) -> None:
    rejected = []
    with running(replace(settings, associations=1)) as gateway, associated(gateway.port):
        entity = AE("SENDER")
        entity.add_requested_context(CT)
        handlers = [(evt.EVT_REJECTED, lambda event: rejected.append(event.assoc.acceptor.primitive.result))]
        second = entity.associate("127.0.0.1", gateway.port, evt_handlers=handlers)

    assert second.is_rejected
    assert rejected == [2]


@dataclass(frozen=True)
class Silence:
    """A peer that says so much and no more."""

    said: bytes
    changes: dict[str, float]


@pytest.mark.parametrize(
    "peer",
    [
        Silence(b"", {"associate_s": 0.2}),
        Silence(b"\x01", {"associate_s": 0.2}),
        Silence(struct.pack(">BxI", 1, 600_000_000), {}),
        Silence(b"GET / HTTP/1.1\r\n\r\n", {}),
    ],
)
def test_a_peer_that_never_associates_is_aborted(settings: GatewaySettings, peer: Silence) -> None:
    with running(replace(settings, **peer.changes)) as gateway:  # type: ignore[arg-type]
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
            connection.sendall(peer.said)
            answer = connection.recv(100)

        assert answer[:1] == b"\x07"
        wait_for(lambda: not gateway.door.connections)


@pytest.mark.parametrize(("said", "changes"), [(b"", {"idle_s": 0.2}), (b"\x04\x00\x00", {"silence_s": 0.2})])
def test_an_association_that_falls_silent_is_aborted(
    settings: GatewaySettings, said: bytes, changes: dict[str, float]
) -> None:
    with running(replace(settings, **changes)) as gateway, associated(gateway.port, release=False) as association:  # type: ignore[arg-type]
        association.dul.socket.socket.sendall(said)
        wait_for(lambda: not gateway.door.connections)

        assert gateway.door.associated == 0


def test_a_pdu_that_trickles_is_aborted(settings: GatewaySettings) -> None:
    hasty = replace(settings, silence_s=0.3, slowest_bytes_per_s=100_000.0)
    with running(hasty) as gateway, associated(gateway.port, release=False) as association:
        peer = association.dul.socket.socket
        peer.sendall(struct.pack(">BxI", 4, 100_000))

        def is_ended() -> bool:
            with suppress(OSError):
                peer.sendall(b"\0")
            return not gateway.door.connections

        wait_for(is_ended)


def test_a_process_without_memory_takes_no_association_for_now(gateway: Running) -> None:
    gateway.door.inside.room.held_bytes = gateway.door.inside.room.most_bytes
    entity = AE("SENDER")
    entity.add_requested_context(CT)

    assert entity.associate("127.0.0.1", gateway.port).is_rejected

    gateway.door.inside.room.held_bytes = 0
    with associated(gateway.port):
        pass


def pipelined(numbers: range) -> bytes:
    """Give C-STORE requests that wait for no answer, and a release."""
    stream = b""
    for number in numbers:
        content = slice_of(number, pixels=40)
        primitive = C_STORE()
        primitive.MessageID = number
        primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, content.SOPInstanceUID
        primitive.Priority = 0
        primitive.DataSet = BytesIO(encode(content, is_implicit_vr=False, is_little_endian=True) or b"")
        message = C_STORE_RQ()
        message.primitive_to_message(primitive)
        stream += b"".join(
            pdu.encode() for pdu in (P_DATA_TF(one) for one in message.encode_msg(1, max_pdu_length=16384))
        )
    return stream + bytes(A_RELEASE_RQ(A_RELEASE()).encode())


def association_request() -> bytes:
    primitive = A_ASSOCIATE()
    primitive.calling_ae_title, primitive.called_ae_title = "SENDER", "FLUORO"
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    context = build_context(CT, ExplicitVRLittleEndian)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = UID("1.2.3")
    primitive.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def test_a_sender_that_does_not_wait_is_answered_in_order(gateway: Running) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
        connection.sendall(association_request() + pipelined(range(1, 41)))
        heard = b""
        while not heard.endswith(RELEASE_RP):
            heard += connection.recv(65536)

    # (0000,0120), the message that is answered, two bytes long.
    answered = [
        struct.unpack("<H", found)[0]
        for found in re.findall(rb"\x00\x00\x20\x01\x02\x00\x00\x00(..)", heard, re.DOTALL)
    ]
    assert answered == list(range(1, 41))
    assert len(gateway.objects()) == 40
    wait_for(lambda: gateway.ended == [("well", 40)])


def test_an_instance_over_the_limit_is_refused_for_good_and_not_kept(settings: GatewaySettings) -> None:
    with running(replace(settings, instance_bytes=4096)) as gateway:
        with associated(gateway.port) as association:
            too_large = association.send_c_store(slice_of(1)).Status
            fine = association.send_c_store(slice_of(2, pixels=8)).Status

        assert (too_large, fine) == (0xC001, 0x0000)
        assert len(gateway.store.objects) == 1
        wait_for(lambda: gateway.ended == [("well", 1)])


def dcmtk(name: str) -> str:
    root = Path(__file__).parents[2]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], str(root / ".tools" / "usr" / "bin")]))
    if found is None:
        pytest.skip(f"{name} of dcmtk is not here")
    return found


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.parametrize("pdu_bytes", [4096, 131072])
def test_dcmtk_stores_a_series(gateway: Running, tmp_path: Path, pdu_bytes: int) -> None:
    storescu = dcmtk("storescu")
    for number in range(1, 6):
        slice_of(number).save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    files = sorted(tmp_path.glob("*.dcm"))

    done = run([storescu, "--max-pdu", str(pdu_bytes), "127.0.0.1", str(gateway.port), *files])

    assert done.returncode == 0, done.stderr
    assert sorted(held[-8192:] for held in gateway.objects()) == sorted(data_set_of(one)[-8192:] for one in files)
    wait_for(lambda: gateway.ended == [("well", 5)])


def test_dcmtk_echoes(gateway: Running) -> None:
    assert run([dcmtk("echoscu"), "127.0.0.1", str(gateway.port)]).returncode == 0

"""The whole gateway over loopback on memory twins, with stock DICOM clients: what is stored is what was sent."""

import asyncio
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
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
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    A_RELEASE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, build_context
from structlog.testing import capture_logs

from gateway.dimse.door import Door
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.dicom import instance, part10
from operators.dimse.pdu import RELEASE_RP_PDU
from operators.errors import Rejected
from schemas.events import InstanceStored, TransferEnded
from schemas.objects import Bucket
from schemas.telemetry import GATEWAY_PEERS_READ, GATEWAY_TURNED_AWAY
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED
from tests.support.machine.debian_tools import Programs
from tests.support.worlds.gateway import GatewaySections, door_of, gateway_in

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
def running(settings: GatewaySections) -> Iterator[Running]:
    store, events = MemoryObjectStore(), MemoryEventLog()
    started, found = threading.Event(), list[Running]()
    stopping = asyncio.Event()

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings, Connectors(store, events)) as door:
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
def settings(tmp_path: Path) -> GatewaySections:
    return gateway_in(tmp_path)


@pytest.fixture
def gateway(settings: GatewaySections) -> Iterator[Running]:
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
    """Return a Part 10 file's bytes after its file meta."""
    whole = path.read_bytes()
    return whole[part10.split_part10(whole).prefix_length :]


def corpus_files(corpus: Path) -> list[Path]:
    """Return a file of every transfer syntax that the corpus has in a file that agrees with its own file meta."""
    chosen: dict[str, Path] = {}
    for path in sorted((corpus / "ts").rglob("*.dcm")):
        with suppress(Rejected):
            meta = part10.split_part10(path.read_bytes())
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
    meta = part10.split_part10(path.read_bytes())
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
        meta, data = part10.split_part10(path.read_bytes()), data_set_of(path)
        hasher = instance.data_hasher(meta.transfer_syntax)
        hasher.update(data)
        event = stored[hasher.hexdigest()]
        prefix = part10.part10_prefix(event.sop_class, event.sop_uid, meta.transfer_syntax)
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


def test_a_large_instance_goes_through_the_spool(gateway: Running, settings: GatewaySections) -> None:
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


def test_more_associations_than_allowed_are_rejected_for_now(settings: GatewaySections) -> None:
    rejected = []
    with running(settings.changed(associations=1)) as gateway, associated(gateway.port):
        entity = AE("SENDER")
        entity.add_requested_context(CT)
        handlers = [(evt.EVT_REJECTED, lambda event: rejected.append(event.assoc.acceptor.primitive.result))]
        second = entity.associate("127.0.0.1", gateway.port, evt_handlers=handlers)

    assert second.is_rejected
    assert rejected == [2]


@dataclass(frozen=True)
class Silence:
    """A peer that sends some bytes, and then nothing more."""

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
def test_a_peer_that_never_associates_is_aborted(settings: GatewaySections, peer: Silence) -> None:
    with running(settings.changed(**peer.changes)) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
            connection.sendall(peer.said)
            answer = connection.recv(100)

        assert answer[:1] == b"\x07"
        wait_for(lambda: not gateway.door.connections)


@pytest.mark.parametrize(("said", "changes"), [(b"", {"idle_s": 0.2}), (b"\x04\x00\x00", {"silence_s": 0.2})])
def test_an_association_that_falls_silent_is_aborted(
    settings: GatewaySections, said: bytes, changes: dict[str, float]
) -> None:
    with running(settings.changed(**changes)) as gateway, associated(gateway.port, release=False) as association:
        association.dul.socket.socket.sendall(said)
        wait_for(lambda: not gateway.door.connections)

        assert gateway.door.associated == 0


def test_a_pdu_that_trickles_is_aborted(settings: GatewaySections) -> None:
    hasty = settings.changed(silence_s=0.3, slowest_bytes_per_s=100_000.0)
    with running(hasty) as gateway, associated(gateway.port, release=False) as association:
        peer = association.dul.socket.socket
        peer.sendall(struct.pack(">BxI", 4, 100_000))

        def is_ended() -> bool:
            with suppress(OSError):
                peer.sendall(b"\0")
            return not gateway.door.connections

        wait_for(is_ended)


def test_a_process_without_memory_takes_no_association_for_now(gateway: Running) -> None:
    gateway.door.intake.room.held_bytes = gateway.door.intake.room.most_bytes
    entity = AE("SENDER")
    entity.add_requested_context(CT)

    assert entity.associate("127.0.0.1", gateway.port).is_rejected

    gateway.door.intake.room.held_bytes = 0
    with associated(gateway.port):
        pass


def pipelined(numbers: range) -> bytes:
    """Return C-STORE requests that wait for no answer, and a release."""
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


def association_request(
    calling: str = "SENDER", called: str = "FLUORO", contexts: Sequence[PresentationContext] = ()
) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    proposed = list(contexts) or [build_context(CT, ExplicitVRLittleEndian)]
    for place, context in enumerate(proposed):
        context.context_id = 2 * place + 1
    primitive.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = UID("1.2.3")
    primitive.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def test_a_sender_that_does_not_wait_is_answered_in_order(gateway: Running) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
        connection.sendall(association_request() + pipelined(range(1, 41)))
        heard = b""
        while not heard.endswith(RELEASE_RP_PDU):
            heard += connection.recv(65536)

    # (0000,0120), the message that is answered, two bytes long.
    answered = [
        struct.unpack("<H", found)[0]
        for found in re.findall(rb"\x00\x00\x20\x01\x02\x00\x00\x00(..)", heard, re.DOTALL)
    ]
    assert answered == list(range(1, 41))
    assert len(gateway.objects()) == 40
    wait_for(lambda: gateway.ended == [("well", 40)])


def test_an_instance_over_the_limit_is_refused_for_good_and_not_kept(settings: GatewaySections) -> None:
    with running(settings.changed(instance_bytes=4096)) as gateway:
        with associated(gateway.port) as association:
            too_large = association.send_c_store(slice_of(1)).Status
            fine = association.send_c_store(slice_of(2, pixels=8)).Status

        assert (too_large, fine) == (0xC001, 0x0000)
        assert len(gateway.store.objects) == 1
        wait_for(lambda: gateway.ended == [("well", 1)])


ALLOWED = """
[[peer]]
name = "ct1"
calling_ae = "CT1"
networks = ["127.0.0.1/32"]
tenant = "clinic"
services = ["echo", "store"]
associations = 2

[[peer]]
name = "checker"
calling_ae = "CHECKER"
called_ae = "*"
networks = ["127.0.0.0/24"]
tenant = "local"
services = ["echo"]
idle_s = 0.3
"""
STRANGER = "127.7.7.7"


def hello(calling: str = "CT1", called: str = "FLUORO") -> bytes:
    """Return an association request for C-STORE and C-ECHO, contexts 1 and 3."""
    contexts = [build_context(CT, ExplicitVRLittleEndian), build_context(VERIFICATION, ExplicitVRLittleEndian)]
    return association_request(calling, called, contexts)


@contextmanager
def connected(port: int, said: bytes, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0)) as connection:
        connection.sendall(said)
        yield connection


def pdu(connection: socket.socket) -> bytes:
    head = connection.recv(6, socket.MSG_WAITALL)
    return head + connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)


def answer(port: int, said: bytes, source: str = "127.0.0.1") -> tuple[int, ...]:
    """Return what an association request hears: result, source and reason, or what its contexts got."""
    with connected(port, said, source) as connection:
        heard = pdu(connection)
    if heard[0] == 3:
        return tuple(heard[7:10])
    accepted = A_ASSOCIATE_AC()
    accepted.decode(heard)
    return tuple(context.result for context in accepted.presentation_context)


@pytest.fixture
def allowed(settings: GatewaySections, tmp_path: Path) -> GatewaySections:
    (tmp_path / "peers.toml").write_text(ALLOWED)
    return settings.changed(peers_file=str(tmp_path / "peers.toml"))


# calling AE, called AE, source -> the rejection, or the results of the contexts for CT and Verification.
MATRIX = [
    ("CT1", "FLUORO", "127.0.0.1", (0, 0)),
    ("CT1", "OTHER", "127.0.0.1", (1, 1, 7)),
    ("CT1", "FLUORO", "127.0.0.2", (1, 1, 3)),
    ("ct1", "FLUORO", "127.0.0.1", (1, 1, 3)),
    ("CHECKER", "FLUORO", "127.0.0.2", (3, 0)),
    ("CHECKER", "OTHER", "127.0.0.1", (3, 0)),
    ("NOBODY", "FLUORO", "127.0.0.1", (1, 1, 3)),
    ("CT1", "FLUORO", STRANGER, (1, 1, 3)),
    ("CHECKER", "FLUORO", STRANGER, (1, 1, 3)),
]


def test_every_caller_hears_what_its_peer_may(allowed: GatewaySections) -> None:
    with running(allowed) as gateway:
        heard = [answer(gateway.port, hello(calling, called), source) for calling, called, source, _ in MATRIX]
        wait_for(lambda: not gateway.door.connections)

    assert heard == [expected for *_, expected in MATRIX]


def test_of_who_may_not_call_from_there_nothing_is_read(allowed: GatewaySections) -> None:
    with running(allowed) as gateway:
        heard = answer(gateway.port, struct.pack(">BxI", 1, 100_000) + b"\xff" * 100_000, STRANGER)

    assert heard == (1, 1, 3)


def test_no_log_says_what_a_stranger_calls_itself(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, capture_logs() as lines:
        answer(gateway.port, hello("QZCANARY", "QZCALLED"))
        answer(gateway.port, hello("CT1", "QZCALLED"))

    assert [(line["event"], line["reason"], line["address"]) for line in lines if "reason" in line] == [
        ("association_refused", "calling-ae", "127.0.0.1"),
        ("association_refused", "called-ae", "127.0.0.1"),
    ]
    assert "QZ" not in str(lines)


def test_a_peer_stores_for_its_own_tenant(allowed: GatewaySections) -> None:
    with running(allowed) as gateway:
        with connected(gateway.port, association_request("CT1") + pipelined(range(1, 2))) as connection:
            while pdu(connection) != RELEASE_RP_PDU:
                pass

        assert [event.tenant for event in gateway.stored] == ["clinic"]
        wait_for(lambda: gateway.ended == [("well", 1)])


def test_a_service_that_a_peer_may_not_use_is_refused_again_as_a_command(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, connected(gateway.port, hello("CHECKER")) as connection:
        assert pdu(connection)[0] == 2
        connection.sendall(pipelined(range(1, 2)))

        assert pdu(connection)[0] == 7
        assert gateway.objects() == []


def test_a_peer_has_its_own_limit_and_others_have_theirs(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, ExitStack() as kept:
        for _ in range(2):
            assert pdu(kept.enter_context(connected(gateway.port, hello())))[0] == 2

        assert answer(gateway.port, hello()) == (2, 3, 2)
        assert answer(gateway.port, hello("CHECKER")) == (3, 0)


def test_a_peer_has_its_own_idle_time(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, connected(gateway.port, hello()) as other:
        assert pdu(other)[0] == 2
        with connected(gateway.port, hello("CHECKER")) as idle:
            assert [pdu(idle)[0], pdu(idle)[0]] == [2, 7]

        wait_for(lambda: gateway.door.associated == 1)


def test_a_changed_file_holds_for_new_associations_only(allowed: GatewaySections) -> None:
    path = Path(allowed.dimse.peers_file)
    with running(allowed) as gateway, connected(gateway.port, association_request("CT1")) as before:
        assert pdu(before)[0] == 2
        for content in ("[[peer", f"peer = {'9' * 5000}", ALLOWED.replace('"CT1"', '"CT2"')):
            path.with_suffix(".new").write_text(content)
            path.with_suffix(".new").replace(path)
            read = GATEWAY_PEERS_READ.labels("in-force" if content.startswith(ALLOWED[:8]) else "refused")
            count = read._value.get()
            assert answer(gateway.port, hello()) == (0, 0)
            wait_for(lambda read=read, count=count: read._value.get() > count)  # type: ignore[misc]

        assert answer(gateway.port, hello()) == (1, 1, 3)
        assert answer(gateway.port, hello("CT2")) == (0, 0)
        before.sendall(pipelined(range(1, 2)))
        assert [pdu(before)[0], pdu(before)] == [4, RELEASE_RP_PDU]
        wait_for(lambda: gateway.ended == [("well", 1)])


def test_an_association_that_asks_nothing_is_aborted(settings: GatewaySections) -> None:
    with running(settings.changed(stall_s=0.2)) as gateway, connected(gateway.port, hello()) as silent:
        assert [pdu(silent)[0], pdu(silent)[0]] == [2, 7]


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "silent": lambda _: b"",
    "one byte": lambda _: b"\x01",
    "long first PDU": lambda _: struct.pack(">BxI", 1, 500_000) + bytes(100),
    "associated": lambda _: hello("HOSTILE"),
    "associated, other titles": lambda number: hello(f"HOSTILE{number}"),
    "in a message": lambda _: hello("HOSTILE") + pipelined(range(1, 2))[:200],
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_flood_shuts_no_sender_out_and_ends(settings: GatewaySections, said: Callable[[int], bytes]) -> None:
    hasty = settings.changed(
        associations=20, yield_s=0.2, associate_s=1.0, silence_s=1.0, stall_s=1.0, slowest_bytes_per_s=1000.0
    )
    with running(hasty) as gateway, ExitStack() as kept:
        for number in range(60):
            with suppress(OSError):
                kept.enter_context(connected(gateway.port, said(number)))

        def is_stored() -> bool:
            with connected(gateway.port, association_request("CT1") + pipelined(range(1, 2))) as sender:
                heard = pdu(sender)
                return heard[0] == 2 and pdu(sender)[0] == 4 and pdu(sender) == RELEASE_RP_PDU

        wait_for(is_stored)
        wait_for(lambda: not gateway.door.connections)
        assert len(gateway.stored) == 1


def openssl(*arguments: str) -> None:
    command = shutil.which("openssl") or pytest.skip("openssl is not here")
    subprocess.run([command, *arguments], check=True, capture_output=True, timeout=60)


def issue(folder: Path, name: str, authority: str) -> tuple[Path, Path]:
    """Make a key and a certificate that an authority has signed; its own where it is one."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    signed = [] if name == authority else ["-CA", f"{folder / authority}.pem", "-CAkey", f"{folder / authority}.key"]
    kind = "CA:TRUE" if name == authority else "CA:FALSE"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *(
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            f"basicConstraints=critical,{kind}",
        ),
        *("-keyout", str(key), "-out", str(certificate), *signed),
    )
    return certificate, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name, authority in {"ca": "ca", "door": "ca", "ct1": "ca", "foreign": "foreign"}.items():
        issue(folder, name, authority)
    return folder


def client(folder: Path, name: str | None = "ct1") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


@pytest.fixture
def encrypted(allowed: GatewaySections, certificates: Path) -> GatewaySections:
    Path(allowed.dimse.peers_file).write_text(ALLOWED.replace("associations = 2", 'certificate = "CN=ct1"'))
    return allowed.changed(
        tls_certificate=str(certificates / "door.pem"),
        tls_key=str(certificates / "door.key"),
        tls_client_ca=str(certificates / "ca.pem"),
    )


def test_a_series_is_stored_over_tls(encrypted: GatewaySections, certificates: Path) -> None:
    entity = AE("CT1")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    large = slice_of(1, pixels=2400)
    with running(encrypted) as gateway:
        association = entity.associate(
            "127.0.0.1", gateway.port, ae_title="FLUORO", tls_args=(client(certificates), "127.0.0.1")
        )
        assert association.is_established
        with closing(association.dul.socket.socket):
            statuses = [association.send_c_store(one).Status for one in (large, slice_of(2))]
            association.release()

        assert statuses == [0, 0]
        assert any(held.endswith(large.PixelData) for held in gateway.objects())
        wait_for(lambda: gateway.ended == [("well", 2)])
        wait_for(lambda: not gateway.door.connections)


def tls_answer(port: int, context: ssl.SSLContext, calling: str) -> int:
    """Return the kind of PDU that answers an association request over TLS."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(hello(calling))
        return connection.recv(1)[0]


@pytest.mark.parametrize("kind", [5, 7], ids=["released", "aborted"])
def test_who_keeps_its_socket_over_tls_loses_it_soon(
    encrypted: GatewaySections, certificates: Path, caplog: pytest.LogCaptureFixture, kind: int
) -> None:
    with (
        running(encrypted.changed(silence_s=0.2)) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as plain,
        client(certificates).wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(hello())
        assert connection.recv(1) == b"\x02"
        connection.sendall(struct.pack(">BxI4x", kind, 4))

        wait_for(lambda: not gateway.door.connections)
        assert gateway.door.associated == 0
    assert [line for line in caplog.records if line.name == "asyncio"] == []


def test_a_title_comes_with_its_certificate(encrypted: GatewaySections, certificates: Path) -> None:
    path = Path(encrypted.dimse.peers_file)
    der = ssl.PEM_cert_to_DER_cert((certificates / "door.pem").read_text())
    other = ALLOWED.replace("associations = 2", f'certificate = "sha256:{sha256(der).hexdigest()}"')
    path.write_text(
        path.read_text() + other[: other.index('[[peer]]\nname = "checker"')].replace("ct1", "d").replace("CT1", "D")
    )
    with running(encrypted) as gateway:
        kinds = {
            (title, name): tls_answer(gateway.port, client(certificates, name), title)
            for title in ("CT1", "D")
            for name in ("ct1", "door")
        }

    assert kinds == {("CT1", "ct1"): 2, ("CT1", "door"): 3, ("D", "ct1"): 3, ("D", "door"): 2}


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def weak(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    return old(context)


@pytest.mark.parametrize(
    ("name", "change", "is_heard"),
    [("ct1", old, True), ("ct1", weak, False), (None, old, False), ("foreign", old, False)],
    ids=["TLS 1.2", "no forward secrecy", "no certificate", "foreign certificate"],
)
def test_tls_takes_what_bcp_195_says_and_nothing_less(
    encrypted: GatewaySections,
    certificates: Path,
    name: str | None,
    change: Callable[[ssl.SSLContext], ssl.SSLContext],
    *,
    is_heard: bool,
) -> None:
    refused = GATEWAY_TURNED_AWAY.labels("handshake")._value.get()
    with running(encrypted) as gateway:
        if is_heard:
            assert tls_answer(gateway.port, change(client(certificates, name)), "CT1") == 2
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                tls_answer(gateway.port, change(client(certificates, name)), "CT1")
        wait_for(lambda: not gateway.door.admission.unassociated)

    assert GATEWAY_TURNED_AWAY.labels("handshake")._value.get() == refused + (not is_heard)


def test_a_handshake_that_never_comes_is_ended(encrypted: GatewaySections) -> None:
    with running(encrypted.changed(associate_s=0.2)) as gateway, connected(gateway.port, b"") as silent:
        assert silent.recv(1) == b""
        wait_for(lambda: not gateway.door.admission.unassociated)


def test_a_flood_without_handshakes_gives_way(encrypted: GatewaySections, certificates: Path) -> None:
    with running(encrypted.changed(associations=1)) as gateway, ExitStack() as kept:
        for _ in range(40):
            kept.enter_context(connected(gateway.port, b""))

        assert tls_answer(gateway.port, client(certificates), "CT1") == 2
        assert gateway.door.admission.unassociated <= 16


@pytest.mark.parametrize("pdu_bytes", [4096, 131072])
def test_dcmtk_stores_a_series(gateway: Running, dcmtk: Programs, tmp_path: Path, pdu_bytes: int) -> None:
    for number in range(1, 6):
        slice_of(number).save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    files = sorted(tmp_path.glob("*.dcm"))

    dcmtk.run("storescu", "--max-pdu", pdu_bytes, "127.0.0.1", gateway.port, *files)

    assert sorted(held[-8192:] for held in gateway.objects()) == sorted(data_set_of(one)[-8192:] for one in files)
    wait_for(lambda: gateway.ended == [("well", 5)])


def test_dcmtk_echoes(gateway: Running, dcmtk: Programs) -> None:
    dcmtk.run("echoscu", "127.0.0.1", gateway.port)

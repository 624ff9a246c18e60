"""A gateway in a thread over memory twins, and the bytes that its peers send."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE
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

from gateway.dimse.door import Door
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from schemas.events import InstanceStored, TransferEnded
from schemas.objects import Bucket
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED
from tests.support.worlds.gateway import GatewaySections, door_of

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
WAIT_S = 10.0


def wait_for(condition: Callable[[], bool], within_s: float = WAIT_S) -> None:
    """Wait, at most `within_s`, until a condition holds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.005)


@dataclass
class RunningGateway:
    """A gateway in a thread, with its port and its servers in memory."""

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
def running(settings: GatewaySections) -> Iterator[RunningGateway]:
    store, events = MemoryObjectStore(), MemoryEventLog()
    started, found = threading.Event(), list[RunningGateway]()
    stopping = asyncio.Event()

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings, Connectors(store, events)) as door:
                loop = asyncio.get_running_loop()
                found.append(RunningGateway(listening.getsockname()[1], door, loop, store, events))
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


def pipelined(numbers: range) -> bytes:
    """Return C-STORE requests that are sent without waiting for answers, and a release request."""
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


def associate_pdu(
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


def associate_request(calling: str = "CT1", called: str = "FLUORO") -> bytes:
    """Return an association request for C-STORE in context 1 and C-ECHO in context 3."""
    contexts = [build_context(CT, ExplicitVRLittleEndian), build_context(VERIFICATION, ExplicitVRLittleEndian)]
    return associate_pdu(calling, called, contexts)


@contextmanager
def connected(port: int, sent: bytes, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0)) as connection:
        connection.sendall(sent)
        yield connection


def next_pdu(connection: socket.socket) -> bytes:
    """Return the next PDU; raises ConnectionError if the gateway has closed the connection."""
    head = connection.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        raise ConnectionError("the gateway has closed the connection")
    return head + connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)


def answer_to(port: int, sent: bytes, source: str = "127.0.0.1") -> tuple[int, ...]:
    """Return the answer to an association request: result, source and reason, or the results of its contexts."""
    with connected(port, sent, source) as connection:
        received = next_pdu(connection)
    if received[0] == 3:
        return tuple(received[7:10])
    accepted = A_ASSOCIATE_AC()
    accepted.decode(received)
    return tuple(context.result for context in accepted.presentation_context)

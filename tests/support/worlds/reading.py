"""A small archive in memory for tests that read: objects as the gateway stores them, rows as the catalog job writes."""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import google_crc32c
import httpx
import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from starlette.types import Message

from api.app import Application, create_app
from api.services import JobStates, Services
from operators.catalog.flush import flush
from operators.catalog.ports import Catalog, CatalogQueries
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.memory.stores import MemoryObjectStore
from operators.connectors.sandbox.pool import Sandbox
from operators.dicom.instance import data_hasher, examine, instance_stored
from operators.dicom.part10 import split_part10
from operators.dicom.scan import Buffer
from operators.errors import Rejected
from operators.store.ports import ObjectStore, Upload
from operators.stream.step import Record
from schemas.codec import encode
from schemas.events import InstanceStored
from schemas.objects import Bucket, Envelope, Identity
from schemas.settings.web import ApiSettings, RenderSettings
from schemas.topics import INSTANCE_STORED, study_key

ROOT = "http://localhost:8060"
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"


def event_of_object(key: str, envelope: Envelope, whole: Buffer, *, transfer_id: str | None = None) -> InstanceStored:
    """Return the event of a stored object, made from all its bytes and its envelope.

    Without `transfer_id` it equals the event made when the object was stored.
    """
    with memoryview(whole) as view, view[envelope.prefix_length :] as dataset:
        examination = examine(dataset, envelope.transfer_syntax, envelope.prefix_length)
    return instance_stored(Identity.of(key), examination, envelope, len(whole), transfer_id=transfer_id)


def part10(transfer_syntax: str = ExplicitVRLittleEndian, frames: list[bytes] | None = None, **elements: Any) -> bytes:
    """Return a Part 10 file of 2 x 3 pixels a frame, or with these `frames` encapsulated.

    `elements` are named by keyword; each replaces or adds an element, and None removes one.
    """
    dataset = Dataset()
    defaults = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3.1.1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "StudyDate": "20260102",
        "StudyTime": "101530",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "ReferringPhysicianName": "House^Gregory",
        "PatientName": "Müller^Jürgen",
        "PatientID": "P_1",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyID": "S1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Rows": 2,
        "Columns": 3,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, value in {**defaults, **elements}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    count = int(elements.get("NumberOfFrames") or 1)
    dataset.PixelData = encapsulate(frames) if frames else np.arange(6 * count, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OB" if frames else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def halved_chroma(photometric_interpretation: str) -> bytes:
    """Return a file of two native frames of six pixels, 12 bytes each: neighbours share their chroma."""
    return part10(
        Rows=1,
        Columns=6,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        NumberOfFrames=2,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PhotometricInterpretation=photometric_interpretation,
    )


def nested(value: bytes) -> Dataset:
    """Return an item of a sequence that holds bulk data (0028,1201)."""
    item = Dataset()
    item.add_new(0x00281201, "OW", value)
    return item


def ordered(step: str, procedure: str) -> Dataset:
    """Return an item of Request Attributes Sequence."""
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
    return item


def deflated(file: bytes) -> bytes:
    """Return the same instance in a deflated transfer syntax."""
    split, other = split_part10(file), part10(DeflatedExplicitVRLittleEndian)
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = stream.compress(file[split.prefix_length :]) + stream.flush()
    return other[: split_part10(other).prefix_length] + body + b"\0" * (len(body) % 2)


def stored(whole: bytes, number: int, tenant: str = "local") -> tuple[Upload, Record]:
    """Return a file as the gateway uploads it, and the record that the gateway then publishes."""
    split = split_part10(whole)
    dataset = whole[split.prefix_length :]
    digest = data_hasher(split.transfer_syntax)
    digest.update(dataset)
    examined = examine(dataset, split.transfer_syntax, split.prefix_length)
    at = BEGAN + timedelta(seconds=number)
    envelope = Envelope(
        stored_at=at,
        received_at=at,
        origin="received",
        transfer_id="t1",
        calling_ae="MODALITY",
        called_ae="FLUORO",
        transfer_syntax=split.transfer_syntax,
        prefix_length=split.prefix_length,
        prefix_hash=hashlib.sha256(whole[: split.prefix_length]).hexdigest(),
        header_length=examined.header_length,
    )
    key = Identity(tenant, examined.study_uid, examined.series_uid, examined.sop_uid, digest.hexdigest()).key
    crc = base64.b64encode(int(google_crc32c.value(whole)).to_bytes(4, "big")).decode()
    event = event_of_object(key, envelope, whole)
    record = Record(
        INSTANCE_STORED.name, 0, number, int(at.timestamp() * 1000), study_key(tenant, event.study_uid), encode(event)
    )
    return Upload(key, [whole], len(whole), crc, envelope), record


def storable_files(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    """Return every file that the gateway would store: its name, its bytes, the address of its instance."""
    for path in sorted(folder.rglob("*")):
        whole = path.read_bytes() if path.is_file() else b""
        try:
            upload, _ = stored(whole, 1)
        except Rejected:
            continue
        _, study, series, name = upload.key.split("/")
        yield path.name, whole, f"/dicomweb/studies/{study}/series/{series}/instances/{name.split('_')[0]}"


def cataloged(catalog: Catalog, records: list[Record]) -> None:
    """Write the records' rows as the catalog job does."""
    flush(catalog, 0, None, tuple(records), BEGAN.timestamp())


@dataclass
class CountingStore(MemoryObjectStore):
    """A store that records the ranges that were read, and counts the reads that are still open."""

    reads: list[tuple[int, int | None]] = field(default_factory=list)
    open: int = 0

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes, and record the read."""
        self.reads.append((start, end))
        self.open += 1
        try:
            async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
                await asyncio.sleep(0)
                yield chunk
        finally:
            self.open -= 1


@dataclass
class World:
    """An archive in memory and the application over it."""

    objects: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    catalog: MemoryCatalog = field(default_factory=MemoryCatalog)
    settings: ApiSettings = field(default_factory=ApiSettings)
    render: RenderSettings = field(default_factory=RenderSettings)
    jobs: JobStates | None = None
    stored: int = 0

    def __post_init__(self) -> None:
        self.queries = MemoryQueries(rows=self.catalog.tables)
        self.serve(self.queries, self.objects)

    def serve(self, queries: CatalogQueries, objects: ObjectStore) -> None:
        """Have the application answer from these queries and objects from now on."""
        services = Services(queries, objects, self.settings, self.render, Sandbox(self.render), jobs=self.jobs)
        self.app: Application = create_app(services)

    async def add(self, *files: bytes, tenant: str = "local") -> None:
        """Store files and write their rows."""
        records = []
        for whole in files:
            self.stored += 1
            upload, record = stored(whole, self.stored, tenant)
            await self.objects.put(Bucket.HOT, upload)
            records.append(record)
        cataloged(self.catalog, records)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Send a GET as a client on this machine; an error that breaks the response off is raised."""
        return await self.ask("GET", path, **headers)

    async def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        """Send a request without a body, GET or another."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        transport = httpx.ASGITransport(app=self.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url=ROOT) as client:
            return await client.request(method, path, headers=named)


@dataclass(frozen=True)
class BodyPart:
    """One part of a multipart response."""

    headers: dict[str, str]
    body: bytes


def parts_of(response: httpx.Response) -> list[BodyPart]:
    """Return the parts of a multipart response, and assert that there is nothing outside them."""
    boundary = response.headers["content-type"].split("boundary=")[1].encode()
    first, *found, last = (b"\r\n" + response.content).split(b"\r\n--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    return [_part(one) for one in found]


def bodies(response: httpx.Response) -> list[bytes]:
    """Return the bodies of the parts of a multipart response with status 200."""
    assert response.status_code == 200, response.text
    return [part.body for part in parts_of(response)]


def _part(text: bytes) -> BodyPart:
    head, body = text.removeprefix(b"\r\n").split(b"\r\n\r\n", 1)
    lines = (line.split(": ", 1) for line in head.decode().split("\r\n"))
    return BodyPart({name.lower(): value for name, value in lines}, body)


def scope_of(path: str) -> dict[str, Any]:
    """Return the ASGI scope of a GET from this machine."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost:8060")],
        "client": ("127.0.0.1", 5),
    }


async def still_there() -> Message:
    """Wait, as the ASGI receive of a client that stays connected."""
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}

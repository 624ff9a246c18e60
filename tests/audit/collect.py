"""What the auditor sees: client code alone, each store by its own protocol, nothing of the product.

Where things lie is written down a second time here, on purpose.
"""

import hashlib
import itertools
import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Self, TypeVar

import fastavro
import httpx
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from fastavro.schema import parse_schema, to_parsing_canonical_form
from minio import Minio, S3Error
from psycopg.rows import dict_row
from urllib3 import BaseHTTPResponse, PoolManager, Timeout

from tests.audit.judge import (
    Announced,
    Aside,
    Content,
    Counts,
    Name,
    Revision,
    Row,
    Series,
    Snapshot,
    Stored,
    Study,
    leaks,
    name_of,
)
from tests.audit.ledger import Line, read
from tests.audit.part10 import read_meta

BUCKETS = ("fluoro-hot", "fluoro-warm", "fluoro-cold")
ASIDE = "fluoro-quarantine"
TOPICS = (
    "instance-stored",
    "transfer-ended",
    "instance-quarantined",
    "study-command",
    "study-due",
    "study-cataloged",
    "study-settled",
    "instance-conflict",
    "record-rejected",
)
SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"
PAGE = 1000
CHUNK = 1 << 20
READERS = 8
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Place:
    """Where the archive is: the addresses of its stores (FLUORO_* variables), its API, its logs."""

    env: Mapping[str, str] = field(repr=False)
    api: str
    logs: tuple[Path, ...] = ()
    metrics: tuple[str, ...] = ()
    tenant: str = "local"

    def setting(self, name: str, default: str = "") -> str:
        """Read one variable, or the file that it names."""
        if f"{name}_FILE" in self.env:
            return Path(self.env[f"{name}_FILE"]).read_text().strip()
        return self.env.get(name, default)


@dataclass
class Eyes:
    """Looks at an archive, as often as asked; Kafka is read on from where it was left."""

    place: Place
    ledgers: Sequence[Path]
    topics: "Topics"
    api: "Api"

    def look(self, *, hashed: int | None = 0, fetched: int = 0) -> Snapshot:
        """Return a snapshot; `hashed` objects are read whole (None: all), `fetched` instances come by WADO."""
        ledger = read(*self.ledgers)
        self.topics.read_on()
        objects = stored(self.place, hashed)
        aside_objects = stored(self.place, hashed, (ASIDE,), aside_content)
        tenants = {line.tenant for line in ledger} | {key.split("/")[0] for key in objects}
        fetched_now = self.api.fetched(sample([line for line in ledger if line.state == "acked"], fetched))
        return Snapshot(
            ledger=tuple(ledger),
            objects=objects,
            aside_objects=aside_objects,
            raised=frozenset(raised(one) for one in self.topics.records["instance-conflict"]),
            unreadable=tuple(self.topics.unreadable),
            rejected=tuple(str(one["reason"]) for one in self.topics.records["record-rejected"]),
            settled=tuple(settled(one) for one in self.topics.records["study-settled"]),
            announced=tuple(announced(one) for one in self.topics.records["instance-stored"]),
            fetched=fetched_now,
            put_off=len(self.api.put_off),
            leaks=tuple(self.leaks(ledger, [*objects, *aside_objects])) if hashed != 0 else (),
            **catalog(self.place, sorted(tenants)),
            **self.api.answers(),
        )

    def leaks(self, ledger: Iterable[Line], objects: Iterable[str]) -> Iterator[str]:
        """Return the places outside the stores in which a patient's token stands."""
        tokens = {line.canary for line in ledger} - {""}
        for token in sorted(tokens)[:1]:
            self.api.ask_for(token)
        own = [("object keys", "\n".join(objects).encode()), ("record keys", b"\n".join(self.topics.keys))]
        yield from leaks(tokens, itertools.chain(own, self.api.said(), logged(self.place.logs)))


@contextmanager
def eyes(place: Place, ledgers: Sequence[Path]) -> Iterator[Eyes]:
    """Have eyes for the block."""
    with Topics(place.setting("FLUORO_BROKER_BOOTSTRAP")) as topics, Api(place) as api:
        yield Eyes(place, ledgers, topics, api)


T = TypeVar("T")


def sample(every: Sequence[T], most: int) -> list[T]:
    """Pick some at even distances."""
    return list(every[:: -(-len(every) // most)]) if every and most else []


# --- the object store ---

# Reads an object's stream beside its envelope; raises ValueError or KeyError for what it should not be.
Look = Callable[[BaseHTTPResponse, Mapping[str, str]], Content]


def stored(
    place: Place,
    hashed: int | None,
    buckets: Sequence[str] = BUCKETS,
    look: "Look | None" = None,
) -> dict[str, Stored]:
    """List every object of these buckets that is no command, and read some of them: as instances, or as `look` does."""
    with store(place) as client, ThreadPoolExecutor(READERS) as pool:
        found = list(listed(client, buckets))
        to_read = found if hashed is None else sample(found, hashed)
        read_one = partial(content, client, look=look or digested)
        contents = dict(zip(to_read, pool.map(lambda one: read_one(*one[:2]), to_read), strict=True))
    return {one[1]: Stored(one[1], one[2], one in contents, contents.get(one)) for one in found}


@contextmanager
def store(place: Place) -> Iterator[Minio]:
    """Have a client of the object store for the block."""
    endpoint = place.setting("FLUORO_STORE_ENDPOINT")
    connections = PoolManager(maxsize=READERS, timeout=Timeout(60), retries=False)
    with connections:
        yield Minio(
            endpoint.split("://")[-1],
            access_key=place.setting("FLUORO_STORE_ACCESS_KEY"),
            secret_key=place.setting("FLUORO_STORE_SECRET_KEY"),
            region=place.setting("FLUORO_STORE_REGION", "us-east-1"),
            secure=endpoint.startswith("https"),
            http_client=connections,
        )


def listed(client: Minio, buckets: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Return bucket, key and size of every object."""
    for bucket in buckets:
        try:
            for one in client.list_objects(bucket, recursive=True):
                key = str(one.object_name)
                if "/_commands/" not in key:
                    yield bucket, key, int(one.size or 0)
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise


def content(client: Minio, bucket: str, key: str, look: Look) -> Content | None:
    """Read an object and hash it; None when it is gone, or not what it should be."""
    try:
        answer = client.get_object(bucket, key)
    except S3Error:
        return None
    try:
        head = "x-amz-meta-"
        envelope = {
            name.lower()[len(head) :]: value for name, value in answer.headers.items() if name.lower().startswith(head)
        }
        return look(answer, envelope)
    except (ValueError, KeyError, struct.error):
        return None
    finally:
        answer.close()
        answer.release_conn()


def digested(answer: BaseHTTPResponse, envelope: Mapping[str, str]) -> Content:
    """Hash an object's stream: what precedes the data set, and the data set under its transfer syntax."""
    chunks = answer.stream(CHUNK)
    first = next(chunks, b"")
    prefix_length, syntax, *_ = read_meta(first)
    digest = hashlib.sha256(syntax.encode() + b"\0" + first[prefix_length:])
    at, tag, position = int(envelope.get("header-length", -1)), first[:0], len(first)
    tag += overlap(first, 0, at)
    for chunk in chunks:
        digest.update(chunk)
        tag += overlap(chunk, position, at)
        position += len(chunk)
    return Content(
        data_hash=digest.hexdigest(),
        prefix_hash=hashlib.sha256(first[:prefix_length]).hexdigest(),
        prefix_length=prefix_length,
        transfer_syntax=syntax,
        after_header=tag if 0 <= at <= position else None,
        envelope=envelope,
    )


def aside_content(answer: BaseHTTPResponse, envelope: Mapping[str, str]) -> Content:
    """Hash what was kept aside, of which only the envelope says where a data set begins."""
    whole, prefix_length, syntax = answer.read(), int(envelope["prefix-length"]), envelope["transfer-syntax"]
    return Content(
        data_hash=hashlib.sha256(syntax.encode() + b"\0" + whole[prefix_length:]).hexdigest(),
        prefix_hash=hashlib.sha256(whole[:prefix_length]).hexdigest(),
        prefix_length=prefix_length,
        transfer_syntax=syntax,
        after_header=None,
        envelope=envelope,
    )


def overlap(chunk: bytes, position: int, at: int) -> bytes:
    """Return what of the four bytes from `at` on lies in a chunk that begins at `position`."""
    return chunk[max(at - position, 0) : max(at + 4 - position, 0)] if at >= 0 else b""


# --- the broker ---


class Topics:
    """Every record of the topics, from offset 0, decoded by our own reading of the schema files."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"auditor-{os.getpid()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 8 << 20,
                "logger": None,
            }
        )
        self._schemas = schemas(SCHEMAS)
        self._at: dict[tuple[str, int], int] = {}
        self.records: dict[str, list[dict[str, Any]]] = {topic: [] for topic in TOPICS}
        self.keys: list[bytes] = []
        self.unreadable: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read_on(self) -> None:
        """Read what has come since the last time, to the end of every partition."""
        ends = self._partitions()
        self._consumer.assign([TopicPartition(*one, self._at.get(one, OFFSET_BEGINNING)) for one in ends])
        while ends:
            record = self._consumer.poll(30)
            if record is None:
                raise TimeoutError(f"the broker gave nothing for 30 s, {len(ends)} partitions are not at their end")
            error = record.error()
            if error is None:
                self._take(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.discard((record.topic(), record.partition()))
            elif not error.retriable():
                raise KafkaException(error)

    def _partitions(self) -> set[tuple[str, int]]:
        known = self._consumer.list_topics(timeout=30).topics
        return {(name, partition) for name in TOPICS if name in known for partition in known[name].partitions}

    def _take(self, record: Any) -> None:
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        self._at[topic, partition] = offset + 1
        self.keys.append(record.key() or b"")
        self.keys += [name.encode() + b"=" + (value or b"") for name, value in record.headers() or []]
        decoded = decoded_by(self._schemas, record.value() or b"")
        if decoded is None:
            self.unreadable.append(f"{topic}[{partition}]@{offset}")
        else:
            self.records[topic].append(decoded)


def schemas(folder: Path) -> dict[bytes, Any]:
    """Read the committed schemas, by the fingerprint that precedes a record of theirs."""
    sources = [json.loads(path.read_text()) for path in folder.glob("*.avsc")]
    return {fingerprint(to_parsing_canonical_form(one)): parse_schema(one, named_schemas={}) for one in sources}


def decoded_by(known: Mapping[bytes, Any], value: bytes) -> dict[str, Any] | None:
    """Decode one record (Avro single-object encoding); None when no schema reads it."""
    schema = known.get(value[2:10])
    if value[:2] != b"\xc3\x01" or schema is None:
        return None
    try:
        record = fastavro.schemaless_reader(BytesIO(value[10:]), schema, None)
    except (ValueError, EOFError, IndexError, TypeError):
        return None
    return record if isinstance(record, dict) else None


EMPTY = 0xC15D213AA4D7A795


def fingerprint(canonical: str) -> bytes:
    """Return the CRC-64-AVRO of a canonical schema, little endian (Avro specification, "Schema Fingerprints")."""
    value = EMPTY
    for byte in canonical.encode():
        value = (value >> 8) ^ RABIN[(value ^ byte) & 0xFF]
    return value.to_bytes(8, "little")


def rabin(value: int) -> int:
    """Return one entry of the fingerprint's table."""
    for _ in range(8):
        value = (value >> 1) ^ (EMPTY & -(value & 1))
    return value


RABIN = [rabin(byte) for byte in range(256)]


def settled(record: Mapping[str, Any]) -> Revision:
    """Read a study-settled event."""
    return Revision(
        study=Study(record["tenant"], record["study_uid"]),
        number=record["revision"],
        version=record["version"],
        digest=record["digest"],
        instances=record["instances"],
        size_bytes=record["size_bytes"],
        series=per_series(record),
        event_id=record["event_id"],
    )


def per_series(record: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Return each series' count and digest; nothing when not all are listed."""
    if record["series_truncated"]:
        return {}
    return {one["series_uid"]: (one["instances"], one["digest"]) for one in record["series"]}


def announced(record: Mapping[str, Any]) -> Announced:
    """Read an instance-stored event."""
    name = Name(record["tenant"], record["study_uid"], record["sop_uid"])
    return Announced(name, record["data_hash"], record["object_key"], record["event_id"])


def raised(record: Mapping[str, Any]) -> tuple[Name, str]:
    """Read an instance-conflict event: of which instance which content is not shown."""
    return Name(record["tenant"], record["study_uid"], record["sop_uid"]), str(record["lost_data_hash"])


# --- the catalog ---

QUERIES = {
    "instance": """SELECT tenant, study_uid, sop_uid, series_uid, sop_class, data_hash, object_key, size_bytes,
                          prefix_hash, prefix_length, header_length FROM instance""",
    "conflict": "SELECT tenant, study_uid, sop_uid, data_hash, object_key FROM conflict",
    "quarantine": "SELECT tenant, data_hash, state, object_key, size_bytes, prefix_hash FROM quarantine",
    "study": "SELECT tenant, study_uid, modalities, sop_classes, series, instances, size_bytes FROM study",
    "series": "SELECT tenant, study_uid, series_uid, modality, instances, size_bytes FROM series",
    "revision": """SELECT tenant, study_uid, revision, version, digest, instances, size_bytes, series,
                          series_truncated FROM revision""",
}


def catalog(place: Place, tenants: Sequence[str]) -> dict[str, Any]:
    """Read every row of every tenant, in one snapshot, as the parts of a Snapshot that come from it."""
    found: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in QUERIES}
    with psycopg.connect(
        host=place.setting("FLUORO_CATALOG_HOST"),
        port=place.setting("FLUORO_CATALOG_PORT"),
        dbname=place.setting("FLUORO_CATALOG_DATABASE", "fluoro"),
        user=place.setting("FLUORO_CATALOG_USER", "reader"),
        password=place.setting("FLUORO_CATALOG_PASSWORD"),
        connect_timeout=5,
        row_factory=dict_row,
    ) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for tenant in tenants:
            # The reader sees one tenant at a time; another role sees the same rows again.
            connection.execute("SELECT set_config('fluoro.tenant', %s, true)", [tenant])
            for table, query in QUERIES.items():
                found[table] |= {repr(row): row for row in connection.execute(query)}
    return parts({table: list(rows.values()) for table, rows in found.items()})


Rows = list[dict[str, Any]]


def parts(found: Mapping[str, Rows]) -> dict[str, Any]:
    """Turn tables into the parts of a Snapshot."""
    return {
        "rows": tuple(instance_row(row) for row in found["instance"]),
        "losers": frozenset(row["object_key"] for row in found["conflict"]),
        "conflicts": tuple(
            (Name(row["tenant"], row["study_uid"], row["sop_uid"]), str(row["data_hash"])) for row in found["conflict"]
        ),
        "aside": tuple(Aside(**row) for row in found["quarantine"]),
        "study_counts": {Study(row["tenant"], row["study_uid"]): study_counts(row) for row in found["study"]},
        "series_counts": {
            series_name(row): Counts(instances=row["instances"], size_bytes=row["size_bytes"])
            for row in found["series"]
        },
        "series_modality": {series_name(row): row["modality"] for row in found["series"]},
        "revisions": tuple(
            Revision(
                study=Study(row["tenant"], row["study_uid"]),
                number=row["revision"],
                series=per_series(row),
                **{name: row[name] for name in ("version", "digest", "instances", "size_bytes")},
            )
            for row in found["revision"]
        ),
    }


def instance_row(row: Mapping[str, Any]) -> Row:
    """Read an instance's row."""
    rest = {name: value for name, value in row.items() if name not in ("tenant", "study_uid", "sop_uid")}
    return Row(name=Name(row["tenant"], row["study_uid"], row["sop_uid"]), **rest)


def study_counts(row: Mapping[str, Any]) -> Counts:
    """Read what a study's row says of what is below it."""
    return Counts(
        instances=row["instances"],
        size_bytes=row["size_bytes"],
        series=row["series"],
        modalities=tuple(sorted(row["modalities"])),
        sop_classes=tuple(sorted(row["sop_classes"])),
    )


def series_name(row: Mapping[str, Any]) -> Series:
    """Return the series that a row is about."""
    return Series(row["tenant"], row["study_uid"], row["series_uid"])


# --- the read API ---

STUDY, SERIES, SOP = "0020000D", "0020000E", "00080018"
Answer = Mapping[str, Any]


class Api:
    """QIDO and WADO as a viewer uses them."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.put_off: list[str] = []
        self._http = httpx.Client(base_url=place.api, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def answers(self) -> dict[str, Any]:
        """Ask for all studies, series and instances, as the parts of a Snapshot that come from QIDO."""
        tenant = self._place.tenant
        return {
            "answered": tuple(Name(tenant, one(row, STUDY), one(row, SOP)) for row in self.pages("instances")),
            "answered_studies": tuple(
                (Study(tenant, one(row, STUDY)), answered_study(row)) for row in self.pages("studies")
            ),
            "answered_series": tuple(
                (Series(tenant, one(row, STUDY), one(row, SERIES)), Counts(instances=number(row, "00201209")))
                for row in self.pages("series")
            ),
        }

    def pages(self, resource: str) -> Iterator[Answer]:
        """Return every match of a search without conditions, page by page."""
        offset = 0
        while page := self.search(resource, limit=PAGE, offset=offset):
            yield from page
            offset += len(page)

    def search(self, resource: str, **parameters: Any) -> list[Answer]:
        """Search (PS3.18 10.6)."""
        answer = self._http.get(
            f"/dicomweb/{resource}", params=parameters, headers={"Accept": "application/dicom+json"}
        )
        answer.raise_for_status()
        return list(answer.json()) if answer.status_code != httpx.codes.NO_CONTENT else []

    def counted(self, study_uid: str) -> int:
        """Return how many instances QIDO counts in a study; 0 for one that it does not know."""
        found = self.search("studies", StudyInstanceUID=study_uid, includefield="00201208")
        return number(found[0], "00201208") or 0 if found else 0

    def ask_for(self, token: str) -> None:
        """Search by a patient's name and ID, as a reader does: neither may reach a log."""
        self.search("studies", PatientName=f"{token}*")
        self.search("studies", PatientID=f"ID{token}")
        self._http.get(f"/dicomweb/studies/{token}")

    def fetched(self, lines: Sequence[Line]) -> dict[Name, str]:
        """Return the data hash of what WADO answers for these instances; empty where it does not."""
        with ThreadPoolExecutor(READERS) as pool:
            return dict(zip(map(name_of, lines), pool.map(self.fetch, lines), strict=True))

    def fetch(self, line: Line) -> str:
        """Retrieve one instance as stored (PS3.18 10.4), and hash its data set."""
        answer = self.patiently(
            f"/dicomweb/studies/{line.study_uid}/series/{line.series_uid}/instances/{line.sop_uid}",
            {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
        )
        if answer.status_code != httpx.codes.OK:
            return f"status {answer.status_code}"
        part10 = only_part(answer)
        begins, syntax, *_ = read_meta(bytes(part10[:CHUNK]))
        digest = hashlib.sha256(syntax.encode() + b"\0")
        digest.update(part10[begins:])
        return digest.hexdigest()

    def patiently(self, path: str, headers: dict[str, str]) -> httpx.Response:
        """Get, and again for a while when the answer is 503: come back later."""
        until = time.monotonic() + PATIENCE_S
        answer = self._http.get(path, headers=headers)
        while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and time.monotonic() < until:
            self.put_off.append(path)
            time.sleep(0.2)
            answer = self._http.get(path, headers=headers)
        return answer

    def said(self) -> Iterator[tuple[str, bytes]]:
        """Return what the processes say of themselves."""
        for url in (f"{self._place.api}/metrics", *self._place.metrics):
            yield f"metrics {url.split('//')[-1].split('/')[0]}", httpx.get(url, timeout=10).content


def one(row: Answer, tag: str) -> str:
    """Return an attribute's first value as text."""
    return str(row[tag]["Value"][0])


def number(row: Answer, tag: str) -> int | None:
    """Return an attribute's number; None when it is not answered."""
    values = row.get(tag, {}).get("Value")
    return int(values[0]) if values else None


def answered_study(row: Answer) -> Counts:
    """Read the counts that QIDO gives for a study (PS3.4 C.3.4)."""
    modalities = row.get("00080061", {}).get("Value")
    return Counts(
        instances=number(row, "00201208"),
        series=number(row, "00201206"),
        modalities=tuple(sorted(modalities)) if modalities else None,
    )


def only_part(answer: httpx.Response) -> memoryview:
    """Return the one part of a multipart answer, without a copy: one may be as large as an instance may be."""
    boundary = answer.headers["content-type"].split("boundary=")[1].split(";")[0].strip('"').encode()
    begins = answer.content.index(b"\r\n\r\n") + 4
    ends = answer.content.rindex(b"\r\n--" + boundary)
    return memoryview(answer.content)[begins:ends]


# --- the logs ---


def logged(folders: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Return every log file, in pieces that overlap."""
    for folder in folders:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            yield from pieces(path, path.relative_to(folder))


def pieces(path: Path, name: Path) -> Iterator[tuple[str, bytes]]:
    """Return a file in pieces; each begins with the end of the one before, so that no token is cut."""
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(16 * CHUNK):
            yield f"log {name}", before + chunk
            before = chunk[-256:]

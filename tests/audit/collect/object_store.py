"""The objects of an archive, read with the store's own client."""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from minio import Minio, S3Error
from urllib3 import BaseHTTPResponse, PoolManager, Timeout

from tests.audit.address import ArchiveAddress
from tests.audit.part10 import read_meta
from tests.audit.sampling import sample
from tests.audit.snapshot import ObjectContent, ObjectSeen

BUCKETS = ("fluoro-hot", "fluoro-warm", "fluoro-cold")
QUARANTINE = "fluoro-quarantine"
CHUNK = 1 << 20
READERS = 8

# Reads an object's stream; given its envelope too. Raises ValueError or KeyError for an object of another kind.
ReadContent = Callable[[BaseHTTPResponse, Mapping[str, str]], ObjectContent]


def stored(
    address: ArchiveAddress,
    hashed: int | None,
    buckets: Sequence[str] = BUCKETS,
    read_content: "ReadContent | None" = None,
) -> dict[str, ObjectSeen]:
    """Return every object of these buckets that is no command, `hashed` of them (None: all) read, by key.

    Objects are read as instances unless `read_content` reads them otherwise.
    """
    with store(address) as client, ThreadPoolExecutor(READERS) as pool:
        found = list(listed(client, buckets))
        to_read = found if hashed is None else sample(found, hashed)
        read_one = partial(content, client, read_content=read_content or instance_content)
        contents = dict(zip(to_read, pool.map(lambda one: read_one(*one[:2]), to_read), strict=True))
    return {one[1]: ObjectSeen(one[1], one[2], one in contents, contents.get(one)) for one in found}


def refused(objects: Mapping[str, ObjectSeen]) -> dict[str, ObjectSeen]:
    """Return the refused objects of the quarantine; what is kept of damaged objects has no row."""
    return {key: one for key, one in objects.items() if key.split("/")[1] != "damaged"}


@contextmanager
def store(address: ArchiveAddress) -> Iterator[Minio]:
    """Connect a client to the object store for the block."""
    endpoint = address.setting("FLUORO_STORE_ENDPOINT")
    connections = PoolManager(maxsize=READERS, timeout=Timeout(60), retries=False)
    with connections:
        yield Minio(
            endpoint.split("://")[-1],
            access_key=address.setting("FLUORO_STORE_ACCESS_KEY"),
            secret_key=address.setting("FLUORO_STORE_SECRET_KEY"),
            region=address.setting("FLUORO_STORE_REGION", "us-east-1"),
            secure=endpoint.startswith("https"),
            http_client=connections,
        )


def listed(client: Minio, buckets: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield bucket, key and size in bytes of every object that is no command or policy."""
    for bucket in buckets:
        try:
            for one in client.list_objects(bucket, recursive=True):
                key = str(one.object_name)
                if "/_" not in key:
                    yield bucket, key, int(one.size or 0)
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise


def content(client: Minio, bucket: str, key: str, read_content: ReadContent) -> ObjectContent | None:
    """Read an object and hash it; None when it does not exist or is of another kind."""
    try:
        answer = client.get_object(bucket, key)
    except S3Error:
        return None
    try:
        head = "x-amz-meta-"
        envelope = {
            name.lower()[len(head) :]: value for name, value in answer.headers.items() if name.lower().startswith(head)
        }
        return read_content(answer, envelope)
    except (ValueError, KeyError, struct.error):
        return None
    finally:
        answer.close()
        answer.release_conn()


def instance_content(answer: BaseHTTPResponse, envelope: Mapping[str, str]) -> ObjectContent:
    """Hash an instance's stream: preamble and file meta, and the data set under its transfer syntax."""
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
    return ObjectContent(
        data_hash=digest.hexdigest(),
        prefix_hash=hashlib.sha256(first[:prefix_length]).hexdigest(),
        prefix_length=prefix_length,
        transfer_syntax=syntax,
        after_header=tag if 0 <= at <= position else None,
        envelope=envelope,
    )


def quarantined_content(answer: BaseHTTPResponse, envelope: Mapping[str, str]) -> ObjectContent:
    """Hash a quarantined object, of which only the envelope says where a data set begins."""
    whole, prefix_length, syntax = answer.read(), int(envelope["prefix-length"]), envelope["transfer-syntax"]
    return ObjectContent(
        data_hash=hashlib.sha256(syntax.encode() + b"\0" + whole[prefix_length:]).hexdigest(),
        prefix_hash=hashlib.sha256(whole[:prefix_length]).hexdigest(),
        prefix_length=prefix_length,
        transfer_syntax=syntax,
        after_header=None,
        envelope=envelope,
    )


def overlap(chunk: bytes, position: int, at: int) -> bytes:
    """Return those of the four bytes from `at` on that are in a chunk that begins at `position`."""
    return chunk[max(at - position, 0) : max(at + 4 - position, 0)] if at >= 0 else b""

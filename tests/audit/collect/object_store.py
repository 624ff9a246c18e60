"""The objects of an archive, read with the store's own client."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from minio import Minio, S3Error
from urllib3 import BaseHTTPResponse, PoolManager, Timeout

from tests.audit.address import ArchiveAddress
from tests.audit.collect.contents import KnownContents, ListedObject
from tests.audit.part10 import read_meta
from tests.audit.sampling import sample
from tests.audit.snapshot import ObjectContent, ObjectSeen

BUCKETS = ("fluoro-hot", "fluoro-warm", "fluoro-cold")
QUARANTINE = "fluoro-quarantine"
CHUNK = 1 << 20
READERS = 8
# Objects are read in groups: what was read of a group is remembered when all of it is read.
GROUP = 256
# The folders of commands and policies.
DOCUMENTS = ("/_commands/", "/_policies/")
# What a command says that nothing here asks for, and that may be long: the event of the chosen content.
LEFT_OUT = ("instance",)
# What is kept of an envelope.
KEPT = ("prefix-hash", "prefix-length", "header-length")

# Reads an object's stream; given its envelope too. Raises ValueError or KeyError for an object of another kind.
ReadContent = Callable[[BaseHTTPResponse, Mapping[str, str]], ObjectContent]
Objects = dict[str, ObjectSeen]


def stored(client: Minio, every: Iterable[ListedObject], hashed: int | None, known: KnownContents) -> Objects:
    """Return those of these objects that are instances, by key; `hashed` of them (None: all) are read."""
    found = [one for one in every if "/_" not in one.key]
    return seen(found, contents(client, found, hashed, known, instance_content))


def refused(client: Minio, every: Iterable[ListedObject], hashed: int | None, known: KnownContents) -> Objects:
    """Return the refused objects of the quarantine; what is kept of damaged objects has no row."""
    found = [one for one in every if one.key.split("/")[1] != "damaged"]
    return seen(found, contents(client, found, hashed, known, quarantined_content))


def seen(every: Iterable[ListedObject], contents: Mapping[ListedObject, ObjectContent | None]) -> Objects:
    """Return objects with what was read of them."""
    return {one.key: ObjectSeen(one.key, one.size_bytes, one in contents, contents.get(one)) for one in every}


def contents(
    client: Minio,
    every: Sequence[ListedObject],
    hashed: int | None,
    known: KnownContents,
    read_content: ReadContent,
) -> dict[ListedObject, ObjectContent | None]:
    """Return the contents of `hashed` of these objects (None: all); those that are known are not read again."""
    wanted = list(every) if hashed is None else sample(every, hashed)
    found: dict[ListedObject, ObjectContent | None] = {one: known.find(one) for one in wanted}
    to_read = [one for one, content in found.items() if content is None]
    with ThreadPoolExecutor(READERS) as pool:
        for first in range(0, len(to_read), GROUP):
            group = to_read[first : first + GROUP]
            read = list(pool.map(partial(content_of, client, read_content), group))
            known.note(zip(group, read, strict=True))
            found |= zip(group, read, strict=True)
    return found


def documents(client: Minio, every: Iterable[ListedObject]) -> dict[str, Any]:
    """Return the commands and policies among these objects by key: the values of their JSON, None where it is none."""
    found = [one for one in every if any(folder in one.key for folder in DOCUMENTS)]
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip((one.key for one in found), pool.map(partial(document, client), found), strict=True))


def document(client: Minio, listed: ListedObject) -> dict[str, Any] | None:
    """Return the JSON values in an object; None where there are none, or it is gone."""
    try:
        answer = client.get_object(listed.bucket, listed.key)
    except S3Error:
        return None
    try:
        return {name: value for name, value in json.loads(answer.read()).items() if name not in LEFT_OUT}
    except (ValueError, AttributeError):
        return None
    finally:
        answer.close()
        answer.release_conn()


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
    return ((one.bucket, one.key, one.size_bytes) for one in listing(client, buckets) if "/_" not in one.key)


def listing(client: Minio, buckets: Sequence[str]) -> Iterator[ListedObject]:
    """Yield every object of these buckets."""
    for bucket in buckets:
        try:
            for one in client.list_objects(bucket, recursive=True):
                yield ListedObject(bucket, str(one.object_name), str(one.etag), int(one.size or 0))
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise


def content_of(client: Minio, read_content: ReadContent, listed: ListedObject) -> ObjectContent | None:
    """Read an object and hash it; None when it does not exist or is of another kind."""
    try:
        answer = client.get_object(listed.bucket, listed.key)
    except S3Error:
        return None
    try:
        head = "x-amz-meta-"
        envelope = {
            name.lower()[len(head) :]: value for name, value in answer.headers.items() if name.lower().startswith(head)
        }
        content = read_content(answer, envelope)
        return replace(content, envelope={name: envelope[name] for name in KEPT if name in envelope})
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
    prefix_length, syntax = int(envelope["prefix-length"]), envelope["transfer-syntax"]
    prefix, digest, position = hashlib.sha256(), hashlib.sha256(syntax.encode() + b"\0"), 0
    for chunk in answer.stream(CHUNK):
        of_prefix = max(prefix_length - position, 0)
        prefix.update(chunk[:of_prefix])
        digest.update(chunk[of_prefix:])
        position += len(chunk)
    return ObjectContent(
        data_hash=digest.hexdigest(),
        prefix_hash=prefix.hexdigest(),
        prefix_length=prefix_length,
        transfer_syntax=syntax,
        after_header=None,
        envelope=envelope,
    )


def overlap(chunk: bytes, position: int, at: int) -> bytes:
    """Return those of the four bytes from `at` on that are in a chunk that begins at `position`."""
    return chunk[max(at - position, 0) : max(at + 4 - position, 0)] if at >= 0 else b""

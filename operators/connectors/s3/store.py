"""The object store at an S3 endpoint: PUT and the fetching of objects are sent by wire.py, every other request by aiohttp.

minio-py is not used: it hashes content that has been hashed already, at twice the CPU (measured: 1.0 ms a PUT against
0.5), and its put_object supports neither If-None-Match nor checksums.
"""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import structlog
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from operators.connectors.s3.answers import StoreAnswers
from operators.connectors.s3.listing import folders_in, keys_in, objects_in, pages
from operators.connectors.s3.signature import Signer
from operators.connectors.s3.wire import KEEP_ALIVE_S, ConnectionPool, HttpResponse, request_head
from operators.errors import Unavailable
from operators.store.clock import ENOUGH_S, StoreClock
from operators.store.ports import FetchedObject, ListedObject, NoEnvelope, OtherSize, PlainUpload, StoredObject, Upload
from schemas.objects import Bucket, Envelope
from schemas.settings.servers import StoreSettings
from schemas.telemetry import STORE_CLOCK_AHEAD

log = structlog.get_logger()

META = "x-amz-meta-"
# How soon the store is asked again while its time is being learned.
ASK_AGAIN_S = 0.02
# A correction of the clock that is logged, once a minute: the machine's clock or the store's is wrong. BatchServers behind
# one address may have clocks that differ, and then every answer may correct the clock.
TOLD_S = 1.0
TOLD_AGAIN_S = 60.0
# A refused request whose signature was further from the truth than this is signed again; S3 allows 15 minutes.
SKEWED_S = 60.0
LIFECYCLE = (
    '<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>fluoro</ID>'
    "<Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>{days}</Days></Expiration></Rule>"
    "</LifecycleConfiguration>"
)
# The region in which AWS makes a bucket without being told, and how it is told another one.
ANYWHERE = "us-east-1"
PLACE = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
)
# The statuses of a PUT with If-Match: another version is there, or no object.
NOT_THIS_VERSION = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND)
# The statuses with which stores that do not support lifecycle rules refuse them.
NO_LIFECYCLE_RULES = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.BAD_REQUEST)


class Asked(NamedTuple):
    """The steady clock, and the estimate of the store's clock, when a request was signed."""

    at: float
    offset: float

    @classmethod
    def now(cls, clock: StoreClock) -> Self:
        """Return them as they are at this moment."""
        return cls(clock.steady(), clock.offset)


class S3ObjectStore:
    """An ObjectStore at an S3 endpoint, with path-style addresses; it belongs to the event loop that first uses it."""

    def __init__(self, settings: StoreSettings, clock: StoreClock | None = None) -> None:
        self._settings = settings
        self._clock = clock or StoreClock()
        self._told_second = 0.0
        self._told_again_at = 0.0
        self._learning = asyncio.Lock()
        self._endpoint = urlsplit(settings.endpoint)
        self._answers = StoreAnswers(settings.endpoint)
        self._signer = Signer(settings.region, settings.access_key or "-", settings.secret_key or "-")
        self._session: ClientSession | None = None
        # None for an endpoint without TLS.
        self._tls = _tls_context(settings) if self._endpoint.scheme == "https" else None
        port = self._endpoint.port or (443 if self._tls else 80)
        self._connections = ConnectionPool(self._endpoint.hostname or "", port, self._tls, settings.connect_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()
        if self._session is not None:
            await self._session.close()

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        """Store the object unless its key exists; True when this call stored it, False when it was there before.

        Raises Unavailable also when connecting, sending a chunk or waiting for the response takes too long.
        """
        response = await self._put(bucket, upload, {"if-none-match": "*"})
        if response.status == HTTPStatus.PRECONDITION_FAILED:
            return False
        self._answers.expect_stored(response, self._path(bucket), upload.crc32c)
        return True

    async def replace(self, bucket: Bucket, upload: Upload, etag: str) -> bool:
        """Store the object in place of the version with this tag; False when the key has another version, or none."""
        response = await self._put(bucket, upload, {"if-match": etag})
        if response.status in NOT_THIS_VERSION:
            return False
        self._answers.expect_stored(response, self._path(bucket), upload.crc32c)
        return True

    async def _put(self, bucket: Bucket, upload: PlainUpload, condition: dict[str, str]) -> HttpResponse:
        headers = {META + name: value for name, value in upload.metadata.items()} | condition
        headers |= {"x-amz-checksum-crc32c": upload.crc32c, "content-length": str(upload.size_bytes)}
        with self._answers:
            response, is_refused = await self._exchange("PUT", self._path(bucket, upload.key), headers, upload.parts)
        if is_refused:
            # Not signed anew and sent again, as other requests are: the same wrong clock has dated the envelope.
            raise Unavailable("store-clock")
        return response

    async def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        parts: Sequence[bytes | bytearray | memoryview] = (),
        wanted_bytes: int = 0,
    ) -> tuple[HttpResponse, bool]:
        """Return the response to a request that is sent by wire.py, and True if it is refused for a wrong clock."""
        asked = Asked.now(self._clock)
        url = self._endpoint._replace(path="/" + quote(path))
        head = request_head(method, url.path, self._signer.signed(method, url, headers, self._clock.signing_time()))
        async with asyncio.timeout(self._settings.no_progress_s) as deadline:
            extend = _extending(deadline, self._settings.no_progress_s)
            response = await self._connections.exchange(head, parts, extend, wanted_bytes)
        return response, self._is_refused_for_clock(response.status, response.headers.get("date"), asked)

    @property
    def is_time_known(self) -> bool:
        """True once the store's time is known."""
        return self._clock.is_known

    async def learn_time(self) -> None:
        """Return once the store's time is known: at once, or after requests of about a second."""
        if self._clock.is_known:
            return
        limit_s = self._settings.connect_s + self._settings.no_progress_s + ENOUGH_S
        with self._answers:
            # The limit includes the wait for others that learn the time at this moment.
            async with asyncio.timeout(limit_s), self._learning:
                while not self._clock.is_known:
                    await self._ask_time()
                    await asyncio.sleep(ASK_AGAIN_S)

    def now(self) -> datetime:
        """Return the present time by the store's clock; raises Unavailable before it is known."""
        return self._clock.now()

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        """Return an object's size, envelope and tag; None when there is no such object. Raises NoEnvelope."""
        with self._answers:
            async with self._request("HEAD", self._path(bucket, key)) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    await self._expect_bucket(bucket)
                    return None
                self._answers.expect_readable(response, HTTPStatus.OK)
                return _stored_object(key, response.headers)

    async def fetch(self, bucket: Bucket, key: str, length: int) -> FetchedObject | None:
        """Return what `head` returns of an object, and its first bytes; raises NoEnvelope and Unreadable.

        One request in place of a HEAD and a GET: the answer to a GET has all that HEAD tells.
        """
        headers, path = {"range": f"bytes=0-{length - 1}"}, self._path(bucket, key)
        with self._answers:
            response, is_refused = await self._exchange("GET", path, headers, wanted_bytes=length)
            if is_refused:
                response, _ = await self._exchange("GET", path, headers, wanted_bytes=length)
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                return FetchedObject(_stored_object(key, response.headers), response.body)
            if response.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                self._answers.expect_readable(
                    response, HTTPStatus.PARTIAL_CONTENT, asked=f"GET in {self._path(bucket)}: "
                )
        # There is no object, or an empty one, which has no range.
        found = await self.head(bucket, key)
        return FetchedObject(found, b"") if found else None

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes from start to end (exclusive); raises KeyError when there is no such object.

        Raises Unreadable for the answers that MinIO gives for an object whose bytes are damaged on its disk: 503, or a
        body that breaks off. It answers HEAD as if nothing were wrong.
        """
        if end is not None and end <= start:
            return
        last = "" if end is None else end - 1
        headers = {"range": f"bytes={start}-{last}"} if (start, end) != (0, None) else {}
        with self._answers:
            async with self._request("GET", self._path(bucket, key), headers=headers) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    await self._expect_bucket(bucket)
                    raise KeyError(key)
                _expect_size(response, size_bytes)
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return
                self._answers.expect_readable(response, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
                while chunk := await _next(response, self._settings.no_progress_s):
                    yield chunk

    async def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix, in order."""
        async for page in pages(partial(self._page, bucket), prefix):
            for key in keys_in(page):
                yield key

    async def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        """Yield the objects whose keys begin with a prefix, in order."""
        async for page in pages(partial(self._page, bucket), prefix):
            for listed in objects_in(page):
                yield listed

    async def folders(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """Yield the folders directly under a prefix, in order."""
        async for page in pages(partial(self._page, bucket), prefix, delimiter="/"):
            for name in folders_in(page, prefix):
                yield name

    async def delete(self, bucket: Bucket, key: str) -> None:
        """Remove an object, if there is one."""
        with self._answers:
            async with self._request("DELETE", self._path(bucket, key)) as response:
                self._answers.expect(response, HTTPStatus.NO_CONTENT, HTTPStatus.OK, HTTPStatus.NOT_FOUND)

    async def check(self) -> None:
        """Return when the store answers and has every bucket; otherwise raise Unavailable."""
        with self._answers:
            for bucket in Bucket:
                async with self._request("HEAD", self._path(bucket)) as response:
                    self._answers.expect(response, HTTPStatus.OK)

    async def make_bucket(self, bucket: Bucket) -> bool:
        """Create a bucket unless it exists; True when this call created it.

        Raises Unavailable also for a bucket of another account: at AWS a name is taken once in the whole world.
        """
        body = b"" if self._settings.region == ANYWHERE else PLACE.format(region=self._settings.region).encode()
        with self._answers:
            async with self._request("HEAD", self._path(bucket)) as response:
                if response.status != HTTPStatus.NOT_FOUND:
                    self._answers.expect(response, HTTPStatus.OK)
                    return False
            headers = {"content-length": str(len(body))}
            async with self._request("PUT", self._path(bucket), headers=headers, body=body or None) as response:
                self._answers.expect(response, HTTPStatus.OK)
                return True

    async def expire(self, bucket: Bucket, days: int) -> bool:
        """Make the store remove a bucket's objects after `days` days; False when it has no lifecycle rules."""
        rule = LIFECYCLE.format(days=days).encode()
        headers = {"content-length": str(len(rule)), "content-md5": _md5(rule)}
        with self._answers:
            async with self._request(
                "PUT", self._path(bucket), query={"lifecycle": ""}, headers=headers, body=rule
            ) as response:
                if response.status in NO_LIFECYCLE_RULES:
                    return False
                self._answers.expect(response, HTTPStatus.OK, HTTPStatus.NO_CONTENT)
                return True

    async def _expect_bucket(self, bucket: Bucket) -> None:
        """Raise Unavailable when the bucket does not exist: the 404 of a missing object looks the same."""
        async with self._request("HEAD", self._path(bucket)) as response:
            self._answers.expect(response, HTTPStatus.OK)

    async def _page(self, bucket: Bucket, query: Mapping[str, str]) -> Element:
        with self._answers:
            async with self._request("GET", self._path(bucket), query=query) as response:
                self._answers.expect(response, HTTPStatus.OK)
                async with asyncio.timeout(self._settings.no_progress_s):
                    return ET.fromstring(await response.text())  # noqa: S314 - the configured store is trusted

    def _path(self, bucket: Bucket, key: str = "") -> str:
        """Return the path of an object, or of its bucket, before it is percent-encoded."""
        name = f"{self._settings.bucket_prefix}{bucket}"
        return f"{name}/{key}" if key else name

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[ClientResponse]:
        encoded_query = urlencode(sorted((query or {}).items()), quote_via=quote)
        url = self._endpoint._replace(path="/" + quote(path), query=encoded_query)
        response = await self._answer(method, url, headers or {}, body, or_again=True)
        async with response:
            yield response

    async def _answer(
        self, method: str, url: SplitResult, headers: Mapping[str, str], body: bytes | None, *, or_again: bool
    ) -> ClientResponse:
        """Return the response to a request; one that is refused because the clock was wrong is sent once more."""
        asked = Asked.now(self._clock)
        signed = self._signer.signed(method, url, headers, self._clock.signing_time())
        target = URL(url.geturl(), encoded=True)
        async with asyncio.timeout(self._settings.connect_s + self._settings.no_progress_s):
            response = await self._opened().request(method, target, headers=signed, data=body)
        if self._is_refused_for_clock(response.status, response.headers.get("date"), asked) and or_again:
            response.release()
            return await self._answer(method, url, headers, body, or_again=False)
        return response

    async def _ask_time(self) -> None:
        """Ask for an answer with the store's date; raises Unavailable for one without, which asking again would repeat."""
        async with self._request("HEAD", self._path(Bucket.HOT)) as response:
            if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Unavailable(f"store-{response.status}")
            if _unix_time(response.headers.get("date", "")) is None:
                raise Unavailable("store-date")

    def _is_refused_for_clock(self, status: int, date: str | None, asked: Asked) -> bool:
        """Learn the time from a response; True if it is a refusal, and the request was signed for another time.

        The status and the date tell it, and not the error code, which the response to a HEAD does not have.
        """
        # From 500 on, the answer may be that of a proxy, with the proxy's date.
        if date and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._learn(_unix_time(date), asked)
        return status == HTTPStatus.FORBIDDEN and abs(self._clock.offset - asked.offset) > SKEWED_S

    def _learn(self, second: float | None, asked: Asked) -> None:
        if second is None:
            return
        changed_s = self._clock.learn(second, asked.at, self._clock.steady())
        if abs(changed_s) >= TOLD_S and asked.at >= self._told_again_at:
            self._told_again_at = asked.at + TOLD_AGAIN_S
            log.warning("store_clock_corrected", by_s=round(changed_s, 1))
        if second != self._told_second:
            self._told_second = second
            STORE_CLOCK_AHEAD.set(self._clock.ahead_s())

    def _opened(self) -> ClientSession:
        if self._session is None:
            # No sock_read: aiohttp can leave its timer running on a connection that has returned to the pool.
            timeout = ClientTimeout(total=None, sock_connect=self._settings.connect_s)
            connector = TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=self._tls or True)
            skipped = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
            self._session = ClientSession(connector=connector, timeout=timeout, skip_auto_headers=skipped)
        return self._session


async def _next(response: ClientResponse, no_progress_s: float) -> bytes:
    async with asyncio.timeout(no_progress_s):
        return await response.content.readany()


def _extending(deadline: asyncio.Timeout, no_progress_s: float) -> Callable[[], None]:
    """Return a function that extends the deadline; the sender calls it after each step of progress."""
    loop = asyncio.get_running_loop()

    def extend() -> None:
        when = loop.time() + no_progress_s
        # Every extension costs a timer. Short extensions are skipped, so the deadline may be early by a tenth.
        if when > (deadline.when() or 0) + no_progress_s / 10:
            deadline.reschedule(when)

    return extend


def _tls_context(settings: StoreSettings) -> ssl.SSLContext:
    """Return the context that trusts the authorities of the settings."""
    return ssl.create_default_context(cafile=settings.tls_ca or None)


@lru_cache(maxsize=4)
def _unix_time(date: str) -> float | None:
    """Return the Unix time of an HTTP date, None if it is none; cached, since all answers of a second have the same."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _md5(data: bytes) -> str:
    # S3 requires a checksum with a lifecycle rule, against transmission errors.
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _expect_size(response: ClientResponse, size_bytes: int | None) -> None:
    """Raise OtherSize if the answer names another size of the whole object."""
    if size_bytes is None or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    named = response.headers.get("content-range", "").rpartition("/")[2]
    if not named and response.status == HTTPStatus.OK:
        named = response.headers.get("content-length", "")
    if named.isdigit() and int(named) != size_bytes:
        raise OtherSize(int(named))


def _stored_object(key: str, headers: Mapping[str, str]) -> StoredObject:
    metadata = {name.lower().removeprefix(META): value for name, value in headers.items()}
    # "bytes 0-99/1234" in the answer to a range.
    size_bytes = int(headers.get("content-range", headers["content-length"]).rpartition("/")[2])
    etag = headers.get("etag", "")
    modified_s = _unix_time(headers.get("last-modified", ""))
    modified_at = None if modified_s is None else datetime.fromtimestamp(modified_s, UTC)
    try:
        return StoredObject(key, size_bytes, Envelope.from_metadata(metadata), etag, modified_at)
    except (KeyError, ValueError) as error:
        raise NoEnvelope(size_bytes, etag, modified_at) from error

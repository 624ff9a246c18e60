"""A small DICOMweb client for the demo, on the standard library: a query, and multipart answers part by part."""

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from deploy.errors import Failed

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
JSON = "application/dicom+json"
PART_10 = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def query(base: str, path: str, **matches: str) -> list[dict[str, Any]]:
    """Return what a QIDO-RS query finds (PS3.18 10.6)."""
    connection, response = request(base, f"{path}?{urlencode(matches)}", JSON)
    try:
        body = response.read()
        return list(json.loads(body)) if body else []
    finally:
        connection.close()


def retrieve(base: str, path: str, accept: str) -> Iterator[bytes]:
    """Return the parts of a WADO-RS answer, one at a time (PS3.18 10.4)."""
    connection, response = request(base, path, accept)
    try:
        found = BOUNDARY.search(response.headers["content-type"])
        if found is None:
            raise Failed(f"GET {path}: the answer is not multipart")
        yield from parts(response, found.group(1).encode())
    finally:
        connection.close()


def request(base: str, path: str, accept: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send a GET; raises Failed on every answer but a good one."""
    address = urlsplit(base)
    connection = http.client.HTTPConnection(address.netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", address.path + path, headers={"Accept": accept})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Failed(f"GET {path}: {error}") from error
    if response.status not in (http.client.OK, http.client.NO_CONTENT):
        said = response.read(500).decode(errors="replace")
        connection.close()
        raise Failed(f"GET {path}: {response.status} {said}")
    return connection, response


def parts(response: http.client.HTTPResponse, boundary: bytes) -> Iterator[bytes]:
    """Return the bodies of a multipart answer (RFC 2046 5.1.1)."""
    stream = Stream(response)
    stream.until(b"--" + boundary)
    while stream.until(b"\r\n") != b"--":
        head = b"\r\n" + stream.until(b"\r\n\r\n") + b"\r\n"
        length = LENGTH.search(head)
        if length:
            yield stream.take(int(length.group(1)))
            stream.until(b"\r\n--" + boundary)
        else:
            yield stream.until(b"\r\n--" + boundary)


class Stream:
    """A response, read by length or up to a mark."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.buffer = bytearray()

    def take(self, size_bytes: int) -> bytes:
        """Return that many bytes; raises Failed when fewer come."""
        while len(self.buffer) < size_bytes:
            self.more()
        return self.cut(size_bytes)

    def until(self, mark: bytes) -> bytes:
        """Return what comes before a mark, and pass over both; raises Failed when it does not come."""
        start = 0
        while (found := self.buffer.find(mark, start)) < 0:
            start = max(0, len(self.buffer) - len(mark) + 1)
            self.more()
        before = self.cut(found)
        self.cut(len(mark))
        return before

    def more(self) -> None:
        """Read on."""
        chunk = self.response.read1(CHUNK_BYTES)
        if not chunk:
            raise Failed("an answer ended too early")
        self.buffer += chunk

    def cut(self, size_bytes: int) -> bytes:
        """Take bytes off the buffer's beginning."""
        taken = bytes(self.buffer[:size_bytes])
        del self.buffer[:size_bytes]
        return taken

"""A client of the STOW-RS door: it sends one file, byte for byte, and reads in the reply whether the file is stored."""

import http.client
import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deploy.errors import Failed
from gateway.intake import status
from gateway.intake.status import Status

# The longest wait for one socket operation; the longest of them lasts until the door has stored the file.
TIMEOUT_S = 600.0
CHUNK_BYTES = 1 << 20
# Referenced SOP Sequence; Failed SOP Sequence and Other Failures Sequence; Failure Reason (PS3.18 table I.2-1).
STORED_SEQUENCE, FAILURE_SEQUENCES = "00081199", ("00081198", "0008119A")
FAILURE_REASON, ERROR_COMMENT = "00081197", "00000902"
STATUS_OF_CODE = {known.code: known for known in vars(status).values() if isinstance(known, Status)}


@dataclass(frozen=True)
class StowReply:
    """The door's response: its status, and its body in DICOM JSON."""

    status: int
    body: bytes


def store_file(url: str, prefix: bytes, data_set: memoryview) -> StowReply:
    """Send one Part 10 file to a STOW-RS service (PS3.18 10.5); raises Failed when the service does not answer.

    `url` is the service's base URL, `prefix` the file's preamble and file meta.
    """
    address, boundary = urlsplit(url), secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + prefix
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(len(head) + len(data_set) + len(tail)),
        "Accept": "application/dicom+json",
    }
    connection = http.client.HTTPConnection(address.netloc, timeout=TIMEOUT_S)
    try:
        # A door that refuses the file may reply and stop reading: http.client can read its reply all the same, aiohttp could not.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", f"{address.path}/studies", body=_chunks(head, data_set, tail), headers=headers)
        response = connection.getresponse()
        return StowReply(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"the STOW door at {url} does not answer: {error}; nothing was changed") from error
    finally:
        connection.close()


def check_stored(reply: StowReply) -> None:
    """Raise Failed, with the door's reason, unless it stored the file."""
    try:
        response = json.loads(reply.body or b"{}")
        is_success = reply.status in (http.client.OK, http.client.ACCEPTED)
        if is_success and response.get(STORED_SEQUENCE, {}).get("Value"):
            return
        failures = [item for name in FAILURE_SEQUENCES for item in response.get(name, {}).get("Value", [])]
        reasons = ", ".join(map(_failure_reason, failures))
    except (ValueError, AttributeError, LookupError, TypeError):
        response, reasons = {}, ""
    advice = response.get("reason", "no reason given") if isinstance(response, dict) else ""
    raise Failed(f"the STOW door refused the file with {reply.status}: {reasons or advice}; nothing was changed")


def _failure_reason(item: dict[str, Any]) -> str:
    code = item[FAILURE_REASON]["Value"][0]
    known = STATUS_OF_CODE.get(code)
    words = item.get(ERROR_COMMENT, {}).get("Value", [known and known.comment])[0]
    return f"{code:04X}" + (f" ({words})" if words else "")


def _chunks(head: bytes, data_set: memoryview, tail: bytes) -> Iterator[bytes]:
    """Yield the body of the request in chunks, so that a large file is never in memory whole."""
    yield head
    for offset in range(0, len(data_set), CHUNK_BYTES):
        yield bytes(data_set[offset : offset + CHUNK_BYTES])
    yield tail

"""How a server says that it is well: each check gives what is wrong, or None, within a second or two."""

import http.client
import json
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

BOUND_S = 2.0
OK = 200
HOST = "127.0.0.1"
# Where a server is reached that listens on every address.
EVERY = {"": HOST, "0.0.0.0": HOST, "::": "::1"}  # noqa: S104 (it is what settings say)

Check = Callable[[], str | None]


def listens(port: int) -> Check:
    """Check that something accepts connections."""

    def check() -> str | None:
        try:
            socket.create_connection((HOST, port), BOUND_S).close()
        except OSError as error:
            return f"port {port}: {error}"
        return None

    return check


def http_ok(port: int, path: str, host: str = HOST) -> Check:
    """Check that a page answers with status 200."""

    def check() -> str | None:
        status, body = get(port, path, host)
        return None if status == OK else f"port {port}: {path} answers {status} {body[:200]!r}"

    return check


def get(port: int, path: str, host: str = HOST) -> tuple[int, bytes]:
    """Return the status and body of a page; status 0 with the reason when there is no answer."""
    connection = http.client.HTTPConnection(EVERY.get(host, host), port, timeout=BOUND_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error).encode()
    finally:
        connection.close()


def postgres_ready(port: int) -> Check:
    """Check that the database takes sessions: it asks for a password, where one that still starts sends an error.

    Source: PostgreSQL 18, Frontend/Backend Protocol, 54.7, StartupMessage (version 3.0) and its answers R and E.
    """
    parameters = b"user\0reader\0database\0fluoro\0\0"
    hello = struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters

    def check() -> str | None:
        try:
            with socket.create_connection((HOST, port), BOUND_S) as connection:
                connection.sendall(hello)
                answer = connection.recv(1)
        except OSError as error:
            return f"port {port}: {error}"
        return None if answer == b"R" else f"port {port}: it does not take sessions yet"

    return check


def jobs_run(port: int, jobs: int) -> Check:
    """Check that this many Flink jobs run, all their tasks with them."""

    def check() -> str | None:
        status, body = get(port, "/jobs/overview")
        if status != OK:
            return f"port {port}: /jobs/overview answers {status} {body[:200]!r}"
        running = [job["name"] for job in json.loads(body)["jobs"] if runs(job)]
        return None if len(running) >= jobs else f"only {running or 'no job'} of {jobs} jobs run"

    return check


def runs(job: dict[str, Any]) -> bool:
    """True if all tasks of a job run (REST API of Flink, /jobs/overview)."""
    return bool(job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"])


def echoes(host: str, port: int, ae_title: str) -> Check:
    """Check that a DICOM node answers a request for an association: who may not call, or not now, hears so from a well one.

    Source: PS3.8 9.3.2 (A-ASSOCIATE-RQ), 9.3.3 (-AC, type 02), 9.3.4 (-RJ, type 03), 9.3.6 (A-RELEASE-RQ).
    """
    request = associate_request(ae_title)

    def check() -> str | None:
        try:
            with socket.create_connection((EVERY.get(host, host), port), BOUND_S) as connection:
                connection.sendall(request)
                answer = connection.recv(1)
                connection.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")
                connection.recv(1024)
        except OSError as error:
            return f"port {port}: {error}"
        return None if answer in (b"\x02", b"\x03") else f"port {port}: the association was not answered"

    return check


def shakes_hands(host: str, port: int) -> Check:
    """Check that a TLS server shows a certificate, whichever it is: no more, for it may want one of its callers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def check() -> str | None:
        try:
            with (
                socket.create_connection((EVERY.get(host, host), port), BOUND_S) as connection,
                context.wrap_socket(connection),
            ):
                return None
        except OSError as error:
            return f"port {port}: {error}"

    return check


def associate_request(ae_title: str) -> bytes:
    """Return an A-ASSOCIATE-RQ for Verification in implicit VR little endian (PS3.8 9.3.2)."""

    def item(kind: int, body: bytes) -> bytes:
        return struct.pack("!BxH", kind, len(body)) + body

    syntaxes = item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
    context = item(0x20, b"\x01\0\0\0" + syntaxes)
    user = item(0x50, item(0x51, struct.pack("!I", 16384)) + item(0x52, b"1.2.826.0.1.3680043.10.1999.2"))
    titles = ae_title.ljust(16).encode() + b"HEALTH".ljust(16)
    body = struct.pack("!Hxx", 1) + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack("!BxI", 1, len(body)) + body

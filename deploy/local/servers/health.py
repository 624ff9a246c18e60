"""Health checks of the stack's servers: each returns what is wrong, or None, within about two seconds."""

import http.client
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

import psycopg

from operators.connectors.postgres.connecting import connect
from operators.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from operators.dimse.negotiation import ProposedContext, Terms, request_pdu
from operators.dimse.pdu import ASSOCIATE_AC, ASSOCIATE_RJ, RELEASE_RQ_PDU
from schemas.settings.servers import CatalogSettings

# Also the shortest connect_timeout that libpq accepts.
TIMEOUT_S = 2
OK = 200
HOST = "127.0.0.1"
# The address at which to reach a server that listens on every address.
REACHED_AT = {"": HOST, "0.0.0.0": HOST, "::": "::1"}  # noqa: S104 (it is what settings say)

# What a check proposes to a DICOM node: verification in implicit VR little endian.
AE_TITLE = "HEALTH"
ECHO = ProposedContext(1, "1.2.840.10008.1.1", (b"1.2.840.10008.1.2",))
TERMS = Terms(16384, 1, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
ANSWERS = (bytes((ASSOCIATE_AC,)), bytes((ASSOCIATE_RJ,)))
RECEIVE_BYTES = 1024

Check = Callable[[], str | None]


def listens(port: int, host: str = HOST) -> Check:
    """Return the check that a server accepts connections."""

    def check() -> str | None:
        try:
            socket.create_connection((REACHED_AT.get(host, host), port), TIMEOUT_S).close()
        except OSError as error:
            return f"port {port}: {error}"
        return None

    return check


def answers_ok(port: int, path: str, host: str = HOST) -> Check:
    """Return the check that a page answers with status 200."""

    def check() -> str | None:
        status, body = get(port, path, host)
        return None if status == OK else f"port {port}: {path} answers {status} {body[:200]!r}"

    return check


def get(port: int, path: str, host: str = HOST) -> tuple[int, bytes]:
    """Return the status and body of a page; status 0 with the reason when there is no answer."""
    connection = http.client.HTTPConnection(REACHED_AT.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error).encode()
    finally:
        connection.close()


def takes_sessions(catalog: CatalogSettings) -> Check:
    """Return the check that PostgreSQL takes sessions of a role, which it refuses while it starts or recovers."""

    def check() -> str | None:
        try:
            connect(catalog, "fluoro-health", "").close()
        except psycopg.OperationalError as error:
            return f"port {catalog.port}: {error}"
        return None

    return check


def runs_jobs(port: int, jobs: Callable[[], int]) -> Check:
    """Return the check that at least `jobs()` Flink jobs run, with all their tasks."""

    def check() -> str | None:
        status, body = get(port, "/jobs/overview")
        if status != OK:
            return f"port {port}: /jobs/overview answers {status} {body[:200]!r}"
        running = [job["name"] for job in json.loads(body)["jobs"] if is_running(job)]
        wanted = jobs()
        return None if len(running) >= wanted else f"only {running or 'no job'} of {wanted} jobs run"

    return check


def is_running(job: dict[str, Any]) -> bool:
    """True if a job and all its tasks run; `job` is an entry of /jobs/overview in Flink's REST API."""
    return bool(job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"])


def answers_association(host: str, port: int, ae_title: str) -> Check:
    """Return the check that a DICOM node answers a request for an association.

    A healthy node may reject the request: it may not know our AE title, or have no place left.
    """
    request = request_pdu(AE_TITLE, ae_title, (ECHO,), TERMS)

    def check() -> str | None:
        try:
            with socket.create_connection((REACHED_AT.get(host, host), port), TIMEOUT_S) as connection:
                connection.sendall(request)
                kind = connection.recv(1)
                connection.sendall(RELEASE_RQ_PDU)
                connection.recv(RECEIVE_BYTES)
        except OSError as error:
            return f"port {port}: {error}"
        return None if kind in ANSWERS else f"port {port}: the association was not answered"

    return check


def shows_certificate(host: str, port: int) -> Check:
    """Return the check that a server completes a TLS handshake, with any certificate.

    No DICOM follows: the server may demand a certificate of its callers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def check() -> str | None:
        try:
            with (
                socket.create_connection((REACHED_AT.get(host, host), port), TIMEOUT_S) as connection,
                context.wrap_socket(connection),
            ):
                return None
        except OSError as error:
            return f"port {port}: {error}"

    return check

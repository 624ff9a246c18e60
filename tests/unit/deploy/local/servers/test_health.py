"""A health check asks a server at its address, in its own protocol, and returns what is wrong."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from deploy.local.servers import applications, health
from schemas.settings.dimse import DimseSettings
from schemas.settings.servers import CatalogSettings
from tests.support.machine.certificates import issue

# The first byte of a DICOM node's answer: accepted, rejected (PS3.8 9.3.3, 9.3.4).
ACCEPTED, REJECTED = b"\x02", b"\x03"


@contextmanager
def answering(host: str, answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server for one connection; yields its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:

        def serve() -> None:
            with suppress(OSError), listening.accept()[0] as connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join(health.TIMEOUT_S)


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    def say(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        connection.recv(4096)

    return say


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return issue(tmp_path_factory.mktemp("tls"), "door", "door")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "", "0.0.0.0"])  # noqa: S104
@pytest.mark.parametrize("answer", [ACCEPTED, REJECTED])
def test_a_dicom_node_is_healthy_when_it_accepts_or_rejects_an_association(host: str, answer: bytes) -> None:
    with answering(host, saying(answer)) as port:
        problem = applications.gateway_health(DimseSettings(host=host, port=port))()

    assert problem is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_a_gateway_with_a_peers_file_is_asked_whether_it_lives_and_refuses_nobody_for_it(host: str) -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    with answering(host, answer) as port:
        settings = DimseSettings(host=host, port=1, metrics_port=port, peers_file="peers.toml")
        problem = applications.gateway_health(settings)()

    assert problem is None
    assert [request.split(b" ", 2)[:2] for request in asked] == [[b"GET", b"/livez"]]


def test_a_gateway_with_a_peers_file_and_no_port_for_metrics_is_asked_nothing() -> None:
    received: list[bytes] = []
    with answering("127.0.0.2", lambda connection: received.append(connection.recv(4096))) as port:
        settings = DimseSettings(host="127.0.0.2", port=port, peers_file="peers.toml")
        problem = applications.gateway_health(settings)()

    assert (problem, received) == (None, [b""])


def test_a_node_on_another_address_does_not_count() -> None:
    with answering("127.0.0.2", saying(ACCEPTED)) as port:
        problem = health.answers_association("127.0.0.1", port, "FLUORO")()
        assert health.answers_association("127.0.0.2", port, "FLUORO")() is None

    assert problem is not None
    assert problem.startswith(f"port {port}: ")


@pytest.mark.parametrize("wants", [ssl.CERT_NONE, ssl.CERT_REQUIRED])
def test_a_node_that_speaks_tls_is_healthy_when_it_shows_its_certificate(
    wants: ssl.VerifyMode, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = wants

    with answering("127.0.0.1", lambda connection: context.wrap_socket(connection, server_side=True).close()) as port:
        settings = DimseSettings(port=port, tls_certificate=str(certificate[0]), tls_key=str(certificate[1]))
        problem = applications.gateway_health(settings)()

    assert problem is None


def test_a_node_that_should_speak_tls_and_does_not_is_not_healthy() -> None:
    with answering("127.0.0.1", lambda connection: connection.sendall(bytes(16))) as port:
        problem = health.shows_certificate("127.0.0.1", port)()

    assert problem is not None
    assert problem.startswith(f"port {port}: ")


def test_a_web_server_is_asked_at_the_address_where_it_listens() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    with answering("127.0.0.2", answer) as port:
        assert health.answers_ok(port, "/healthz")() is not None
        assert health.answers_ok(port, "/healthz", "127.0.0.2")() is None


def test_a_database_that_is_still_starting_is_not_healthy() -> None:
    # PostgreSQL 18, 54.7: N, no TLS here; then an ErrorResponse of severity, code and message.
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"N")
        connection.recv(4096)
        connection.sendall(b"E" + (4 + len(fields)).to_bytes(4, "big") + fields)

    with answering("127.0.0.1", answer) as port:
        problem = health.takes_sessions(CatalogSettings(host="127.0.0.1", port=port, user="reader"))()

    assert problem is not None
    assert "is starting up" in problem

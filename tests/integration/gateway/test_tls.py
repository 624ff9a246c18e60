"""DICOM over TLS: certificates decide which callers are accepted, and no handshake lasts for ever."""

import socket
import ssl
import struct
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from schemas.telemetry import GATEWAY_TURNED_AWAY
from tests.integration.gateway.conftest import ALLOWED
from tests.support.machine.certificates import issue
from tests.support.worlds.gateway import GatewaySections
from tests.support.worlds.running_gateway import (
    CT,
    WAIT_S,
    associate_request,
    connected,
    running,
    slice_of,
    wait_for,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name, authority in {"ca": "ca", "door": "ca", "ct1": "ca", "foreign": "foreign"}.items():
        issue(folder, name, authority)
    return folder


def client(folder: Path, name: str | None = "ct1") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


@pytest.fixture
def encrypted(allowed: GatewaySections, certificates: Path) -> GatewaySections:
    Path(allowed.dimse.peers_file).write_text(ALLOWED.replace("associations = 2", 'certificate = "CN=ct1"'))
    return allowed.changed(
        tls_certificate=str(certificates / "door.pem"),
        tls_key=str(certificates / "door.key"),
        tls_client_ca=str(certificates / "ca.pem"),
    )


def test_a_series_is_stored_over_tls(encrypted: GatewaySections, certificates: Path) -> None:
    entity = AE("CT1")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    large = slice_of(1, pixels=2400)
    with running(encrypted) as gateway:
        association = entity.associate(
            "127.0.0.1", gateway.port, ae_title="FLUORO", tls_args=(client(certificates), "127.0.0.1")
        )
        assert association.is_established
        with closing(association.dul.socket.socket):
            statuses = [association.send_c_store(dataset).Status for dataset in (large, slice_of(2))]
            association.release()

        assert statuses == [0, 0]
        assert any(held.endswith(large.PixelData) for held in gateway.objects())
        wait_for(lambda: gateway.ended == [("well", 2)])
        wait_for(lambda: not gateway.door.connections)


def tls_answer(port: int, context: ssl.SSLContext, calling: str) -> int:
    """Return the kind of PDU that answers an association request over TLS."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(associate_request(calling))
        return connection.recv(1)[0]


@pytest.mark.parametrize("kind", [5, 7], ids=["released", "aborted"])
def test_a_tls_socket_that_the_peer_keeps_open_is_closed_in_time(
    encrypted: GatewaySections, certificates: Path, caplog: pytest.LogCaptureFixture, kind: int
) -> None:
    with (
        running(encrypted.changed(silence_s=0.2)) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as plain,
        client(certificates).wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(associate_request())
        assert connection.recv(1) == b"\x02"
        connection.sendall(struct.pack(">BxI4x", kind, 4))

        wait_for(lambda: not gateway.door.connections)
        assert gateway.door.associated == 0
    assert [line for line in caplog.records if line.name == "asyncio"] == []


def test_a_title_is_accepted_only_with_its_certificate(encrypted: GatewaySections, certificates: Path) -> None:
    path = Path(encrypted.dimse.peers_file)
    der = ssl.PEM_cert_to_DER_cert((certificates / "door.pem").read_text())
    other = ALLOWED.replace("associations = 2", f'certificate = "sha256:{sha256(der).hexdigest()}"')
    path.write_text(
        path.read_text() + other[: other.index('[[peer]]\nname = "checker"')].replace("ct1", "d").replace("CT1", "D")
    )
    with running(encrypted) as gateway:
        kinds = {
            (title, name): tls_answer(gateway.port, client(certificates, name), title)
            for title in ("CT1", "D")
            for name in ("ct1", "door")
        }

    assert kinds == {("CT1", "ct1"): 2, ("CT1", "door"): 3, ("D", "ct1"): 3, ("D", "door"): 2}


@pytest.mark.parametrize(("name", "is_accepted"), [("ct1", True), (None, False)], ids=["certificate", "none"])
def test_a_handshake_that_fails_is_counted_and_its_connection_is_closed(
    encrypted: GatewaySections, certificates: Path, name: str | None, *, is_accepted: bool
) -> None:
    refused = GATEWAY_TURNED_AWAY.labels("handshake")._value.get()
    context = client(certificates, name)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with running(encrypted) as gateway:
        if is_accepted:
            assert tls_answer(gateway.port, context, "CT1") == 2
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                tls_answer(gateway.port, context, "CT1")
        wait_for(lambda: not gateway.door.admission.unassociated)

    assert GATEWAY_TURNED_AWAY.labels("handshake")._value.get() == refused + (not is_accepted)


def test_a_connection_without_a_handshake_is_closed_in_time(encrypted: GatewaySections) -> None:
    with running(encrypted.changed(associate_s=0.2)) as gateway, connected(gateway.port, b"") as silent:
        assert silent.recv(1) == b""
        wait_for(lambda: not gateway.door.admission.unassociated)


def test_connections_without_handshake_are_dropped_for_a_new_one(
    encrypted: GatewaySections, certificates: Path
) -> None:
    with running(encrypted.changed(associations=1)) as gateway, ExitStack() as kept:
        for _ in range(40):
            kept.enter_context(connected(gateway.port, b""))

        assert tls_answer(gateway.port, client(certificates), "CT1") == 2
        assert gateway.door.admission.unassociated <= 16

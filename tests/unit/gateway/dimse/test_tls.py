"""The DIMSE door's TLS context allows only what BCP 195 allows; settings that cannot make a context are named."""

import asyncio
import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.dimse.peers import Certificate
from gateway.dimse.tls import certificate_of, tls_context
from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError
from tests.support.machine.certificates import EC, RSA, issue, openssl

# Name, authority, subject, kind of key.
ISSUED = [
    ("ca", "ca", None, EC),
    ("door", "ca", None, EC),
    ("rsa", "ca", None, RSA),
    ("ct1", "ca", None, EC),
    ("foreign", "foreign", None, EC),
    ("no-name", "ca", "/O=Hospital", EC),
    ("two-names", "ca", "/CN=ct1/CN=ct2", EC),
    ("joined-names", "ca", "/CN=ct1+CN=ct2", EC),
    ("named", "ca", "/O=Hospital/CN=safe.example.org+OU=CT", EC),
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with certificates, keys, a key that has a passphrase, and files that are no certificates."""
    folder = tmp_path_factory.mktemp("tls")
    for name, authority, subject, kind in ISSUED:
        issue(folder, name, authority, subject, kind)
    openssl("ec", "-in", f"{folder}/door.key", "-aes256", "-passout", "pass:secret", "-out", f"{folder}/secret.key")
    (folder / "text.pem").write_text("no certificate")
    (folder / "empty.pem").touch()
    return folder


def settings(folder: Path, certificate: str = "door.pem", key: str = "door.key", ca: str = "") -> DimseSettings:
    """Return settings that name these files of a folder; an empty name means no file."""
    paths = [str(folder / name) if name else "" for name in (certificate, key, ca)]
    return DimseSettings(tls_certificate=paths[0], tls_key=paths[1], tls_client_ca=paths[2])


def context_of(given: DimseSettings) -> ssl.SSLContext:
    context = tls_context(given)
    assert context is not None
    return context


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_context(DimseSettings()) is None


CERTIFICATE, KEY, CA = "FLUORO_DIMSE_TLS_CERTIFICATE", "FLUORO_DIMSE_TLS_KEY", "FLUORO_DIMSE_TLS_CLIENT_CA"
BOTH = f"{CERTIFICATE} and {KEY}: set both or neither"
NEEDED = f"{CA}: needs {CERTIFICATE}"


# Certificate, key, client CA.
@pytest.mark.parametrize(
    ("files", "problems"),
    [
        (("door.pem", "", ""), [BOTH]),
        (("", "door.key", ""), [BOTH]),
        (("door.pem", "", "ca.pem"), [BOTH]),
        (("", "", "ca.pem"), [NEEDED]),
        (("", "door.key", "ca.pem"), [BOTH, NEEDED]),
    ],
)
def test_settings_that_need_each_other_are_all_named(
    tmp_path: Path, files: tuple[str, str, str], problems: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        tls_context(settings(tmp_path, *files))

    assert str(caught.value).splitlines() == problems


@pytest.mark.parametrize(
    ("files", "setting", "why"),
    [
        (("absent.pem", "door.key", ""), CERTIFICATE, "No such file or directory"),
        (("door.pem", "absent.key", ""), CERTIFICATE, "No such file or directory"),
        (("text.pem", "door.key", ""), CERTIFICATE, ""),
        (("empty.pem", "door.key", ""), CERTIFICATE, ""),
        (("door.pem", "text.pem", ""), CERTIFICATE, ""),
        (("door.pem", "ct1.key", ""), CERTIFICATE, "mismatch"),
        (("door.pem", "secret.key", ""), CERTIFICATE, "the key has a passphrase, which nobody can enter here"),
        (("door.pem", "door.key", "absent.pem"), CA, "No such file or directory"),
        (("door.pem", "door.key", "text.pem"), CA, ""),
        (("door.pem", "door.key", "empty.pem"), CA, ""),
        (("door.pem", "door.key", "."), CA, ""),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_its_setting_with_the_reason(
    certificates: Path, files: tuple[str, str, str], setting: str, why: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        tls_context(settings(certificates, *files))

    (line,) = str(caught.value).splitlines()
    named, _, reason = line.partition(": ")
    assert named.split(" ")[0] == setting
    assert why.lower() in reason.lower()
    assert reason.strip()


def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> ssl.SSLObject:
    """Let a client shake hands with a server in memory; return the server's side, or raise its SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    waiting = [client, server]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    return server


def client(folder: Path, name: str = "") -> ssl.SSLContext:
    """Return the context of a client that presents the certificate of this name, none if it is empty."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def lenient(folder: Path, name: str) -> ssl.SSLContext:
    """Return the context of a server that allows everything that OpenSSL can do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def only(ciphers: str) -> Callable[[ssl.SSLContext], None]:
    """Return a function that limits a client to TLS 1.2 with these suites."""

    def change(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")

    return change


def old(context: ssl.SSLContext) -> None:
    only("ALL")(context)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1


def newest(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3


ALLOWED = {
    "TLS 1.3": ("door", newest, "TLSv1.3"),
    "any TLS 1.2": ("door", only("ALL"), "TLSv1.2"),
    "AES-GCM": ("door", only("ECDHE-ECDSA-AES128-GCM-SHA256"), "TLSv1.2"),
    "ChaCha20": ("door", only("ECDHE-ECDSA-CHACHA20-POLY1305"), "TLSv1.2"),
    "RSA certificate": ("rsa", only("ECDHE-RSA-AES256-GCM-SHA384"), "TLSv1.2"),
}
REFUSED = {
    "TLS 1.1": ("rsa", old),
    "no forward secrecy": ("rsa", only("AES128-GCM-SHA256")),
    "no authenticated encryption": ("door", only("ECDHE-ECDSA-AES128-SHA256")),
    "neither": ("rsa", only("AES128-SHA")),
    "no server certificate": ("door", only("AECDH-AES128-SHA")),
}


@pytest.mark.parametrize(("name", "change", "version"), ALLOWED.values(), ids=ALLOWED)
def test_clients_with_forward_secrecy_and_authenticated_encryption_are_served(
    certificates: Path, name: str, change: Callable[[ssl.SSLContext], None], version: str
) -> None:
    caller = client(certificates)
    change(caller)

    served = handshake(context_of(settings(certificates, f"{name}.pem", f"{name}.key")), caller)

    assert served.version() == version


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(("name", "change"), REFUSED.values(), ids=REFUSED)
def test_clients_without_either_are_refused_although_openssl_could_serve_them(
    certificates: Path, name: str, change: Callable[[ssl.SSLContext], None]
) -> None:
    caller = client(certificates)
    change(caller)
    assert handshake(lenient(certificates, name), caller).cipher()

    with pytest.raises(ssl.SSLError):
        handshake(context_of(settings(certificates, f"{name}.pem", f"{name}.key")), caller)


def test_the_door_chooses_the_suite_and_never_renegotiates(certificates: Path) -> None:
    context = context_of(settings(certificates))

    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & ssl.OP_NO_RENEGOTIATION


def shown(folder: Path, name: str, ca: str = "ca.pem", version: ssl.TLSVersion | None = None) -> Certificate | None:
    """Return the certificate that a client of this name presents to a door with this client CA."""
    caller = client(folder, name)
    if version is not None:
        caller.maximum_version = version
    served = handshake(context_of(settings(folder, ca=ca)), caller)
    return certificate_of(asyncio.BaseTransport({"ssl_object": served}))


@pytest.mark.parametrize(
    ("name", "common_name"),
    [("ct1", "ct1"), ("named", "safe.example.org"), ("no-name", ""), ("two-names", ""), ("joined-names", "")],
)
def test_a_clients_certificate_has_its_fingerprint_and_its_only_common_name(
    certificates: Path, name: str, common_name: str
) -> None:
    der = ssl.PEM_cert_to_DER_cert((certificates / f"{name}.pem").read_text())

    assert shown(certificates, name) == Certificate(sha256(der).hexdigest(), common_name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("name", ["", "foreign"], ids=["no certificate", "foreign certificate"])
def test_with_a_client_ca_a_client_without_a_certificate_of_it_is_refused(
    certificates: Path, name: str, version: ssl.TLSVersion
) -> None:
    with pytest.raises(ssl.SSLError):
        shown(certificates, name, version=version)


@pytest.mark.parametrize("name", ["", "ct1", "foreign"])
def test_without_a_client_ca_no_client_is_asked_for_a_certificate(certificates: Path, name: str) -> None:
    assert shown(certificates, name, ca="") is None


def test_a_connection_without_tls_has_no_certificate() -> None:
    assert certificate_of(asyncio.BaseTransport()) is None

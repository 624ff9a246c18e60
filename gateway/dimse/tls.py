"""DICOM over TLS (PS3.15 B.9 and following: the profiles that cite BCP 195), with asyncio's own TLS."""

import asyncio
import hashlib
import ssl
from typing import Any

from gateway.dimse.peers import Certificate
from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError

# RFC 9325 4.2: only suites with forward secrecy and authenticated encryption, which all suites of TLS 1.3 have.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls_context(settings: DimseSettings) -> ssl.SSLContext | None:
    """Return the TLS context, None if the settings name no certificate; raises SettingsError, a line per problem."""
    if problems := _combinations(settings):
        raise SettingsError("\n".join(problems))
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise SettingsError(f"FLUORO_DIMSE_TLS_CERTIFICATE and _KEY: {_text_of(error)}") from error
    if settings.tls_client_ca:
        _require_certificates(context, settings.tls_client_ca)
    return context


def _combinations(settings: DimseSettings) -> list[str]:
    problems = []
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        problems.append("FLUORO_DIMSE_TLS_CERTIFICATE and FLUORO_DIMSE_TLS_KEY: set both or neither")
    if settings.tls_client_ca and not settings.tls_certificate:
        problems.append("FLUORO_DIMSE_TLS_CLIENT_CA: needs FLUORO_DIMSE_TLS_CERTIFICATE")
    return problems


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which nobody can enter here: use a key without one")


def _require_certificates(context: ssl.SSLContext, authorities: str) -> None:
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise SettingsError(f"FLUORO_DIMSE_TLS_CLIENT_CA: {_text_of(error)}") from error
    context.verify_mode = ssl.CERT_REQUIRED


def _text_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def certificate_of(transport: asyncio.BaseTransport) -> Certificate | None:
    """Return the peer's certificate, which TLS has verified; None without TLS or certificate."""
    connection: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    encoded = connection.getpeercert(binary_form=True) if connection else None
    if connection is None or encoded is None:
        return None
    return Certificate(hashlib.sha256(encoded).hexdigest(), _common_name(connection.getpeercert() or {}))


def _common_name(certificate: Any) -> str:
    """Return the subject's common name; empty unless there is exactly one."""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""

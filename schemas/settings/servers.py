"""How the servers behind the archive are reached: the object store, the broker, the catalog's database."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.settings.reading import PORT, Rule, one_of, setting
from schemas.topics import PARTITIONS

# Of a bucket's name, which has at most 63 characters, the longest bucket takes 10.
_PREFIX = re.compile(r"[a-z0-9][a-z0-9.-]{0,52}")
PREFIX = Rule(lambda text: _PREFIX.fullmatch(text) is not None, "1 to 53 of a-z, 0-9, - and ., the first no - or .")
# libpq's word for the certificate authorities of the system.
SYSTEM = "system"
# The modes in which libpq checks the server's certificate.
VERIFYING = ("verify-ca", "verify-full")
SSL_MODES = ("disable", "allow", "prefer", "require", *VERIFYING)
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def _is_certificate_file(path: str) -> bool:
    try:
        return b"-----BEGIN CERTIFICATE-----" in Path(path).read_bytes()
    except OSError:
        return False


CA = Rule(lambda path: not path or _is_certificate_file(path), "a file of certificates in PEM form that can be read")
CATALOG_CA = Rule(lambda path: path == SYSTEM or CA.holds(path), f"{CA.wanted}, or {SYSTEM}")


@dataclass(frozen=True)
class StoreSettings:
    """The S3 object store."""

    section = "STORE"
    endpoint: str = setting("http://127.0.0.1:9000")
    access_key: str = setting("", secret=True)
    secret_key: str = setting("", secret=True)
    region: str = setting("us-east-1")
    # The beginning of every bucket's name: at AWS a name is taken once in the whole world.
    bucket_prefix: str = setting("fluoro-", rule=PREFIX)
    # The authorities that may have signed the certificate of an https endpoint; empty: those of the system.
    tls_ca: str = setting("", rule=CA)
    connect_s: float = setting(2.0, least=0.1)
    # The longest time without a byte in either direction.
    no_progress_s: float = setting(5.0, least=0.1)


@dataclass(frozen=True)
class BrokerSettings:
    """The Kafka broker, and how safely it keeps the topics that are made in it."""

    section = "BROKER"
    bootstrap: str = setting("127.0.0.1:9092")
    security_protocol: str = setting("PLAINTEXT", rule=one_of(*SECURITY_PROTOCOLS))
    # How user and password are shown, with SASL_PLAINTEXT and SASL_SSL.
    sasl_mechanism: str = setting("SCRAM-SHA-512", rule=one_of(*SASL_MECHANISMS))
    user: str = setting("")
    password: str = setting("", secret=True)
    # The authorities that may have signed the brokers' certificates, with SSL and SASL_SSL; empty: those of the system.
    tls_ca: str = setting("", rule=CA)
    # How long the broker may take to acknowledge a record.
    produce_s: float = setting(8.0, least=0.1)
    # The partitions of each topic that deploy.prepare makes: so many subtasks can share a job's reading. A topic that is
    # there keeps its own number, since with another one a study's records would lie in two partitions.
    topic_partitions: int = setting(PARTITIONS, least=1, most=10_000)
    # How many brokers keep each record of a topic that deploy.prepare makes, and how many of them must have it before it
    # is acknowledged.
    topic_replicas: int = setting(1, least=1, most=100)
    topic_min_insync_replicas: int = setting(1, least=1, most=100)

    @property
    def has_sasl(self) -> bool:
        """True if a client shows user and password."""
        return self.security_protocol.startswith("SASL_")

    @property
    def has_tls(self) -> bool:
        """True if connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    def contradictions(self) -> Iterator[str]:
        """Yield a line for each problem of settings that do not fit together."""
        if self.has_sasl and not (self.user and self.password):
            yield (
                "FLUORO_BROKER_USER, FLUORO_BROKER_PASSWORD: should be set (the password perhaps as a _FILE) for "
                + self.security_protocol
            )
        if self.topic_min_insync_replicas > self.topic_replicas:
            yield "FLUORO_BROKER_TOPIC_MIN_INSYNC_REPLICAS: should be at most FLUORO_BROKER_TOPIC_REPLICAS"


@dataclass(frozen=True)
class CatalogSettings:
    """The catalog's PostgreSQL database, as one role: each process is given the role that it needs and no other."""

    section = "CATALOG"
    host: str = setting("127.0.0.1")
    port: int = setting(5432, **PORT)
    database: str = setting("fluoro")
    user: str = setting("reader")
    password: str = setting("", secret=True)
    # libpq's sslmode; empty: verify-full if `tls_ca` is set, else prefer.
    sslmode: str = setting("", rule=one_of("", *SSL_MODES))
    # libpq's sslrootcert: the authorities that may have signed the server's certificate; "system" for those of the system.
    tls_ca: str = setting("", rule=CATALOG_CA)
    connections: int = setting(8, least=1, most=200)
    # The longest time that one statement may take.
    statement_s: float = setting(10.0, least=0.1)

    def contradictions(self) -> Iterator[str]:
        """Yield a line for each problem of settings that do not fit together."""
        if self.sslmode in VERIFYING and not self.tls_ca:
            yield f"FLUORO_CATALOG_TLS_CA: should be set for {self.sslmode}: {CATALOG_CA.wanted}"
        if self.tls_ca and self.sslmode not in ("", *VERIFYING):
            yield f"FLUORO_CATALOG_SSLMODE: {self.sslmode} checks no certificate, and so ignores FLUORO_CATALOG_TLS_CA"


@dataclass(frozen=True)
class RoleSettings:
    """The passwords that deploy.prepare gives to the catalog's roles; empty: a role that is there keeps its password."""

    section = "ROLES"
    writer_password: str = setting("", secret=True)
    reader_password: str = setting("", secret=True)

"""How the servers behind the archive are reached: the object store, the broker, the catalog's database."""

from dataclasses import dataclass

from schemas.settings.reading import PORT, setting


@dataclass(frozen=True)
class StoreSettings:
    """The S3 object store."""

    section = "STORE"
    endpoint: str = setting("http://127.0.0.1:9000")
    access_key: str = setting("", secret=True)
    secret_key: str = setting("", secret=True)
    region: str = setting("us-east-1")
    connect_s: float = setting(2.0, least=0.1)
    # The longest time without a byte in either direction.
    no_progress_s: float = setting(5.0, least=0.1)


@dataclass(frozen=True)
class BrokerSettings:
    """The Kafka broker."""

    section = "BROKER"
    bootstrap: str = setting("127.0.0.1:9092")
    # How long the broker may take to acknowledge a record.
    produce_s: float = setting(8.0, least=0.1)


@dataclass(frozen=True)
class CatalogSettings:
    """The catalog's PostgreSQL database, as one role: each process is given the role that it needs and no other."""

    section = "CATALOG"
    host: str = setting("127.0.0.1")
    port: int = setting(5432, **PORT)
    database: str = setting("fluoro")
    user: str = setting("reader")
    password: str = setting("", secret=True)
    connections: int = setting(8, least=1, most=200)
    # The longest time that one statement may take.
    statement_s: float = setting(10.0, least=0.1)

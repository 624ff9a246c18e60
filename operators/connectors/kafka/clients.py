"""What every client of the broker is given: where the broker is, and our log for librdkafka's own lines."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from operators.errors import Unavailable
from schemas.settings.servers import BrokerSettings

# librdkafka's errors, by syslog's levels.
ERRORS = 3
# A client tries to connect about once a second while its broker is away, and fails with a line each time.
REPEAT_S = 60.0

log = structlog.get_logger()


def client_config(settings: BrokerSettings) -> dict[str, Any]:
    """Return librdkafka's settings that all clients share. What a client has to say waits until the client is polled.

    The Java clients of the jobs have theirs in pipelines/engines/kafka.py.
    """
    config = {"bootstrap.servers": settings.bootstrap, "security.protocol": settings.security_protocol}
    if settings.has_sasl:
        config |= {"sasl.mechanism": settings.sasl_mechanism}
        config |= {"sasl.username": settings.user, "sasl.password": settings.password}
    if settings.has_tls and settings.tls_ca:
        config["ssl.ca.location"] = settings.tls_ca
    return {**config, "log_level": ERRORS, "logger": ClientLog()}


@contextmanager
def asking(client: AdminClient) -> Iterator[None]:
    """Raise Unavailable for an error of the broker in the block; log what the client has to say, in any case."""
    try:
        yield
    except KafkaException as error:
        raise Unavailable("broker") from error
    finally:
        client.poll(0)


class ClientLog:
    """Where a client writes its log lines: into the process's own log, one of each kind in REPEAT_S."""

    def __init__(self) -> None:
        # When each kind of line is logged again, by librdkafka's word for it, such as FAIL.
        self._again_at: dict[str, float] = {}

    def log(self, _level: int, _form: str, kind: str, client: str, line: str) -> None:
        """Log a line, as confluent_kafka hands it over. It names addresses and topics, never what a record holds."""
        now = time.monotonic()
        if now >= self._again_at.get(kind, now):
            self._again_at[kind] = now + REPEAT_S
            log.warning("broker_client_error", kind=kind, client=client, line=line)

"""What every client of the broker is given: where the broker is, and our log for librdkafka's own lines."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from operators.errors import Unavailable
from schemas.settings.servers import BrokerSettings

# librdkafka's informations, by syslog's levels: one of them is needed, OTHER_PROTOCOL.
INFORMATIONS = 6
# A client tries to connect about once a second while its broker is away, and fails with a line each time.
REPEAT_S = 60.0
# The thread in librdkafka's lines, and the time that the attempt took.
INNER = re.compile(r"^\[thrd:[^\]]*\]: |\s*\(after \d+ms in state \w+[^)]*\)$")
# librdkafka takes it for no error that a broker closes each new connection at the first question.
OTHER_PROTOCOL = "in state APIVERSION_QUERY"
ASK_PROTOCOL = ": perhaps this address does not speak what FLUORO_BROKER_SECURITY_PROTOCOL says"
# The errors of a connection that never came about: librdkafka's line before them knows why.
NO_CONNECTION = (
    KafkaError._TRANSPORT,  # noqa: SLF001 - the names of public constants
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
)

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
    return {**config, "log_level": INFORMATIONS, "logger": ClientLog(settings.bootstrap)}


class BrokerAdmin(AdminClient):  # type: ignore[misc]
    """A client for questions about topics and groups, and for changes of topics."""

    def __init__(self, settings: BrokerSettings) -> None:
        config = client_config(settings)
        self._said: ClientLog = config["logger"]
        super().__init__(config)

    @contextmanager
    def asking(self, about: str = "") -> Iterator[None]:
        """Raise Unavailable for an error of the broker in the block; log what the client has to say, in any case.

        `about` is what the questions of the block are about, such as a topic.
        """
        try:
            yield
        except KafkaException as error:
            self.poll(0)
            raise Unavailable("broker", self._said.why(error.args[0], about)) from error
        finally:
            self.poll(0)


class ClientLog:
    """Where a client writes its log lines: into the process's own log, one of each kind in REPEAT_S."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        # When each kind of line is logged again, by librdkafka's word for it, such as FAIL.
        self._again_at: dict[str, float] = {}
        self._last, self._last_until = "", 0.0

    def log(self, level: int, _form: str, kind: str, client: str, line: str) -> None:
        """Log an error, as confluent_kafka hands it over. It names addresses and topics, never what a record holds."""
        has_other_protocol = OTHER_PROTOCOL in line
        if level < logging.ERROR and not has_other_protocol:
            return
        now = time.monotonic()
        line = INNER.sub("", line) + (ASK_PROTOCOL if has_other_protocol else "")
        self._last, self._last_until = line, now + REPEAT_S
        if now >= self._again_at.get(kind, now):
            self._again_at[kind] = now + REPEAT_S
            log.warning("broker_client_error", kind=kind, client=client, line=line)

    def why(self, error: KafkaError | None = None, about: str = "") -> str:
        """Return a line with the broker's address and the cause of an error, which is often what the client said before.

        Without an error there was no answer in time.
        """
        cause = error.str() if error else "no answer in time"
        if (error is None or error.code() in NO_CONNECTION) and time.monotonic() < self._last_until:
            cause = self._last
        return f"{self._bootstrap}: {f'{about}: ' if about else ''}{cause}"

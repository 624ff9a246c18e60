"""Outputs become rows for Kafka with the types that the Java side uses, and Java's clients have our settings."""

import re
from pathlib import Path

import pytest
from pyflink.common.typeinfo import RowTypeInfo

from operators.stream.dead_letter import rejected
from operators.stream.step import Output, Record
from pipelines.engines import kafka
from pipelines.engines.kafka import BY_KEY, OUTGOING, Reading, client_properties, outgoing
from schemas.codec import decode
from schemas.events import Event
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED, RECORD_REJECTED, TOPICS
from tests.support.worlds.catalog_histories import NOON, due, ended, instance, quarantined

JAVA = (Path(kafka.__file__).parent / "KafkaRecords.java").read_text()
# The names of the same types in Java and in Python.
JAVA_NAMES = {
    "STRING": "String",
    "INT": "Integer",
    "LONG": "Long",
    "BYTES": "PrimitiveArrayTypeInfo<Byte>",
    "byte[]": "PrimitiveArrayTypeInfo<Byte>",
}
NOON_MS = 1_772_366_400_000


def output(event: Event) -> Output:
    """Return the output of an event to its topic."""
    return Output(next(topic for topic in TOPICS if isinstance(event, topic.event)), event)


def types_of(row: RowTypeInfo) -> list[str]:
    return [str(one) for one in row.get_field_types()]


@pytest.mark.parametrize(
    ("event", "key"),
    [
        (instance(), b"local/1.2.1"),
        (ended(), b"local/1.2.1"),
        (due(), b"local/1.2.1"),
        (quarantined("q"), f"local/{quarantined('q').data_hash}".encode()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_output_is_written_to_its_topic_under_the_key_of_its_event(event: Event, key: bytes) -> None:
    topic, written_key, value, timestamp_ms = outgoing(output(event))

    assert (topic, written_key) == (output(event).topic.name, key)
    assert decode(value) == event
    assert timestamp_ms == NOON_MS


@pytest.mark.parametrize("key", [b"local/1.2.1", b"\xff no key of ours", b""])
def test_a_dead_letter_is_written_under_the_key_of_the_rejected_record(key: bytes) -> None:
    bad = Record(INSTANCE_STORED.name, 3, 41, 0, key, b"\x00 no event")
    topic, written_key, value, _ = outgoing(rejected(bad, "catalog", "not-an-event", NOON))

    assert (topic, written_key) == (RECORD_REJECTED.name, key)
    assert decode(value) == rejected(bad, "catalog", "not-an-event", NOON).event


def test_the_rows_to_kafka_have_the_types_that_java_reads_from_them() -> None:
    read = {int(place): name for name, place in re.findall(r"\((String|Long|byte\[\])\) row\.getField\((\d)\)", JAVA)}

    assert types_of(OUTGOING) == [JAVA_NAMES.get(read[place], read[place]) for place in range(len(read))]


def test_a_reading_without_shards_is_what_java_keys_by_the_records_own_key() -> None:
    assert Reading("study", (INSTANCE_STORED,), 0.5).shards == BY_KEY
    assert f"shards == {BY_KEY} ? text(key)" in JAVA


def test_java_clients_are_encrypted_and_authenticated_by_the_same_settings(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("-----BEGIN CERTIFICATE-----\n")
    settings = BrokerSettings(
        security_protocol="SASL_SSL",
        user="jobs",
        password='back\\slash and "quote"',
        tls_ca=str(authorities),
    )

    assert client_properties(BrokerSettings()) == {"security.protocol": "PLAINTEXT"}
    assert client_properties(settings) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": (
            "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule required"
            r' username="jobs" password="back\\slash and \"quote\"";'
        ),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----\n",
    }

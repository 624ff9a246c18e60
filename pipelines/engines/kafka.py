"""The Kafka source and the Kafka sink of a Flink graph; they pass bytes, which Python decodes and encodes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyflink.common import Row, WatermarkStrategy
from pyflink.common.typeinfo import TypeInformation, Types
from pyflink.datastream import DataStream, KeyedStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetResetStrategy,
    KafkaOffsetsInitializer,
    KafkaSink,
    KafkaSource,
    KafkaTopicPartition,
)
from pyflink.java_gateway import get_gateway

from operators.stream.origin import Origin
from operators.stream.step import Output, Stop
from schemas.codec import encode
from schemas.events import RecordRejected
from schemas.settings.jobs import JobSettings
from schemas.settings.servers import BrokerSettings
from schemas.topics import TOPICS, Topic, record_key

BYTES: TypeInformation = Types.PRIMITIVE_ARRAY(Types.BYTE())
# The same types in KafkaRecords.java.
OUTGOING: TypeInformation = Types.ROW([Types.STRING(), BYTES, BYTES, Types.LONG()])
# The most bytes of a record besides its value: key, headers, and Kafka's framing.
FRAMING_BYTES = 64 * 1024
# Where Flink's connector has Kafka's classes, and those of them that show user and password.
SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
LOGIN_MODULES = {"PLAIN": f"{SHADED}.plain.PlainLoginModule", "SCRAM": f"{SHADED}.scram.ScramLoginModule"}
# Instead of a number of shards: records are keyed by their own key.
BY_KEY = 0
# A batch ends at so many bytes too, whatever its records.
BATCH_BYTES = 8 * 2**20
# A fetch waits for so many bytes, or for the time that its reading says: a request for each record would cost more than
# the record itself (DECISIONS 58).
FETCH_BYTES = 128 * 2**10


@dataclass(frozen=True)
class Reading:
    """A job's group and topics; its records are keyed by shard (crc32 of their key) if there are shards, else by key.

    The source continues at the offsets in its state. Without state it begins at the origin's offsets, else at the
    earliest record, and not at the group's offset, because the lost state may have held what records before that offset
    have made, such as an open window. The group commits at checkpoints, for the guard of the next start and to show the job's progress. A
    bounded source ends at the present end of the topics. The broker holds an answer back for at most `wait_s` while there
    is little to send.
    """

    group: str
    topics: tuple[Topic, ...]
    wait_s: float
    origin: Origin = field(default_factory=Origin)
    shards: int = BY_KEY
    bounded: bool = False


def client_properties(broker: BrokerSettings) -> dict[str, str]:
    """Return the properties of the connector's Java clients for encryption and authentication.

    The text of the certificates is in them, not the file's name, so that TaskManagers need no such file.
    """
    properties = {"security.protocol": broker.security_protocol}
    if broker.has_sasl:
        module = LOGIN_MODULES[broker.sasl_mechanism.partition("-")[0]]
        user, password = _jaas_text(broker.user), _jaas_text(broker.password)
        properties["sasl.mechanism"] = broker.sasl_mechanism
        properties["sasl.jaas.config"] = f"{module} required username={user} password={password};"
    if broker.has_tls and broker.tls_ca:
        properties["ssl.truststore.type"] = "PEM"
        properties["ssl.truststore.certificates"] = Path(broker.tls_ca).read_text()
    return properties


def _jaas_text(value: str) -> str:
    """Return a value as JAAS quotes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def batches(env: StreamExecutionEnvironment, broker: BrokerSettings, reading: Reading, job: JobSettings) -> KeyedStream:
    """Return the records of the topics in batches, keyed by the records' own key or by their shard.

    A batch has a key's records of `batch_s`, or less when there are `batch_records` in all or a checkpoint comes.
    """
    name = reading.group
    stream = env.from_source(_source(broker, reading), WatermarkStrategy.no_watermarks(), f"{name} records")
    java = _java()
    gatherer = java.gatherer(int(job.batch_s * 1000), job.batch_records, BATCH_BYTES)
    # In the chain of the source: only a record that leaves it is serialised.
    gathered = stream.uid(f"{name}-records")._j_data_stream.transform(f"{name} gathers", java.packed(), gatherer)  # noqa: SLF001
    return _keyed(DataStream(gathered).uid(f"{name}-gathers"))


def _source(broker: BrokerSettings, reading: Reading) -> KafkaSource:
    builder = (
        KafkaSource.builder()
        .set_bootstrap_servers(broker.bootstrap)
        .set_properties(client_properties(broker))
        .set_property("fetch.min.bytes", str(FETCH_BYTES))
        .set_property("fetch.max.wait.ms", str(int(reading.wait_s * 1000)))
        .set_group_id(reading.group)
        .set_client_id_prefix(reading.group)
        .set_topics(*(topic.name for topic in reading.topics))
        .set_starting_offsets(_beginning(reading.origin))
    )
    if reading.bounded:
        builder.set_bounded(KafkaOffsetsInitializer.latest())
    # PyFlink's setter accepts only deserializers of the value.
    builder._j_builder.setDeserializer(_java().reader(reading.shards))  # noqa: SLF001
    return builder.build()


def _beginning(origin: Origin) -> KafkaOffsetsInitializer:
    """Return the offsets at which a source without state begins; at an offset that has expired, the earliest."""
    if not origin.offsets:
        return KafkaOffsetsInitializer.earliest()
    offsets = {KafkaTopicPartition(*place): offset for place, offset in origin.offsets.items()}
    return KafkaOffsetsInitializer.offsets(offsets, KafkaOffsetResetStrategy.EARLIEST)


def _keyed(stream: DataStream) -> KeyedStream:
    """Return the stream keyed by the row's first field, made in Java; PyFlink's key_by would add a Python operator."""
    selector = get_gateway().jvm.KeyByKeySelector()
    key_type = Types.ROW([Types.STRING()]).get_java_type_info()
    return KeyedStream(stream._j_data_stream.keyBy(selector, key_type), BYTES, stream)  # noqa: SLF001


def outgoing(output: Output) -> Row:
    """Return the outgoing row of an output; a dead letter has the key of the rejected record.

    The broker replaces the time of the row by that of the append.
    """
    event = output.event
    key = (event.origin_key or b"") if isinstance(event, RecordRejected) else record_key(event)
    return Row(output.topic.name, key, encode(event), int(event.occurred_at.timestamp() * 1000))


def stop_row(stop: Stop) -> Row:
    """Return the row that ends the job, once all rows before it are written."""
    return Row("", b"", str(stop).encode(), 0)


def send(stream: DataStream, broker: BrokerSettings, group: str) -> None:
    """Write outputs to their topics, at least once, each to the partition of its key (murmur2, Kafka's default).

    A stop among them fails the job at the next checkpoint, before which the broker acknowledges the outputs before the
    stop; Flink does not restart the job then.
    """
    builder = (
        KafkaSink.builder()
        .set_bootstrap_servers(broker.bootstrap)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .set_property("compression.type", "zstd")
        .set_property("linger.ms", "1")
        .set_property("max.request.size", str(max(topic.max_message_bytes for topic in TOPICS) + FRAMING_BYTES))
    )
    for name, value in client_properties(broker).items():
        builder.set_property(name, value)
    builder._j_builder.setRecordSerializer(_java().writer())  # noqa: SLF001
    _stoppable(stream, group).sink_to(builder.build()).name(f"{group} outputs").uid(f"{group}-outputs")


def _stoppable(stream: DataStream, group: str) -> DataStream:
    row_type = stream._j_data_stream.getType()  # noqa: SLF001
    stoppable = DataStream(stream._j_data_stream.process(_java().stopper(), row_type))  # noqa: SLF001
    return stoppable.name(f"{group} stops").uid(f"{group}-stops")


def _java() -> Any:
    return get_gateway().jvm.fluoro.KafkaRecords

"""Kafka's ends of a Flink graph: records in, outputs out, each as bytes that Python decodes and encodes itself."""

from dataclasses import dataclass
from typing import Any

from pyflink.common import Row, WatermarkStrategy
from pyflink.common.typeinfo import TypeInformation, Types
from pyflink.datastream import DataStream, KeyedStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaSink,
    KafkaSource,
)
from pyflink.java_gateway import get_gateway

from operators.stream.step import Output, Record
from schemas.codec import encode
from schemas.events import RecordRejected
from schemas.settings.servers import BrokerSettings
from schemas.topics import TOPICS, Topic, record_key

BYTES: TypeInformation = Types.PRIMITIVE_ARRAY(Types.BYTE())
# The same types in KafkaRecords.java.
RECORD: TypeInformation = Types.ROW([Types.STRING(), Types.INT(), Types.LONG(), Types.LONG(), BYTES, BYTES])
OUTGOING: TypeInformation = Types.ROW([Types.STRING(), BYTES, BYTES, Types.LONG()])
# Of a record besides its value: key, headers, Kafka's own framing.
FRAMING_BYTES = 64 * 1024
WHOLE_KEY = 0


@dataclass(frozen=True)
class Reading:
    """What a job reads, as which group; keyed by the number of its shard (crc32 of the record's key) if there are any.

    Goes on where the state says, and without state begins at the earliest: what a group has committed may be in a
    buffer of the state that was lost. Commits at checkpoints, so that others see how far it is. Bounded ends at what
    there is.
    """

    group: str
    topics: tuple[Topic, ...]
    shards: int = WHOLE_KEY
    bounded: bool = False


def records(env: StreamExecutionEnvironment, broker: BrokerSettings, reading: Reading) -> KeyedStream:
    """Return the records of some topics, keyed by their own key or by their shard."""
    builder = (
        KafkaSource.builder()
        .set_bootstrap_servers(broker.bootstrap)
        .set_group_id(reading.group)
        .set_client_id_prefix(reading.group)
        .set_topics(*(topic.name for topic in reading.topics))
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
    )
    if reading.bounded:
        builder.set_bounded(KafkaOffsetsInitializer.latest())
    # Python's own setter takes deserializers of the value alone.
    builder._j_builder.setDeserializer(_java().reader(reading.shards))  # noqa: SLF001
    stream = env.from_source(builder.build(), WatermarkStrategy.no_watermarks(), f"{reading.group} records")
    return _keyed(stream.uid(f"{reading.group}-records"))


def ticking(stream: KeyedStream, name: str, every_s: float) -> KeyedStream:
    """Have a tick follow each key's first record after so long, then its next: a record whose topic is empty.

    An operator in process mode sets no timers: those set since its last bundle are not in a checkpoint.
    """
    ticker = _java().ticker(int(every_s * 1000))
    row_type = stream._origin_stream._j_data_stream.getType()  # noqa: SLF001
    ticked = DataStream(stream._j_data_stream.process(ticker, row_type))  # noqa: SLF001
    return _keyed(ticked.name(f"{name} ticks").uid(f"{name}-ticks"))


def _keyed(stream: DataStream) -> KeyedStream:
    """Key by the row's first field. PyFlink's key_by would add a Python operator to make such rows; Java made them."""
    selector = get_gateway().jvm.KeyByKeySelector()
    key_type = Types.ROW([Types.STRING()]).get_java_type_info()
    return KeyedStream(stream._j_data_stream.keyBy(selector, key_type), RECORD, stream)  # noqa: SLF001


def record(row: Any) -> Record:
    """Return the record in a row that came in."""
    topic, partition, offset, timestamp_ms, key, value = row
    return Record(topic, partition, offset, timestamp_ms, bytes(key), bytes(value))


def outgoing(output: Output) -> Row:
    """Return the row that goes out for an output: a rejected record under its origin's key, else under its own."""
    event = output.event
    key = (event.origin_key or b"") if isinstance(event, RecordRejected) else record_key(event)
    return Row(output.topic.name, key, encode(event), int(event.occurred_at.timestamp() * 1000))


def send(stream: DataStream, broker: BrokerSettings, group: str) -> None:
    """Write outputs to their topics, at least once; Kafka's own partitioner, murmur2 of the key, places them."""
    builder = (
        KafkaSink.builder()
        .set_bootstrap_servers(broker.bootstrap)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .set_property("compression.type", "zstd")
        .set_property("linger.ms", "1")
        .set_property("max.request.size", str(max(topic.max_message_bytes for topic in TOPICS) + FRAMING_BYTES))
    )
    builder._j_builder.setRecordSerializer(_java().writer())  # noqa: SLF001
    stream.sink_to(builder.build()).name(f"{group} outputs").uid(f"{group}-outputs")


def _java() -> Any:
    return get_gateway().jvm.fluoro.KafkaRecords

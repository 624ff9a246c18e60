"""Batches of Kafka records, packed as KafkaRecords.java packs them."""

from operators.stream.step import Record
from pipelines.engines.packed import LAYOUT


def pack(*records: Record) -> bytes:
    """Return these records as one batch."""
    return b"".join(map(_packed, records))


def _packed(record: Record) -> bytes:
    topic = record.topic.encode()
    numbers = (record.partition, record.offset, record.timestamp_ms, len(topic), len(record.key), len(record.value))
    return b"".join((LAYOUT.pack(*numbers), topic, record.key, record.value))

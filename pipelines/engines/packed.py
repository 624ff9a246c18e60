"""Kafka records in a batch, as KafkaRecords.java packs them: one behind the other."""

import struct
from collections.abc import Iterator

from operators.stream.step import Record

# Partition, offset, timestamp in ms, length of the topic, of the key, of the value; then topic, key, value.
LAYOUT = struct.Struct(">iqqHii")


def unpack(batch: bytes) -> tuple[Record, ...]:
    """Return the records of a batch, in their order."""
    return tuple(_unpacked(batch))


def _unpacked(batch: bytes) -> Iterator[Record]:
    at = 0
    while at < len(batch):
        partition, offset, timestamp_ms, topic_length, key_length, value_length = LAYOUT.unpack_from(batch, at)
        key_at = at + LAYOUT.size + topic_length
        value_at = key_at + key_length
        topic, at = batch[at + LAYOUT.size : key_at].decode(), value_at + value_length
        yield Record(topic, partition, offset, timestamp_ms, batch[key_at:value_at], batch[value_at:at])

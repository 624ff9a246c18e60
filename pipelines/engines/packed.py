"""A record as bytes in an operator's state, with the version of their layout first."""

import struct

from operators.stream.step import Record

VERSION = 1
# Version, partition, offset, timestamp in ms, bytes of the topic, bytes of the key; then topic, key, value.
LAYOUT = struct.Struct(">BiqqHH")


def pack(one: Record) -> bytes:
    """Return a record's bytes in the state."""
    topic = one.topic.encode()
    numbers = LAYOUT.pack(VERSION, one.partition, one.offset, one.timestamp_ms, len(topic), len(one.key))
    return b"".join((numbers, topic, one.key, one.value))


def unpack(data: bytes) -> Record:
    """Read back what pack() gave."""
    version, partition, offset, timestamp_ms, topic_length, key_length = LAYOUT.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"buffered record of version {version}, this code reads {VERSION}")
    key_at = LAYOUT.size + topic_length
    value_at = key_at + key_length
    topic = data[LAYOUT.size : key_at].decode()
    return Record(topic, partition, offset, timestamp_ms, data[key_at:value_at], data[value_at:])

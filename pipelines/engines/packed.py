"""A buffered record as bytes of an operator's state; the first byte is the version of their layout."""

import struct

from operators.stream.step import Record

VERSION = 1
# Version, partition, offset, timestamp in ms, bytes of the topic, bytes of the key; then topic, key, value.
LAYOUT = struct.Struct(">BiqqHH")


def pack(one: Record) -> bytes:
    """Return the bytes that a record is kept as."""
    topic = one.topic.encode()
    numbers = LAYOUT.pack(VERSION, one.partition, one.offset, one.timestamp_ms, len(topic), len(one.key))
    return b"".join((numbers, topic, one.key, one.value))


def unpack(data: bytes) -> Record:
    """Return the record that pack() was given. Raises ValueError for bytes of another layout."""
    version, partition, offset, timestamp_ms, topic_length, key_length = LAYOUT.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"buffered record of version {version}, this code reads {VERSION}")
    key_at = LAYOUT.size + topic_length
    value_at = key_at + key_length
    topic = data[LAYOUT.size : key_at].decode()
    return Record(topic, partition, offset, timestamp_ms, data[key_at:value_at], data[value_at:])

"""A buffered record as bytes in an operator's state; the first byte is the version of the layout."""

import struct

from operators.stream.newer_release import UnknownState
from operators.stream.step import Record

VERSION = 1
# Version, partition, offset, timestamp in ms, length of the topic, length of the key; then topic, key, value.
LAYOUT = struct.Struct(">BiqqHH")


def pack(record: Record) -> bytes:
    """Return a record as bytes of state."""
    topic = record.topic.encode()
    numbers = LAYOUT.pack(VERSION, record.partition, record.offset, record.timestamp_ms, len(topic), len(record.key))
    return b"".join((numbers, topic, record.key, record.value))


def unpack(data: bytes) -> Record:
    """Return the record in the bytes of pack(). Raises UnknownState for bytes of another layout."""
    version, partition, offset, timestamp_ms, topic_length, key_length = LAYOUT.unpack_from(data)
    if version != VERSION:
        raise UnknownState(
            f"buffered record has version {version}, but this release reads {VERSION}: run the release that wrote it"
        )
    key_at = LAYOUT.size + topic_length
    value_at = key_at + key_length
    topic = data[LAYOUT.size : key_at].decode()
    return Record(topic, partition, offset, timestamp_ms, data[key_at:value_at], data[value_at:])

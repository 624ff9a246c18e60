"""Decoding a record of a registered topic to its event."""

from operators.errors import Rejected
from operators.stream.step import Arrival, Record
from schemas.codec import NotAnEvent, UnknownSchema, decode
from schemas.topics import TOPICS, record_key

EVENT_OF = {topic.name: topic.event for topic in TOPICS}


def arrival(record: Record) -> Arrival:
    """Return a record with its event decoded.

    Raises Rejected for a record that no release can decode: its value is no event or an event of another topic, or its
    key does not belong to the event. Raises codec.UnknownSchema, with the record's position, for an event that a newer
    release could decode.
    """
    try:
        event = decode(record.value)
    except NotAnEvent as error:
        raise Rejected("not-an-event") from error
    except UnknownSchema as error:
        raise UnknownSchema(f"{record.topic}/{record.partition} at offset {record.offset}: {error}") from error
    if not isinstance(event, EVENT_OF[record.topic]):
        raise Rejected("not-of-its-topic")
    if record.key != record_key(event):
        raise Rejected("not-its-key")
    return Arrival(event, record.topic, record.partition, record.offset)

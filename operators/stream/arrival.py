"""A record of one of our topics as what it means."""

from operators.errors import Rejected
from operators.stream.step import Arrival, Record
from schemas.codec import NotAnEvent, decode
from schemas.topics import TOPICS, record_key

EVENT_OF = {topic.name: topic.event for topic in TOPICS}


def arrival(record: Record) -> Arrival:
    """Decode a record of one of our topics.

    Raises Rejected for what can never be one: no event, another topic's event, another event's key.
    Raises codec.UnknownSchema for an event that a newer reader could read.
    """
    try:
        event = decode(record.value)
    except NotAnEvent as error:
        raise Rejected("not-an-event") from error
    if not isinstance(event, EVENT_OF[record.topic]):
        raise Rejected("not-of-its-topic")
    if record.key != record_key(event):
        raise Rejected("not-its-key")
    return Arrival(event, record.topic, record.partition, record.offset)

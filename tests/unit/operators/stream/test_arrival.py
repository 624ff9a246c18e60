"""A record is decoded to its event, or rejected if it can never be decoded."""

import pytest

from operators.errors import Rejected
from operators.stream.arrival import arrival
from operators.stream.step import Arrival, Record
from schemas.codec import HEADER_BYTES, MARKER, UnknownSchema, encode
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED
from tests.support.worlds.studies import KEY, instance

GOOD = encode(instance(1))
STUDY = KEY.encode()


def record(topic: str = INSTANCE_STORED.name, key: bytes = STUDY, value: bytes = GOOD) -> Record:
    return Record(topic, 3, 7, 0, key, value)


def test_a_record_is_decoded_to_its_event() -> None:
    assert arrival(record()) == Arrival(instance(1), INSTANCE_STORED.name, 3, 7)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (record(value=b""), "not-an-event"),
        (record(value=b"poison"), "not-an-event"),
        (record(value=GOOD[:-1]), "not-an-event"),
        (record(topic=TRANSFER_ENDED.name), "not-of-its-topic"),
        (record(key=b"local/9.9.9"), "not-its-key"),
        (record(key=b"\xff"), "not-its-key"),
    ],
)
def test_a_record_that_can_never_be_decoded_is_rejected(given: Record, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        arrival(given)

    assert caught.value.reason == reason


def test_an_event_that_a_newer_release_could_decode_is_not_rejected() -> None:
    with pytest.raises(UnknownSchema, match=r"^instance-stored/3 at offset 7: no schema with fingerprint 01010101"):
        arrival(record(value=MARKER + b"\x01" * 8 + GOOD[HEADER_BYTES:]))

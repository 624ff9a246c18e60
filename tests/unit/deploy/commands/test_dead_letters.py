"""What operators see of dead letters: causes and counts, and of a record what this release makes of it; no patient data."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy.commands.dead_letters import Cause, causes, content, counted, described, inspected
from operators.stream.dead_letter import rejected
from operators.stream.letters import DeadLetter
from operators.stream.step import Record
from schemas.codec import HEADER_BYTES, MARKER, encode
from schemas.events import RecordRejected
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED
from tests.support.worlds.studies import KEY, instance

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = encode(instance(1))
NEWER = MARKER + bytes(8) + GOOD[HEADER_BYTES:]


def letter(
    value: bytes = GOOD,
    job: str = "catalog",
    minute: int = 0,
    topic: str = INSTANCE_STORED.name,
    key: bytes = KEY.encode(),
) -> DeadLetter:
    at = NOON + timedelta(minutes=minute)
    event = rejected(Record(topic, 3, 7 + minute, 0, key, value), job, "unexpected-error", at).event
    assert isinstance(event, RecordRejected)
    return DeadLetter(event, at)


def test_dead_letters_are_counted_by_cause_and_records_once() -> None:
    found = [letter(job="study"), letter(b"x"), letter(b"x", minute=5), letter(b"y", minute=2)]

    assert [counted(cause) for cause in causes(iter(found))] == [
        counted(
            Cause("catalog", "unexpected-error", "instance-stored", NOON, NOON + timedelta(minutes=5), 3, {b"x", b"y"})
        ),
        counted(Cause("study", "unexpected-error", "instance-stored", NOON, NOON, 1, {b"good"})),
    ]


@pytest.mark.parametrize(
    ("found", "reads"),
    [
        (letter(), "InstanceStored"),
        (letter(b"poison"), "nothing: not-an-event"),
        (letter(key=b"local/9"), "nothing: not-its-key"),
        (letter(topic=TRANSFER_ENDED.name), "nothing: not-of-its-topic"),
        (letter(NEWER), "nothing yet: its schema is not in schemas/avro"),
        (letter(topic="of-somebody-else"), "nothing: no topic of ours"),
    ],
)
def test_of_a_record_is_said_what_this_release_reads_in_it(found: DeadLetter, reads: str) -> None:
    assert inspected(found)["this_release_reads"] == reads
    assert content(found)["origin_value"] == found.event.origin_value
    assert ("event" in content(found)) is (reads == "InstanceStored")


def test_a_list_has_places_and_sizes_and_neither_key_nor_bytes() -> None:
    told = described(letter(b"DOE^JANE", key=b"local/DOE"))

    assert told["size_bytes"] == 8
    assert "DOE" not in str(told)
    assert "DOE" not in str(inspected(letter(b"DOE^JANE", key=b"local/DOE")))

"""Dead letters read again: which are asked for, which of them are one record, and in which order records are sent."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import Rejected
from operators.stream.dead_letter import rejected
from operators.stream.letters import DeadLetter, LetterSelection, RejectedRecord, RejectedRecords, dead_letter
from operators.stream.step import Record
from schemas.codec import HEADER_BYTES, MARKER, encode
from schemas.topics import INSTANCE_STORED, RECORD_REJECTED, TRANSFER_ENDED
from tests.support.worlds.studies import instance

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STORED = INSTANCE_STORED.name
GOOD = encode(instance(1))


def record(offset: int = 7, value: bytes = b"poison", key: bytes = b"local/1.2.3", topic: str = STORED) -> Record:
    return Record(topic, 3, offset, 0, key, value)


def letter(one: Record | None = None, operator: str = "catalog", reason: str = "not-an-event") -> DeadLetter:
    """Return a dead letter as it is read again, rejected at noon."""
    event = rejected(one or record(), operator, reason, NOON).event
    value = encode(event)
    return dead_letter(Record(RECORD_REJECTED.name, 0, 0, round(NOON.timestamp() * 1000), b"", value))


def sent(letters: Sequence[DeadLetter], again: Iterable[DeadLetter] | None = None) -> list[tuple[str, bytes, int]]:
    """Return topic, key and offset of what is sent when these letters are found, and then read again."""
    found = RejectedRecords()
    for one in letters:
        found.add(one)
    queue = found.queue()
    out = [each for one in (letters if again is None else again) for each in queue.put(one)]
    return [
        (one.event.origin_topic, one.event.origin_key or b"", one.event.origin_offset) for one in out + queue.rest()
    ]


@pytest.mark.parametrize(
    ("selection", "is_included"),
    [
        (LetterSelection(), True),
        (LetterSelection(operators=frozenset({"catalog", "study"})), True),
        (LetterSelection(operators=frozenset({"study"})), False),
        (LetterSelection(reasons=frozenset({"not-an-event"})), True),
        (LetterSelection(reasons=frozenset({"not-its-key"})), False),
        (LetterSelection(topics=frozenset({STORED})), True),
        (LetterSelection(topics=frozenset({TRANSFER_ENDED.name})), False),
        (LetterSelection(partition=3), True),
        (LetterSelection(partition=0), False),
        (LetterSelection(first=7, last=7), True),
        (LetterSelection(first=8), False),
        (LetterSelection(last=6), False),
        (LetterSelection(tenant="local"), True),
        (LetterSelection(tenant="other"), False),
        (LetterSelection(rejected_from=NOON, rejected_to=NOON + HOUR), True),
        (LetterSelection(rejected_from=NOON + HOUR), False),
        (LetterSelection(rejected_to=NOON), False),
        (LetterSelection(event_ids=frozenset({letter().event.event_id})), True),
        (LetterSelection(event_ids=frozenset({"another"})), False),
    ],
)
def test_a_selection_asks_for_dead_letters_by_what_they_say(selection: LetterSelection, *, is_included: bool) -> None:
    assert selection.includes(letter()) is is_included


@pytest.mark.parametrize("value", [b"no event", GOOD, MARKER + bytes(8) + GOOD[HEADER_BYTES:]])
def test_what_is_no_dead_letter_is_told_from_one(value: bytes) -> None:
    with pytest.raises(Rejected, match="not-a-dead-letter"):
        dead_letter(record(value=value))


def test_the_dead_letters_of_two_jobs_and_of_a_replay_are_one_record_where_it_lay_first() -> None:
    found = RejectedRecords()
    for one in (letter(), letter(operator="study", reason="not-its-key"), letter(record(offset=99)), letter()):
        found.add(one)

    assert found.in_order() == [
        RejectedRecord(
            (STORED, 3, 7),
            letter().key_id,
            len(b"poison"),
            frozenset({"catalog", "study"}),
            frozenset({"not-an-event", "not-its-key"}),
            4,
        )
    ]


@pytest.mark.parametrize(
    "other",
    [record(value=b"other"), record(key=b"local/1.2.4"), record(topic=TRANSFER_ENDED.name), record(key=b"", value=b"")],
)
def test_records_that_differ_in_topic_key_or_bytes_are_two(other: Record) -> None:
    assert len(sent([letter(), letter(other)])) == 2


def test_a_record_waits_for_one_before_it_that_another_job_rejected_later() -> None:
    early, late = record(offset=1, value=b"a"), record(offset=2, value=b"b")

    assert offsets(sent([letter(late, "study"), letter(early), letter(late)])) == [1, 2]


def test_a_record_is_sent_though_the_dead_letter_of_one_before_it_has_expired_meanwhile() -> None:
    early, late = letter(record(offset=1, value=b"a")), letter(record(offset=2, value=b"b"))

    assert offsets(sent([early, late], [late])) == [2]


def offsets(out: Iterable[tuple[str, bytes, int]]) -> list[int]:
    return [offset for _, _, offset in out]


PLACES = st.tuples(
    st.sampled_from([STORED, TRANSFER_ENDED.name]), st.sampled_from([b"a/1", b"b/2"]), st.integers(0, 20)
)


@given(st.lists(PLACES, max_size=20), st.data())
def test_each_record_is_sent_once_and_those_of_a_key_in_their_order(
    places: list[tuple[str, bytes, int]], data: st.DataObject
) -> None:
    records = [record(offset, b"%d" % offset, key, topic) for topic, key, offset in places]
    letters = [letter(one, job) for one in records for job in ("study", "catalog")]
    out = sent(data.draw(st.permutations(letters)))

    assert sorted(out) == sorted(set(places))
    for topic, key, _ in places:
        mine = offsets(one for one in out if one[:2] == (topic, key))
        assert mine == sorted(mine)

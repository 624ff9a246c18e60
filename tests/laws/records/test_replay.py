"""The law of replay: what was rejected and is sent again after a mend makes the tables that it would have made at once."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.connectors.memory.catalog import MemoryCatalog
from operators.stream.dead_letter import rejected
from operators.stream.letters import DeadLetter, RejectedRecords, dead_letter
from operators.stream.step import Record
from pipelines.batch.replay.resending import raw
from schemas.codec import encode
from schemas.events import Event
from schemas.topics import RECORD_REJECTED
from tests.support.worlds.catalog_histories import ARRIVALS, NOON, batches, held, numbered, run

JOBS = ("study", "catalog")


def letter(record: Record, job: str) -> DeadLetter:
    """Return the dead letter of a record that a job could not process, as it is read again."""
    value = encode(rejected(record, job, "unexpected-error", NOON).event)
    return dead_letter(Record(RECORD_REJECTED.name, 0, 0, 0, record.key, value))


def replayed(letters: Sequence[DeadLetter], first: int) -> list[Record]:
    """Return what a replay of these dead letters appends, from this offset on."""
    found = RejectedRecords()
    for one in letters:
        found.add(one)
    queue = found.queue()
    sent = [raw(each) for one in letters for each in queue.put(one)]
    return [Record(one.topic, 0, first + number, 0, one.key, one.value) for number, one in enumerate(sent)]


@settings(deadline=None)
@given(ARRIVALS, st.data())
def test_records_that_were_rejected_and_replayed_make_the_tables_of_records_that_were_not(
    events: list[Event], data: st.DataObject
) -> None:
    records, without, with_poison = numbered(events), MemoryCatalog(), MemoryCatalog()
    poison = data.draw(st.sets(st.sampled_from(records))) if records else set()
    letters = data.draw(st.permutations([letter(one, job) for one in records if one in poison for job in JOBS]))
    healthy = [one for one in records if one not in poison]
    run(without, [records])
    first = run(with_poison, data.draw(batches(healthy)))
    # A second replay of the same dead letters, as by somebody who is not sure of the first one.
    again = [one for _ in range(2) for one in replayed(letters, len(records))]
    run(with_poison, data.draw(batches(again)), first.head or None)

    assert held(with_poison.tables) == held(without.tables)

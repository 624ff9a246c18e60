"""The law of poison: whatever a record of a job's topic says, the job rejects it or processes it, and fails at none."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.connectors.memory.catalog import MemoryCatalog
from operators.errors import Rejected
from operators.stream.arrival import arrival
from operators.stream.step import Record
from operators.study.due import due_step, identity
from pipelines.jobs import CATALOG, STUDY
from schemas import codec
from schemas.events import Event, RecordRejected
from schemas.settings.jobs import StudySettings
from schemas.topics import Topic, record_key
from tests.support.worlds.catalog_histories import choice, command, due, ended, instance, quarantined, run
from tests.support.worlds.policies import policy, rule

GOOD: tuple[Event, ...] = (
    instance(),
    ended(),
    choice(instance()),
    command("expect", expected_instances=2),
    due(),
    quarantined(),
    policy(rule("r")),
)
TEXTS = st.text(max_size=80) | st.sampled_from(
    ["", "\0", "local", "1.2.1", "..", "9" * 70, "\ud7ff", "P1^x", "20260230"]
)
NUMBERS = {"int": st.integers(-(2**31), 2**31 - 1), "long": st.integers(-(2**63), 2**63 - 1)}
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "string": TEXTS,
    "bytes": st.binary(max_size=40),
    "double": st.floats(),
    "float": st.floats(width=32),
    **NUMBERS,
}
TIMES = st.datetimes(timezones=st.just(UTC)) | st.just(datetime.min.replace(tzinfo=UTC))


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of an Avro type."""
    if isinstance(kind, list):
        return st.one_of(*map(values, kind))
    if isinstance(kind, str):
        return PLAIN[kind]
    if kind.get("logicalType") == "timestamp-micros":
        return TIMES
    return COMPOSED[kind["type"]](kind) if kind["type"] in COMPOSED else PLAIN[kind["type"]]


COMPOSED: dict[str, Callable[[Any], st.SearchStrategy[Any]]] = {
    "array": lambda kind: st.lists(values(kind["items"]), max_size=3),
    "map": lambda kind: st.dictionaries(TEXTS, values(kind["values"]), max_size=3),
    "enum": lambda kind: st.sampled_from(kind["symbols"]),
    "record": lambda kind: st.fixed_dictionaries({field["name"]: values(field["type"]) for field in kind["fields"]}),
}


@st.composite
def odd_records(draw: st.DrawFn, topics: tuple[Topic, ...]) -> Record:
    """Return the record of an event of which some fields have any values, under its own key."""
    event = draw(st.sampled_from([one for one in GOOD if any(isinstance(one, topic.event) for topic in topics)]))
    schema = codec.newest(type(event).__name__).schema
    written = codec.encode(event)
    content = schemaless_reader(io.BytesIO(written[codec.HEADER_BYTES :]), schema, None)
    assert isinstance(content, dict)
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    for name in draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        kind = fields[name]
        if isinstance(kind, dict) and kind["type"] == "record" and draw(st.booleans()):
            field = draw(st.sampled_from(kind["fields"]))
            content[name] = content[name] | {field["name"]: draw(values(field["type"]))}
        else:
            content[name] = draw(values(kind))
    body = io.BytesIO()
    schemaless_writer(body, schema, content)
    value = written[: codec.HEADER_BYTES] + body.getvalue()
    topic = next(topic for topic in topics if isinstance(event, topic.event))
    try:
        key = record_key(codec.decode(value))
    except (codec.NotAnEvent, UnicodeError):
        key = b""
    return Record(topic.name, 0, draw(st.integers(0, 9)), 0, key, value)


@settings(deadline=None, max_examples=300)
@given(st.lists(odd_records(CATALOG.reads), min_size=1, max_size=4))
def test_the_catalog_job_rejects_or_writes_whatever_an_event_says(records: list[Record]) -> None:
    healthy = Record("instance-stored", 1, 0, 0, b"local/1.2.1", codec.encode(instance(sop="7")))
    catalog = MemoryCatalog()
    flushed = run(catalog, [[*records, healthy]])

    letters = [output.event for output in flushed.outputs if isinstance(output.event, RecordRejected)]
    assert len(letters) <= len(records)
    assert any(row.sop_uid.endswith(".9.7") for row in catalog.tables.instances.values())


@settings(deadline=None, max_examples=300)
@given(st.lists(odd_records(STUDY.reads), min_size=1, max_size=4))
def test_the_study_job_rejects_or_counts_whatever_an_event_says(records: list[Record]) -> None:
    step, heads, remembered = due_step(StudySettings()), dict[bytes, bytes | None](), dict[tuple[bytes, str], bytes]()
    for second, record in enumerate(records):
        try:
            arrived = arrival(record)
            place = (record.key, identity(arrived.event))
            made = step(heads.get(record.key), remembered.get(place), arrived, second, 0.0)
        except Rejected:
            continue
        heads[record.key] = made.head
        if made.remember is not None:
            remembered[place] = made.remember
        for output in made.outputs:
            codec.encode(output.event)
    for head in heads.values():
        step(head, None, None, 10**6, 0.0)

"""Histories of a shard for the catalog's tests: events as records, random or by hand, and tables to compare."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from operators.catalog.flush import flush
from operators.catalog.history.entries import History, history_of
from operators.catalog.ports import Catalog, HistoryRows
from operators.connectors.memory.catalog import MemoryTables
from operators.connectors.memory.queries import MemoryQueries
from operators.dicom.frames import move_frames
from operators.store import quarantine
from operators.store.ports import StoredObject
from operators.stream.step import Flushed, Output, Record, Stop
from schemas.codec import decode, encode
from schemas.events import (
    Action,
    Event,
    Facts,
    Frames,
    InstanceQuarantined,
    InstanceStored,
    QuarantineState,
    StudyCommand,
    StudyDue,
    TransferEnded,
    event_id,
)
from schemas.objects import Envelope, Identity
from schemas.topics import TOPICS, record_key

SHARD = 3
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"


def instance(  # noqa: PLR0913  a table of cases changes one field at a time
    *,
    study: str = "1.2.1",
    series: str = "1",
    sop: str = "1",
    content: str = "a",
    second: int = 0,
    transfer: str = "t1",
    facts: Facts | None = None,
    **others: Any,
) -> InstanceStored:
    """Return an instance-stored; series and SOP UIDs are made from the study's UID and these last parts."""
    identity = Identity("local", study, f"{study}.{series}", f"{study}.9.{sop}", sha256(content.encode()).hexdigest())
    stored_at = NOON + timedelta(seconds=second)
    event = InstanceStored(
        event_id=event_id("local", study, identity.sop_uid, identity.data_hash),
        occurred_at=stored_at,
        **asdict(identity),
        sop_class=CT,
        transfer_syntax=EXPLICIT,
        object_key=identity.key,
        size_bytes=1000 + len(content),
        prefix_hash="0" * 64,
        prefix_length=300,
        header_length=900,
        facts=facts or Facts(patient_id="P1", modality="CT", study_date="20260301", series_number=series),
        frames=Frames(kind="native", offset=900, length=100, count=1),
        transfer_id=transfer,
        received_at=stored_at,
        stored_at=stored_at,
    )
    return replace(event, **others)


def ended(study: str | None = "1.2.1", transfer: str = "t1", second: int = 0, instances: int = 1) -> TransferEnded:
    """Return a transfer-ended."""
    return TransferEnded(
        event_id=event_id("local", study or "", transfer, str(second)),
        tenant="local",
        occurred_at=NOON + timedelta(seconds=second),
        transfer_id=transfer,
        study_uid=study,
        outcome="well",
        instances=instances,
        began_at=NOON,
    )


def due(
    study: str = "1.2.1",
    place: tuple[int, int] | None = None,
    number: int = 1,
    commands: tuple[int, int] | None = None,
) -> StudyDue:
    """Return a study-due that counts the records up to a (partition, offset) of instance-stored, and of study-command."""
    return StudyDue(
        event_id=event_id("local", study, "due", str(number)),
        tenant="local",
        occurred_at=NOON,
        study_uid=study,
        signal="quiet",
        window_opened_at=NOON,
        window_instances=1,
        window_transfers=1,
        instance_partition=place[0] if place else None,
        instance_offset=place[1] if place else None,
        command_partition=commands[0] if commands else None,
        command_offset=commands[1] if commands else None,
    )


def command(action: Action, study: str = "1.2.1", second: int = 0, **others: Any) -> StudyCommand:
    """Return a study-command of an action without arguments; its id is one of its values."""
    return StudyCommand(
        event_id=event_id("local", study, action, str(second), repr(sorted(others.items()))),
        tenant="local",
        occurred_at=NOON + timedelta(seconds=second),
        study_uid=study,
        action=action,
        who="an operator",
        why="a test",
        **others,
    )


def choice(of: InstanceStored, second: int = 0) -> StudyCommand:
    """Return a study-command that chooses a content."""
    content = {"sop_uid": of.sop_uid, "data_hash": of.data_hash, "instance": encode(of)}
    return replace(command("choose", of.study_uid, second, **content), tenant=of.tenant)


def stored_by(events: Iterable[Event]) -> list[InstanceStored]:
    """Return every instance that arrives with these events: by itself, or in the command that chooses it."""
    packed = (decode(event.instance) for event in events if isinstance(event, StudyCommand) and event.instance)
    return [event for event in (*events, *packed) if isinstance(event, InstanceStored)]


def last_of(events: Iterable[Event], *actions: Action) -> dict[str, StudyCommand]:
    """Return the command that counts, by study or chosen instance, among those of these actions."""
    found = [event for event in events if isinstance(event, StudyCommand) and event.action in actions]
    return {one.sop_uid or one.study_uid: one for one in sorted(found, key=lambda one: (one.occurred_at, one.event_id))}


def quarantined(content: str = "q", second: int = 0, state: QuarantineState = "held") -> InstanceQuarantined:
    """Return an instance-quarantined: of an object that is held, or of a decision about it a minute later."""
    at = NOON + timedelta(seconds=second)
    envelope = Envelope(
        stored_at=at,
        received_at=at,
        origin="received",
        transfer_id="t1",
        calling_ae="CT1",
        called_ae="FLUORO",
        transfer_syntax=EXPLICIT,
        prefix_length=300,
        prefix_hash="0" * 64,
        header_length=0,
        reason="no-usable-uid",
    )
    key = quarantine.key("local", sha256(content.encode()).hexdigest())
    event = quarantine.held(StoredObject(key, 1000 + len(content), envelope), timedelta(days=30))
    return event if state == "held" else quarantine.decided(event, state, at + timedelta(minutes=1))


def in_tenant(event: Event, tenant: str) -> Event:
    """Return the same event of another tenant."""
    if isinstance(event, StudyCommand) and event.instance:
        chosen = decode(event.instance)
        event = replace(event, instance=encode(in_tenant(chosen, tenant)))
    if not isinstance(event, InstanceStored | InstanceQuarantined):
        return replace(event, tenant=tenant)
    return replace(event, tenant=tenant, object_key=event.object_key.replace(event.tenant, tenant, 1))


def record(event: Event, offset: int = 0, partition: int = 0) -> Record:
    """Return an event as a record of its topic."""
    topic = next(topic for topic in TOPICS if isinstance(event, topic.event))
    return Record(topic.name, partition, offset, 0, record_key(event), encode(event))


def numbered(events: Iterable[Event], tenant: str = "local") -> tuple[Record, ...]:
    """Return these events as records of one partition, in this order."""
    return tuple(record(in_tenant(event, tenant), offset) for offset, event in enumerate(events))


def run(
    catalog: Catalog, batches: Iterable[Sequence[Record]], head: bytes | None = None, shard: int = SHARD
) -> Flushed:
    """Flush batch after batch, a second apart; return the last head, all outputs, and the last stop."""
    outputs: tuple[Output, ...] = ()
    stop: Stop | None = None
    for second, batch in enumerate(batches):
        flushed = flush(catalog, shard, head, tuple(batch), NOON.timestamp() + second)
        head, outputs, stop = flushed.head, outputs + flushed.outputs, flushed.stop
    return Flushed(head or b"", outputs, stop)


def held(tables: MemoryTables) -> dict[str, dict[Any, Any]]:
    """Return the rows of the tables without versions and revisions, which depend on when batches and dues came."""
    return {name: {key: unversioned(row) for key, row in rows.items()} for name, rows in named(tables).items()}


def named(tables: MemoryTables) -> dict[str, Mapping[Any, Any]]:
    """Return the rows of the tables by table and key, but those of revisions."""
    return {
        "study": tables.studies,
        "series": tables.series,
        "instance": tables.instances,
        "conflict": tables.conflicts,
        "transfer": tables.transfers,
        "quarantine": tables.quarantine,
        "command": tables.commands,
        "decision": tables.decisions,
        "policy": tables.policies,
    }


def unversioned(row: Any) -> dict[str, Any]:
    """Return a row's values without its version."""
    return {name: value for name, value in asdict(row).items() if name != "version"}


SERIES = ("1", "2")
PEOPLE = ("P1", "P2", None)
# By how many bytes the prefixes of an object differ from that of instance(), by their hashes.
PREFIXES = {"0" * 64: 0, "1" * 64: 40, "2" * 64: -6}


def behind(event: InstanceStored, prefix_hash: str) -> InstanceStored:
    """Return the event of the same data set behind another prefix of PREFIXES."""
    longer = PREFIXES[prefix_hash] - PREFIXES[event.prefix_hash]
    return replace(
        event,
        prefix_hash=prefix_hash,
        prefix_length=event.prefix_length + longer,
        header_length=event.header_length + longer,
        size_bytes=event.size_bytes + longer,
        frames=move_frames(event.frames, longer),
    )


@st.composite
def contents(draw: st.DrawFn) -> InstanceStored:
    """Draw one content of one of a few instances; save its prefix and dates, the same content always has the same values."""
    study, sop = draw(st.sampled_from(("1.2.1", "1.2.2"))), draw(st.sampled_from("12"))
    content = draw(st.sampled_from("abc"))
    # The values are a function of the content's identity, as a data hash is one of its data set.
    seed = sha256(f"{study}/{sop}/{content}".encode()).digest()
    facts = Facts(
        patient_id=PEOPLE[seed[0] % 3],
        patient_name=f"Doe^{seed[1] % 2}",
        study_date=("20260301", "2026030", None)[seed[2] % 3],
        modality=("CT", "MR", None)[seed[3] % 3],
        body_part_examined=("HEAD", "KNEE")[seed[4] % 2],
        series_number=("1", "x", "99999999999")[seed[5] % 3],
    )
    event = instance(
        study=study,
        series=SERIES[seed[6] % 2],
        sop=sop,
        content=f"{content}{study}{sop}",
        second=draw(st.integers(0, 2)),
        transfer=draw(st.sampled_from(("t1", "t2"))),
        facts=facts,
        sop_class=(CT, MR)[seed[7] % 2],
        transfer_syntax=(EXPLICIT, JPEG)[seed[8] % 2],
        size_bytes=1000 + seed[9],
    )
    taken_at = event.stored_at + timedelta(seconds=draw(st.sampled_from((0, 0, 2))))
    return behind(replace(event, occurred_at=taken_at), draw(st.sampled_from(sorted(PREFIXES))))


ENDS = st.builds(
    ended,
    study=st.sampled_from(("1.2.1", "1.2.2", None)),
    transfer=st.sampled_from(("t1", "t2")),
    second=st.integers(0, 3),
)
KEPT = st.builds(
    quarantined,
    content=st.sampled_from("pq"),
    second=st.integers(0, 120),
    state=st.sampled_from(("held", "released", "discarded")),
)
DUES = st.builds(due, study=st.sampled_from(("1.2.1", "1.2.2", "1.2.3")), number=st.integers(0, 9))
COMMANDS = st.builds(
    command,
    action=st.sampled_from(("delete", "restore", "hold", "unhold", "settle")),
    study=st.sampled_from(("1.2.1", "1.2.2", "1.2.3")),
    second=st.integers(0, 3),
) | st.builds(choice, of=contents(), second=st.integers(0, 3))
ARRIVALS: st.SearchStrategy[list[Event]] = st.lists(contents() | ENDS | KEPT | COMMANDS, max_size=14)
HISTORIES: st.SearchStrategy[list[Event]] = st.lists(contents() | ENDS | KEPT | COMMANDS | DUES, max_size=16)


@st.composite
def batches(draw: st.DrawFn, records: Sequence[Record]) -> list[Sequence[Record]]:
    """Cut records into batches, some of which are repeated."""
    cuts = sorted(draw(st.lists(st.integers(0, len(records)), max_size=4)))
    parts = [records[start:end] for start, end in zip((0, *cuts), (*cuts, len(records)), strict=True)]
    again = draw(st.lists(st.sampled_from(range(len(parts))), max_size=2))
    return [*parts, *(parts[index] for index in again)]


# The life of one study, and its history as a reader of the catalog tells it.
STUDY = "1.2.1"
MOST = 1000
FIRST, SECOND = instance(content="a"), instance(content="b", second=20, transfer="t2")
SENDER: dict[str, Any] = {"peer": "ct1", "calling_ae": "CT1", "called_ae": "FLUORO", "address": "10.1.0.7"}
CHOSEN, DELETED = choice(SECOND, second=40), command("delete", second=50)
# Two transfers under one instance's UIDs, their windows, and what people have asked for; what each says of itself is its moment.
LIFE: tuple[Event, ...] = (
    FIRST,
    replace(ended(transfer="t1", second=1), **SENDER, size_bytes=1001, refused={"too-large": 1, "no-usable-uid": 12}),
    *(quarantined(f"q{number}", second=1) for number in range(12)),
    replace(due(number=1), occurred_at=NOON + timedelta(seconds=6), signal="released"),
    command("expect", second=10, expected_instances=2),
    SECOND,
    ended(transfer="t2", second=21),
    replace(due(number=2), occurred_at=NOON + timedelta(seconds=30)),
    CHOSEN,
    DELETED,
    command("restore", second=60),
    command("hold", second=70),
    command("reprocess", second=80),
)


def rows_of(tables: MemoryTables, study_uid: str = STUDY, limit: int = MOST, offset: int = 0) -> HistoryRows:
    """Return the rows of a page of a study's history, from the catalog in memory."""
    return asyncio.run(MemoryQueries(rows=tables).history("local", study_uid, limit, offset))


def told(tables: MemoryTables, study_uid: str = STUDY) -> History:
    """Return the whole history of a study, from the catalog in memory."""
    return history_of(rows_of(tables, study_uid))

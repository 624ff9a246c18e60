"""Laws of the catalog: order, batches and repetition change nothing, counts are right, revisions count up."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.catalog.conflicts import conflict_output
from operators.catalog.contents import placement
from operators.catalog.digest import digest
from operators.catalog.flush import flush
from operators.catalog.progress import ShardMemory, read_memory, shard_of
from operators.catalog.revisions import revision_event
from operators.catalog.rows import InstanceRow, TopicPartition
from operators.connectors.memory import catalog as memory_catalog
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress, MemoryTables
from operators.connectors.memory.stores import Outage
from operators.dicom.frames import unpack
from operators.dicom.names import fold
from operators.errors import Unavailable
from operators.stream.origin import Origin
from operators.stream.step import Record
from pipelines.jobs import CATALOG
from pipelines.launch import resharding
from pipelines.launch.resharding import NothingToReshard
from pipelines.launch.rows import Servers, origin_at_rows
from schemas.events import (
    Event,
    InstanceConflict,
    InstanceQuarantined,
    InstanceStored,
    StudyCommand,
    StudyDue,
    StudySettled,
)
from schemas.settings.jobs import JobSettings
from tests.support.worlds.catalog_histories import (
    ARRIVALS,
    COMMANDS,
    HISTORIES,
    batches,
    contents,
    due,
    held,
    instance,
    last_of,
    named,
    numbered,
    record,
    run,
    stored_by,
)
from tests.unit.pipelines.launch.test_losses import Broker

STUDIES = ("1.2.1", "1.2.2")


def shown_rows(tables: MemoryTables, study: str) -> list[InstanceRow]:
    """Return the rows of a study's instances, none of them if the study is deleted."""
    is_deleted = tables.decisions.get(("local", study, "", "deletion", ""))
    if is_deleted and is_deleted.in_force:
        return []
    return [row for row in tables.instances.values() if row.study_uid == study]


def shown_digest(tables: MemoryTables, study: str) -> str:
    return digest((row.sop_uid, row.data_hash) for row in shown_rows(tables, study))


@pytest.mark.fault("F23", "events in any order, in any batches, and repeated, into tables in memory")
@settings(deadline=None)
@given(ARRIVALS, st.data())
def test_the_same_events_in_any_order_batches_and_repetition_give_the_same_tables(
    events: list[Event], data: st.DataObject
) -> None:
    in_order, in_disorder = MemoryCatalog(), MemoryCatalog()
    run(in_order, [numbered(events)])
    shuffled = data.draw(st.permutations(numbered(events)))
    run(in_disorder, data.draw(batches(shuffled)))

    assert held(in_disorder.tables) == held(in_order.tables)


@settings(deadline=None)
@given(ARRIVALS, st.data())
def test_a_whole_replay_changes_no_row_and_no_version(events: list[Event], data: st.DataObject) -> None:
    catalog = MemoryCatalog()
    records = numbered(events)
    run(catalog, data.draw(batches(records)))
    before = (dict(catalog.tables.studies), dict(catalog.tables.series), dict(catalog.tables.instances))
    run(catalog, data.draw(batches(records)))

    assert (catalog.tables.studies, catalog.tables.series, catalog.tables.instances) == before


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_counts_equal_recounts(events: list[Event], data: st.DataObject) -> None:
    catalog = MemoryCatalog()
    run(catalog, data.draw(batches(numbered(events))))
    tables = catalog.tables

    by_series = Counter(row.series_uid for study in STUDIES for row in shown_rows(tables, study))
    for series in tables.series.values():
        rows = [row for row in shown_rows(tables, series.study_uid) if row.series_uid == series.series_uid]
        assert series.instances == by_series[series.series_uid]
        assert series.size_bytes == sum(row.size_bytes for row in rows)
    for study in tables.studies.values():
        rows = shown_rows(tables, study.study_uid)
        shown = [row for row in tables.series.values() if row.study_uid == study.study_uid and row.instances]
        assert (study.instances, study.series) == (len(rows), len({row.series_uid for row in rows}))
        assert study.size_bytes == sum(row.size_bytes for row in rows)
        assert study.sop_classes == tuple(sorted({row.sop_class for row in rows}))
        assert study.modalities == tuple(sorted({row.modality for row in shown if row.modality}))


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_the_chosen_content_is_shown_or_else_the_first_and_the_others_are_conflicts(
    events: list[Event], data: st.DataObject
) -> None:
    catalog = MemoryCatalog()
    run(catalog, data.draw(batches(numbered(events))))

    arrived = defaultdict(set)
    for event in stored_by(events):
        arrived[event.sop_uid].add((event.stored_at, event.data_hash))
    chosen = {sop_uid: one.data_hash for sop_uid, one in last_of(events, "choose").items()}
    shown = {row.sop_uid: (row.stored_at, row.data_hash) for row in catalog.tables.instances.values()}
    lost = {(row.sop_uid, row.data_hash) for row in catalog.tables.conflicts.values()}
    assert shown == {
        sop_uid: min(one for one in contents if one[1] == chosen.get(sop_uid, one[1]))
        for sop_uid, contents in arrived.items()
    }
    everything = {(sop_uid, data_hash) for sop_uid, contents in arrived.items() for _, data_hash in contents}
    assert lost == everything - {(sop_uid, data_hash) for sop_uid, (_, data_hash) in shown.items()}


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_the_attributes_of_a_study_are_those_of_its_first_instance_as_it_was_chosen(
    events: list[Event], data: st.DataObject
) -> None:
    catalog = MemoryCatalog()
    shuffled = data.draw(st.permutations(numbered(events)))
    run(catalog, data.draw(batches(shuffled)))

    stored, chosen = stored_by(events), last_of(events, "choose")
    for study in catalog.tables.studies.values():
        of_study = [event for event in stored if event.study_uid == study.study_uid]
        first = min(of_study, key=lambda event: (event.stored_at, event.sop_uid, event.data_hash))
        data_hash = chosen[first.sop_uid].data_hash if first.sop_uid in chosen else first.data_hash
        shown = next(event for event in of_study if (event.sop_uid, event.data_hash) == (first.sop_uid, data_hash))
        assert (study.first_sop_uid, study.first_data_hash) == (first.sop_uid, first.data_hash)
        assert (study.patient_name, study.patient_id) == (shown.facts.patient_name, shown.facts.patient_id)


@pytest.mark.fault("F23", "instances of a study come before and after it is deleted and restored, in any order")
@settings(deadline=None)
@given(HISTORIES, st.data())
def test_a_study_is_deleted_if_the_last_command_says_so(events: list[Event], data: st.DataObject) -> None:
    catalog = MemoryCatalog()
    shuffled = data.draw(st.permutations(numbered(events)))
    run(catalog, data.draw(batches(shuffled)))

    last = last_of(events, "delete", "restore")
    decisions = {key[1]: row.in_force for key, row in catalog.tables.decisions.items() if row.subject == "deletion"}
    assert decisions == {study: one.action == "delete" for study, one in last.items()}
    assert {study for _, study in catalog.tables.hidden} == {
        study for study, is_in_force in decisions.items() if is_in_force
    }
    shown = {row.study_uid for row in catalog.tables.studies.values() if row.instances}
    assert shown == {row.study_uid for row in catalog.tables.instances.values()} - {
        study for study, is_deleted in decisions.items() if is_deleted
    }


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_each_row_tells_of_the_object_of_its_content_that_the_store_took_last(
    events: list[Event], data: st.DataObject
) -> None:
    catalog = MemoryCatalog()
    run(catalog, data.draw(batches(numbered(events))))

    last: dict[tuple[str, str], InstanceStored] = {}
    for event in sorted(
        stored_by(events),
        key=lambda event: (event.occurred_at, event.prefix_hash),
    ):
        last[event.sop_uid, event.data_hash] = event
    for lost in catalog.tables.conflicts.values():
        event = last[lost.sop_uid, lost.data_hash]
        assert placement(lost) == (event.occurred_at, event.prefix_hash, event.size_bytes)
    for shown in catalog.tables.instances.values():
        event = last[shown.sop_uid, shown.data_hash]
        assert placement(memory_catalog.content_of(shown)) == (event.occurred_at, event.prefix_hash, event.size_bytes)
        places = (shown.prefix_length, shown.header_length, unpack(shown.frames))
        assert places == (event.prefix_length, event.header_length, event.frames)


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_every_conflict_row_was_announced_with_its_values(events: list[Event], data: st.DataObject) -> None:
    catalog = MemoryCatalog()
    shuffled = data.draw(st.permutations(numbered(events)))
    outputs = run(catalog, data.draw(batches(shuffled))).outputs
    shown = {(row.study_uid, row.sop_uid): row for row in catalog.tables.instances.values()}
    announced = {output.event for output in outputs if isinstance(output.event, InstanceConflict)}

    for row in catalog.tables.conflicts.values():
        winner = memory_catalog.content_of(shown[row.study_uid, row.sop_uid])
        assert conflict_output(winner, row).event in announced


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_the_last_event_of_a_quarantined_content_gives_its_row(events: list[Event], data: st.DataObject) -> None:
    catalog = MemoryCatalog()
    shuffled = data.draw(st.permutations(numbered(events)))
    run(catalog, data.draw(batches(shuffled)))

    arrived = defaultdict(set)
    for event in events:
        if isinstance(event, InstanceQuarantined):
            arrived[event.data_hash].add((event.stored_at, event.occurred_at, event.event_id, event.state))
    rows = catalog.tables.quarantine.values()
    kept = {row.data_hash: (row.stored_at, row.occurred_at, str(row.event_id), row.state) for row in rows}
    assert kept == {data_hash: max(states) for data_hash, states in arrived.items()}


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_revisions_count_up_and_the_last_one_has_the_digest_of_the_tables(
    events: list[Event], data: st.DataObject
) -> None:
    catalog = MemoryCatalog()
    final = [due(study, number=100) for study in STUDIES]
    outputs = run(catalog, data.draw(batches(numbered([*events, *final])))).outputs
    head = run(catalog, [numbered([due(study, number=101) for study in STUDIES])]).head

    for study in STUDIES:
        rows = [row for key, row in sorted(catalog.tables.revision_rows.items()) if key[1] == study]
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        assert all(old.digest != new.digest and old.version < new.version for old, new in pairwise(rows))
        assert (rows[-1].digest if rows else digest(())) == shown_digest(catalog.tables, study)
    settled = {output.event for output in outputs if isinstance(output.event, StudySettled)}
    assert len({(event.study_uid, event.revision) for event in settled}) == len(settled)
    kept = {str(row.event_id): row.revision for row in catalog.tables.dues.values()}
    assert kept.keys() >= {event.event_id for event in (*events, *final) if isinstance(event, StudyDue)}
    assert all(kept[str(row.due_event_id)] is not None for row in catalog.tables.revision_rows.values())
    versions = [row.version for row in catalog.tables.revision_rows.values()]
    assert read_memory(head, {}).announced == max(versions, default=0)


@settings(deadline=None)
@given(HISTORIES, st.data())
def test_a_lost_answer_of_the_database_neither_loses_nor_doubles_a_row(
    events: list[Event], data: st.DataObject
) -> None:
    whole, torn = MemoryCatalog(), MemoryCatalog()
    parts = data.draw(batches(numbered(events)))
    expected = run(whole, parts)
    head: bytes | None = None
    announced: set[StudySettled] = set()
    for batch in parts:
        torn.outage = data.draw(st.sampled_from((Outage.LOSES_ANSWER, Outage.REFUSES, Outage.NONE)))
        try:
            run(torn, [batch], head)
        except Unavailable:
            torn.outage = Outage.NONE
        flushed = run(torn, [batch], head)
        head = flushed.head
        announced |= {output.event for output in flushed.outputs if isinstance(output.event, StudySettled)}

    assert held(torn.tables) == held(whole.tables)
    digests = [output.event.digest for output in expected.outputs if isinstance(output.event, StudySettled)]
    assert {event.digest for event in announced} == set(digests)
    assert len({(event.study_uid, event.revision) for event in announced}) == len(announced)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.builds(
            TopicPartition, st.sampled_from(("instance-stored", "study-due")), st.sampled_from("AB"), st.integers(0, 15)
        ),
        st.integers(0, 2**62),
    ),
    st.integers(0, 2**62) | st.none(),
    st.integers(0, 2**62),
)
def test_a_memory_is_read_as_it_was_written(
    applied: dict[TopicPartition, int], announced: int | None, sent: int
) -> None:
    memory = ShardMemory(applied, announced, sent)

    assert read_memory(memory.to_bytes(), {}) == memory


# The offset of the earliest record of each topic: those before it expired before there was a catalog.
EXPIRED = 10


class Job:
    """A catalog job over a log of records of one partition each topic, with checkpoints, kills and a database."""

    def __init__(self, records: Sequence[Record], shards: int) -> None:
        self.catalog = MemoryCatalog(shards=shards)
        # A change of shards reads as little again as it may.
        self.settings = JobSettings(checkpoint_dir=Path("/nonexistent"), shards=shards, batch_records=1)
        self.log: dict[str, list[Record]] = {}
        for one in records:
            topic = self.log.setdefault(one.topic, [])
            topic.append(replace(one, offset=EXPIRED + len(topic)))
        self.origin = Origin()
        self.sent: list[Event] = []
        self.backup = self.catalog.tables.backup()
        self.begin(dict.fromkeys(self.log, EXPIRED))

    def begin(self, offsets: dict[str, int]) -> None:
        """Begin without state at these offsets."""
        self.offsets = offsets
        self.heads: dict[int, bytes] = {}
        self.buffers: dict[int, list[Record]] = {shard: [] for shard in range(self.catalog.shards)}
        self.save()

    def read(self, topic: str, count: int) -> None:
        """Read the next records of a topic into the buffers of their shards."""
        first = self.offsets[topic] - EXPIRED
        batch = self.log[topic][first : first + count]
        self.offsets[topic] += len(batch)
        for one in batch:
            self.buffers[shard_of(one.key, self.catalog.shards)].append(one)

    def flush(self, shard: int) -> None:
        """Flush a shard's buffer; a job whose database went back begins again at the rows' offsets."""
        batch = tuple(self.buffers[shard])
        flushed = flush(self.catalog, shard, self.heads.get(shard), batch, 0, origin=self.origin)
        if flushed.stop:
            self.begin_at_rows()
            return
        self.buffers[shard], self.heads[shard] = [], flushed.head
        self.sent += [output.event for output in flushed.outputs]

    def step(self, count: int = 1) -> None:
        """Read the next records of each topic, and flush every shard."""
        for topic in self.log:
            self.read(topic, count)
        for shard in self.buffers:
            self.flush(shard)

    def begin_at_rows(self) -> None:
        """Begin without state, as the launcher does."""
        progress = MemoryProgress(tables=self.catalog.tables)
        committed = {(topic, 0): offset for topic, offset in self.checkpoint[0].items()}
        broker = Broker(earliest=EXPIRED, offsets={CATALOG.name: committed})
        self.origin = origin_at_rows(CATALOG, self.settings, Servers(broker, progress))
        progress.note_begun(self.catalog.shards)
        self.begin({topic: max(self.origin.offsets[topic, 0], EXPIRED) for topic in self.log})

    def reshard(self, shards: int) -> None:
        """Kill the job, give its progress to another number of shards, and start it with these."""
        self.kill()
        committed = {(topic, 0): offset for topic, offset in self.checkpoint[0].items()}
        broker = Broker(dict.fromkeys(self.log, ""), earliest=EXPIRED, offsets={CATALOG.name: committed})
        servers = Servers(broker, MemoryProgress(tables=self.catalog.tables))
        is_other = shards != self.catalog.shards
        with suppress(NothingToReshard):
            resharding.reshard(shards, self.settings, servers)
        self.catalog.shards, self.settings = shards, self.settings.with_shards(shards)
        if servers.progress.went_back(shards):
            self.begin_at_rows()
        elif is_other:
            # There was no progress to move.
            self.lose_checkpoints()

    def save(self) -> None:
        """Complete a checkpoint: everything sent before it has arrived."""
        self.checkpoint = deepcopy((self.offsets, self.heads, self.buffers))
        self.arrived = len(self.sent)

    def kill(self) -> None:
        """Kill the job: what it sent after the checkpoint is lost, and it continues from there."""
        self.offsets, self.heads, self.buffers = deepcopy(self.checkpoint)
        del self.sent[self.arrived :]

    def lose_checkpoints(self) -> None:
        """Kill the job and start it without a checkpoint, as the launcher does: without state, at the earliest records."""
        self.kill()
        self.origin = Origin()
        self.begin(dict.fromkeys(self.log, EXPIRED))

    def restore(self) -> None:
        """Replace the database by its backup; nobody is connected then, so the job has failed and starts again."""
        self.catalog.tables.restore(self.backup)
        self.kill()

    def finish(self) -> None:
        """Read every topic to its end, then as much again: a database that went back shows itself at a flush."""
        for _ in range(2 * self.catalog.shards):
            for topic in self.log:
                self.read(topic, len(self.log[topic]))
            for shard in self.buffers:
                self.flush(shard)


Move = tuple[str, int, int]
ANY_MOVES = st.lists(
    st.tuples(
        st.sampled_from(("read", "read", "flush", "flush", "save", "kill")), st.integers(0, 2), st.integers(1, 6)
    ),
    max_size=8,
)
# Steps make one revision after another, and starts without any checkpoint come between them.
KILLS: st.SearchStrategy[list[Move]] = st.lists(
    st.tuples(
        st.sampled_from(("step", "step", "step", "read", "flush", "save", "kill", "lose")),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    max_size=12,
)
# Each content and each command makes its study due, so that most of them make a revision.
GROWING: st.SearchStrategy[list[Event]] = st.lists(contents() | contents() | COMMANDS, max_size=8).map(
    lambda stored: [event for number, one in enumerate(stored) for event in (one, due(one.study_uid, number=number))]
)
# A backup is taken between two moves, and the database becomes the backup between two later ones, perhaps twice.
MOVES: st.SearchStrategy[list[Move]] = st.tuples(ANY_MOVES, ANY_MOVES, ANY_MOVES, ANY_MOVES).map(
    lambda parts: [*parts[0], ("back up", 0, 0), *parts[1], *parts[2], ("restore", 0, 0), *parts[3]]
)


def live(job: Job, moves: Sequence[Move]) -> None:
    """Let a job live through these moves, and then finish."""
    move(job, moves)
    job.finish()


def move(job: Job, moves: Sequence[Move]) -> None:
    """Let a job live through these moves."""
    for kind, which, count in moves:
        if kind == "read" and job.log:
            job.read(sorted(job.log)[which % len(job.log)], count)
        elif kind == "flush":
            job.flush(which % job.catalog.shards)
        elif kind == "save":
            job.save()
        elif kind == "kill":
            job.kill()
        elif kind == "back up":
            job.backup = job.catalog.tables.backup()
        elif kind == "restore":
            job.restore()
        elif kind == "lose":
            job.lose_checkpoints()
        elif kind == "step":
            job.step(count)


def unannounced(job: Job) -> set[tuple[str, int]]:
    """Return the study and number of each revision in the rows whose event has never arrived."""
    arrived = {event.event_id for event in job.sent}
    rows = job.catalog.tables.revision_rows.items()
    return {key[1:] for key, row in rows if revision_event(row).event_id not in arrived}


def with_final_dues(events: list[Event]) -> list[Event]:
    """Return these events, and in the end a due of each study that counts all of its instances and commands."""
    stored = [event.study_uid for event in events if isinstance(event, InstanceStored)]
    commanded = [event.study_uid for event in events if isinstance(event, StudyCommand)]
    last, last_command = (
        {study_uid: (0, EXPIRED + offset) for offset, study_uid in enumerate(studies)}
        for studies in (stored, commanded)
    )
    dues = (
        due(study_uid, last.get(study_uid), number=100, commands=last_command.get(study_uid))
        for study_uid in {**last, **last_command}
    )
    return [*events, *dues]


@settings(deadline=None, max_examples=300)
@given(GROWING, KILLS, st.integers(1, 3))
def test_a_job_that_is_killed_and_loses_its_checkpoints_announces_every_revision(
    events: list[Event], moves: list[Move], shards: int
) -> None:
    job, whole = Job([record(event) for event in with_final_dues(events)], shards), MemoryCatalog()
    run(whole, [numbered(with_final_dues(events))])
    live(job, moves)

    assert held(job.catalog.tables) == held(whole.tables)
    assert unannounced(job) == set()
    for study in STUDIES:
        of_study = [event for event in job.sent if isinstance(event, StudySettled) and event.study_uid == study]
        # The last record of a study is the study as it is now.
        assert (of_study[-1].digest if of_study else digest(())) == shown_digest(job.catalog.tables, study)


@pytest.mark.fault("F13", "all records of a history once more into full tables in memory, without state")
@settings(deadline=None, max_examples=300)
@given(GROWING | HISTORIES, KILLS, st.integers(1, 3))
def test_a_replay_from_the_earliest_record_without_state_changes_no_row_and_no_revision(
    events: list[Event], moves: list[Move], shards: int
) -> None:
    job = Job([record(event) for event in with_final_dues(events)], shards)
    job.finish()
    before = everything(job.catalog.tables)
    job.lose_checkpoints()
    live(job, moves)

    assert everything(job.catalog.tables) == before
    assert unannounced(job) == set()


def everything(tables: MemoryTables) -> dict[str, object]:
    """Return all rows of the tables, with their versions."""
    return {
        **{name: dict(rows) for name, rows in named(tables).items()},
        "revision": dict(tables.revision_rows),
        "due": dict(tables.dues),
        "waiting_due": dict(tables.waiting),
        "hidden": set(tables.hidden),
    }


@settings(deadline=None, max_examples=300)
@given(HISTORIES, MOVES, st.integers(1, 3))
def test_a_database_that_goes_back_at_any_moment_misses_nothing_in_the_end(
    events: list[Event], moves: list[Move], shards: int
) -> None:
    job, whole = Job([record(event) for event in with_final_dues(events)], shards), MemoryCatalog()
    run(whole, [numbered(with_final_dues(events))])
    live(job, moves)

    tables = job.catalog.tables
    assert held(tables) == held(whole.tables)
    assert tables.waiting == {}
    settled = [event for event in job.sent if isinstance(event, StudySettled)]
    for study in STUDIES:
        rows = sorted(
            (row for key, row in tables.revision_rows.items() if key[1] == study), key=lambda row: row.revision
        )
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        assert all(old.version < new.version for old, new in pairwise(rows))
        assert (rows[-1].digest if rows else digest(())) == shown_digest(tables, study)
        of_study = [event for event in settled if event.study_uid == study]
        # Whoever ignores a version that is not above the last one has seen the present state in the end.
        assert (max(of_study, key=lambda event: event.version).digest if of_study else digest(())) == shown_digest(
            tables, study
        )
        assert len({event.digest for event in of_study if event.version == rows[-1].version}) == (1 if rows else 0)


@settings(deadline=None, max_examples=300)
@given(HISTORIES, ANY_MOVES, ANY_MOVES, ANY_MOVES, st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_another_number_of_shards_loses_and_doubles_nothing(  # noqa: PLR0913, PLR0917  the arguments of a law
    events: list[Event],
    first: list[Move],
    second: list[Move],
    third: list[Move],
    before: int,
    after: int,
    is_repeated: bool,  # noqa: FBT001
) -> None:
    job, whole = Job([record(event) for event in with_final_dues(events)], before), MemoryCatalog()
    run(whole, [numbered(with_final_dues(events))])
    move(job, first)
    job.reshard(after)
    if is_repeated:
        job.reshard(after)
    move(job, second)
    job.reshard(before)
    move(job, third)
    job.finish()

    tables = job.catalog.tables
    assert held(tables) == held(whole.tables)
    assert tables.waiting == {}
    assert {shards for (shards, _), _ in tables.applied} <= {before}
    assert unannounced(job) == set()
    settled = [event for event in job.sent if isinstance(event, StudySettled)]
    for study in STUDIES:
        rows = [row for key, row in sorted(tables.revision_rows.items()) if key[1] == study]
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        assert {row.shard for row in rows} <= {shard_of(f"local/{study}".encode(), before)}
        of_study = [event for event in settled if event.study_uid == study]
        assert len({(event.revision, event.event_id) for event in of_study}) == len(
            {event.digest for event in of_study}
        )
        assert (max(of_study, key=lambda event: event.version).digest if of_study else digest(())) == shown_digest(
            tables, study
        )


def test_a_due_that_waits_goes_on_waiting_under_another_number_of_shards() -> None:
    dues = [due(STUDIES[1], (0, EXPIRED + 1)), due(STUDIES[0], number=2), due(STUDIES[0], number=3)]
    job = Job([record(event) for event in (instance(), instance(study=STUDIES[1]), *dues)], shards=1)
    job.read("instance-stored", 1)
    job.read("study-due", 3)
    job.flush(0)
    job.save()
    job.reshard(3)
    waiting = set(job.catalog.tables.waiting)
    read_again = job.offsets["study-due"]
    job.finish()

    assert {shard for shard, _ in waiting} == {(3, shard_of(b"local/1.2.2", 3))}
    assert read_again == EXPIRED + 2
    assert job.catalog.tables.waiting == {}
    assert [row.study_uid for row in job.catalog.tables.revision_rows.values()] == list(STUDIES)


def test_a_revision_that_a_kill_left_unsent_is_announced_under_another_number_of_shards() -> None:
    dues = [due(STUDIES[1], (0, EXPIRED + 1)), due(STUDIES[0], number=2), due(STUDIES[0], number=3)]
    job = Job([record(event) for event in (instance(), instance(study=STUDIES[1]), *dues)], shards=1)
    job.read("instance-stored", 2)
    job.read("study-due", 3)
    job.save()
    job.flush(0)
    job.reshard(3)
    job.finish()

    assert job.offsets["study-due"] == EXPIRED + 3
    assert {event.study_uid for event in job.sent if isinstance(event, StudySettled)} == set(STUDIES)
    assert {row.study_uid: row.shard for row in job.catalog.tables.revision_rows.values()} == {
        study: shard_of(f"local/{study}".encode(), 3) for study in STUDIES
    }


def test_a_revision_that_was_not_sent_is_announced_although_another_shard_stopped_the_job() -> None:
    mine, other = (shard_of(f"local/{study}".encode(), 3) for study in STUDIES)
    instances = [instance(study=STUDIES[1]), instance(), instance(sop="2")]
    dues = [due(STUDIES[1], (0, EXPIRED)), due(place=(0, EXPIRED + 1))]
    job = Job([record(event) for event in (*instances, *dues)], shards=3)
    job.read("instance-stored", 2)
    job.read("study-due", 2)
    job.flush(other)
    job.flush(mine)
    job.backup = job.catalog.tables.backup()
    job.kill()
    job.read("instance-stored", 3)
    job.read("study-due", 2)
    job.flush(mine)
    # The other shard's records are in its buffer still.
    job.save()
    job.restore()
    job.flush(mine)
    job.finish()

    settled = [event.study_uid for event in job.sent if isinstance(event, StudySettled)]
    assert set(settled) == set(STUDIES)


@settings(deadline=None)
@given(st.text())
def test_folding_a_name_twice_changes_nothing(name: str) -> None:
    assert fold(fold(name)) == fold(name)


@pytest.mark.parametrize("start_again", [Job.kill, Job.lose_checkpoints])
def test_a_superseded_revision_that_a_kill_left_unsent_is_announced_without_a_checkpoint(
    start_again: Callable[[Job], None],
) -> None:
    job = Job([record(event) for event in (instance(), instance(sop="2"), due(number=1), due(number=2))], shards=1)
    job.step()
    job.step()
    start_again(job)
    job.finish()

    assert [row.revision for row in job.catalog.tables.revision_rows.values()] == [1, 2]
    assert unannounced(job) == set()

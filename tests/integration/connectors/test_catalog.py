"""The catalog's writer: tests of both PostgreSQL and its memory twin, then tests of PostgreSQL alone."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.catalog.ports import Catalog, CatalogProgress, CatalogTables, HiddenRows
from operators.catalog.progress import WENT_BACK
from operators.catalog.projection import instance_row, storable_instance
from operators.catalog.rows import (
    CommandRow,
    ConflictRow,
    DecisionRow,
    InstanceKey,
    InstanceRow,
    PolicyRow,
    QuarantineRow,
    SeriesRow,
    StudyKey,
    StudyRow,
    TopicPartition,
    TransferRow,
)
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows, MemoryProgress
from operators.connectors.memory.stores import Outage
from operators.connectors.postgres import catalog as postgres_catalog
from operators.connectors.postgres import migrations, resharding
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.connectors.postgres.progress import PostgresProgress
from operators.dicom.frames import unpack
from operators.errors import Rejected, Unavailable
from operators.stream.step import Flushed, Record
from schemas.events import (
    Event,
    Facts,
    InstanceQuarantined,
    InstanceStored,
    RecordRejected,
    StudyCataloged,
    StudySettled,
)
from schemas.settings.servers import CatalogSettings
from schemas.topics import study_key
from tests.support.worlds.catalog_histories import (
    HISTORIES,
    NOON,
    batches,
    behind,
    choice,
    command,
    due,
    ended,
    held,
    in_tenant,
    instance,
    named,
    numbered,
    quarantined,
    record,
    run,
    unversioned,
)
from tests.support.worlds.policies import policy, rule, texts

KEYS: dict[str, tuple[type[Any], int]] = {
    "study": (StudyRow, 2),
    "series": (SeriesRow, 3),
    "instance": (InstanceRow, 3),
    "conflict": (ConflictRow, 4),
    "transfer": (TransferRow, 3),
    "quarantine": (QuarantineRow, 2),
    "command": (CommandRow, 3),
    "decision": (DecisionRow, 5),
    "policy": (PolicyRow, 3),
}
SHARDS = itertools.count(uuid4().int % 2**30)


@dataclass
class IsolatedCatalog:
    """A catalog, with a tenant and a shard that no other test uses."""

    catalog: Catalog
    read: Callable[[str], dict[str, dict[Any, Any]]]
    tenant: str
    shard: int

    def run(self, *parts: list[Event], head: bytes | None = None) -> Flushed:
        """Flush these batches."""
        return run(self.catalog, [numbered(part, self.tenant) for part in parts], head, self.shard)

    @property
    def tables(self) -> dict[str, dict[Any, Any]]:
        """Return all rows of the tenant by table and key, without versions."""
        return self.read(self.tenant)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows in the order of their keys."""
        return [row for _, row in sorted(self.tables[table].items())]


def isolate(catalog: Catalog, read: Callable[[str], dict[str, dict[Any, Any]]]) -> IsolatedCatalog:
    return IsolatedCatalog(catalog, read, f"test-{uuid4().hex[:20]}", next(SHARDS))


@pytest.fixture(scope="module")
def writer(request: pytest.FixtureRequest) -> CatalogSettings:
    settings: CatalogSettings = request.getfixturevalue("stack").catalog("writer")
    return settings


@pytest.fixture
def postgres(writer: CatalogSettings) -> Iterator[PostgresCatalog]:
    with PostgresCatalog(writer) as catalog:
        yield catalog


@pytest.fixture(params=["memory", "postgres"])
def isolated(request: pytest.FixtureRequest) -> IsolatedCatalog:
    if request.param == "memory":
        catalog = MemoryCatalog()
        return isolate(catalog, lambda _: held(catalog.tables))
    writer = request.getfixturevalue("writer")
    return isolate(request.getfixturevalue("postgres"), lambda tenant: read_tables(writer, tenant))


def connect(settings: CatalogSettings) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=settings.host,
        port=settings.port,
        dbname=settings.database,
        user=settings.user,
        password=settings.password,
        autocommit=True,
        options="-c timezone=UTC",
    )


def read_tables(settings: CatalogSettings, tenant: str) -> dict[str, dict[Any, Any]]:
    with connect(settings) as connection:
        return {table: read_table(connection, table, tenant) for table in KEYS}


def read_table(connection: psycopg.Connection[tuple[Any, ...]], table: str, tenant: str) -> dict[Any, Any]:
    kind, width = KEYS[table]
    names = [column.name for column in fields(kind)]
    columns = ", ".join(f'"{name}"' for name in names)
    found = connection.execute(f"SELECT {columns} FROM {table} WHERE tenant = %s", (tenant,))  # noqa: S608
    rows = [
        kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in zip(names, row, strict=True)})
        for row in found
    ]
    key = KEY_COLUMNS[table]
    assert len(key) == width
    return {tuple(getattr(row, name) for name in key): unversioned(row) for row in rows}


KEY_COLUMNS = {
    "study": ("tenant", "study_uid"),
    "series": ("tenant", "study_uid", "series_uid"),
    "instance": ("tenant", "study_uid", "sop_uid"),
    "conflict": ("tenant", "study_uid", "sop_uid", "data_hash"),
    "transfer": ("tenant", "transfer_id", "study_uid"),
    "quarantine": ("tenant", "data_hash"),
    "command": ("tenant", "study_uid", "command_id"),
    "decision": ("tenant", "study_uid", "sop_uid", "subject", "data_hash"),
    "policy": ("tenant", "kind", "name"),
}


def settled(flushed: Flushed) -> list[StudySettled]:
    return [output.event for output in flushed.outputs if isinstance(output.event, StudySettled)]


def cataloged(flushed: Flushed) -> list[StudyCataloged]:
    return [output.event for output in flushed.outputs if isinstance(output.event, StudyCataloged)]


def refused(flushed: Flushed) -> list[RecordRejected]:
    return [output.event for output in flushed.outputs if isinstance(output.event, RecordRejected)]


def test_a_batch_makes_rows_of_every_level(isolated: IsolatedCatalog) -> None:
    isolated.run([instance(sop="1"), instance(sop="2", series="2"), ended(instances=2)])

    (study,) = isolated.rows("study")
    assert (study["series"], study["instances"], study["modalities"]) == (2, 2, ("CT",))
    assert [row["instances"] for row in isolated.rows("series")] == [1, 1]
    assert [row["instances"] for row in isolated.rows("transfer")] == [2]


def test_a_repeat_keeps_the_version_and_is_still_cataloged(isolated: IsolatedCatalog) -> None:
    first = isolated.run([instance()])
    again = isolated.run([instance()])

    assert [event.version for event in cataloged(again)] == [event.version for event in cataloged(first)]


def test_a_later_content_is_kept_and_not_shown(isolated: IsolatedCatalog) -> None:
    isolated.run([instance(content="a", second=1)], [instance(content="b", second=2)])

    (shown,), (lost,) = isolated.rows("instance"), isolated.rows("conflict")
    assert shown["stored_at"] == NOON + timedelta(seconds=1)
    assert (lost["kind"], lost["data_hash"] != shown["data_hash"]) == ("content", True)


def test_an_earlier_content_replaces_the_shown_one_in_its_own_series(isolated: IsolatedCatalog) -> None:
    isolated.run([instance(content="a", series="1", second=2)], [instance(content="b", series="2", second=1)])

    (shown,) = isolated.rows("instance")
    assert shown["series_uid"] == "1.2.1.2"
    assert [row["instances"] for row in isolated.rows("series")] == [0, 1]
    assert [row["kind"] for row in isolated.rows("conflict")] == ["content"]
    assert isolated.rows("study")[0]["series"] == 1


def test_a_conflicting_content_that_turns_out_to_be_first_is_shown(isolated: IsolatedCatalog) -> None:
    early, late = instance(content="a", second=1), instance(content="b", second=2)
    isolated.run([early], [late], [replace(late, stored_at=NOON)])

    (shown,), (lost,) = isolated.rows("instance"), isolated.rows("conflict")
    assert (shown["data_hash"], lost["data_hash"]) == (late.data_hash, early.data_hash)


def test_an_instance_stored_again_behind_another_prefix_is_counted_with_its_new_size_and_is_no_revision(
    isolated: IsolatedCatalog,
) -> None:
    first, neighbour = instance(), instance(sop="2")
    again = behind(instance(second=9), "1" * 64)
    before = isolated.run([first, neighbour, due()])
    after = isolated.run([again, due(number=2)], [first])

    shown = isolated.rows("instance")[0]
    assert (shown["stored_at"], shown["prefix_hash"]) == (first.stored_at, again.prefix_hash)
    assert (shown["prefix_length"], shown["header_length"]) == (again.prefix_length, again.header_length)
    assert unpack(shown["frames"]) == again.frames
    size_bytes = again.size_bytes + neighbour.size_bytes
    assert [row["size_bytes"] for row in (*isolated.rows("series"), *isolated.rows("study"))] == [size_bytes] * 2
    assert settled(after) == settled(before)


def test_a_conflict_that_was_stored_again_keeps_its_new_object_when_it_is_shown(isolated: IsolatedCatalog) -> None:
    shown, lost = instance(second=1), instance(content="b", second=2)
    again = behind(replace(lost, stored_at=NOON + timedelta(seconds=9)), "1" * 64)
    isolated.run([shown, lost], [again])
    (kept,) = isolated.rows("conflict")
    isolated.run([replace(lost, stored_at=NOON)])

    assert (kept["stored_at"], kept["size_bytes"]) == (lost.stored_at, again.size_bytes)
    (row,) = isolated.rows("instance")
    assert (row["data_hash"], row["prefix_hash"], row["size_bytes"]) == (
        lost.data_hash,
        again.prefix_hash,
        again.size_bytes,
    )
    assert unpack(row["frames"]) == again.frames


def test_only_the_record_that_the_database_refuses_is_rejected(isolated: IsolatedCatalog) -> None:
    good, bad = [instance(sop=str(number)) for number in range(7)], instance(sop="9", transfer="t\0")
    flushed = isolated.run([*good[:4], bad, *good[4:]])

    assert [(event.origin_offset, event.reason) for event in refused(flushed)] == [(4, "refused-by-the-database")]
    assert isolated.rows("study")[0]["instances"] == 7


def test_a_savepoint_undoes_the_writes_in_it(isolated: IsolatedCatalog) -> None:
    isolated.run([instance()])
    before = isolated.tables
    study, key = StudyKey(isolated.tenant, "1.2.1"), InstanceKey(isolated.tenant, "1.2.1", "1.2.1.9.1")
    with isolated.catalog.transaction(isolated.shard) as tables:
        known = tables.known([key])
        with pytest.raises(Rejected):
            write_and_fail(tables, replace(known.studies[study], instances=99, version=known.version))

    assert isolated.tables == before


def write_and_fail(tables: CatalogTables, row: StudyRow) -> None:
    with tables.savepoint():
        tables.put_studies([row], [])
        raise Rejected("undo")


def test_a_due_makes_a_revision_and_a_late_instance_the_next(isolated: IsolatedCatalog) -> None:
    first = isolated.run([instance(sop="1"), due(number=1)])
    nothing_new = isolated.run([due(number=2)], head=first.head)
    second = isolated.run([instance(sop="2"), due(number=3)], head=nothing_new.head)

    assert [event.revision for event in settled(first)] == [1]
    assert settled(nothing_new) == settled(first)
    assert [(event.revision, event.instances) for event in settled(second)] == [(2, 2)]


def test_revisions_that_a_crash_left_unsent_are_sent_in_order(isolated: IsolatedCatalog) -> None:
    checkpoint = isolated.run([instance(study="1.2.9"), due("1.2.9")])
    isolated.run([instance(study="1.2.1"), due("1.2.1")])
    isolated.run([instance(study="1.2.2"), due("1.2.2")])
    flushed = isolated.run([instance(study="1.2.3")], head=checkpoint.head)

    assert [event.study_uid for event in settled(flushed)] == ["1.2.1", "1.2.2"]
    assert [event.version for event in settled(flushed)] == sorted(event.version for event in settled(flushed))


def test_a_due_that_is_read_again_without_state_announces_the_revision_that_it_made(isolated: IsolatedCatalog) -> None:
    first = isolated.run([instance(), due(number=1)])
    second = isolated.run([instance(sop="2"), due(number=2)])
    again = isolated.run([instance(), due(number=1)])

    assert settled(again) == settled(first) + settled(second)


def progress_of(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> CatalogProgress:
    if isinstance(isolated.catalog, MemoryCatalog):
        return MemoryProgress(tables=isolated.catalog.tables)
    return PostgresProgress(request.getfixturevalue("writer"))


def applied(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> dict[tuple[str, int], int]:
    rows = progress_of(isolated, request).applied()
    return {(row.topic, row.partition): row.offset for row in rows if row.shard == isolated.shard}


def flushed(isolated: IsolatedCatalog, *records: Record, head: bytes | None = None) -> Flushed:
    """Flush these records, as the records of the test's own tenant."""
    return run(isolated.catalog, [records], head, isolated.shard)


def own(isolated: IsolatedCatalog, event: Event, offset: int, partition: int = 0) -> Record:
    return record(in_tenant(event, isolated.tenant), offset, partition)


def test_applied_offsets_advance_and_are_never_lowered(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    flushed(isolated, own(isolated, instance(), 7), own(isolated, instance(sop="2"), 3, 1))
    flushed(isolated, own(isolated, instance(), 5), own(isolated, due(place=(9, 9)), 0))

    assert applied(isolated, request) == {("instance-stored", 0): 7, ("instance-stored", 1): 3, ("study-due", 0): 0}


def test_a_due_waits_in_the_rows_until_its_instances_are_applied(isolated: IsolatedCatalog) -> None:
    early = flushed(isolated, own(isolated, instance(), 3), own(isolated, due(place=(0, 4)), 0))
    elsewhere = flushed(isolated, own(isolated, instance(study="1.2.2"), 9, 1))
    # Without state: the waiting due is in the rows alone.
    ready = flushed(isolated, own(isolated, instance(sop="2"), 4))
    again = flushed(isolated, own(isolated, instance(sop="2"), 4))

    assert settled(early) == settled(elsewhere) == settled(again) == []
    assert [event.instances for event in settled(ready)] == [2]


def test_a_due_waits_for_a_command_that_it_counts_after_its_instances(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    both = due(place=(0, 4), commands=(1, 2))
    first = flushed(isolated, own(isolated, instance(), 3), own(isolated, both, 0))
    second = flushed(isolated, own(isolated, instance(sop="2"), 4))
    waits_for_commands = progress_of(isolated, request).waiting(1, {TopicPartition("study-command", "", 1): 3})
    third = flushed(isolated, own(isolated, command("delete", study="1.2.9"), 1, 1))
    fourth = flushed(isolated, own(isolated, command("hold"), 2, 1))

    assert settled(first) == settled(second) == settled(third) == []
    assert waits_for_commands == 1
    assert [event.instances for event in settled(fourth)] == [2]


def test_a_deleted_study_counts_nothing_and_settles_empty_until_it_is_restored(isolated: IsolatedCatalog) -> None:
    isolated.run([instance(), instance(sop="2", series="2"), due(number=1)])
    deleted = isolated.run([command("delete", second=1), due(number=2)])
    late = isolated.run([instance(sop="3"), due(number=3)])
    hidden = isolated.rows("study")[0], [row["instances"] for row in isolated.rows("series")]
    restored = isolated.run([command("restore", second=2), due(number=4)])

    assert [(event.revision, event.instances, event.series) for event in settled(deleted)] == [(2, 0, ())]
    assert settled(late) == settled(deleted)
    assert (hidden[0]["instances"], hidden[0]["series"], hidden[0]["modalities"], hidden[1]) == (0, 0, (), [0, 0])
    assert [(event.revision, event.instances, len(event.series)) for event in settled(restored)] == [(3, 3, 2)]
    assert [row["instances"] for row in isolated.rows("series")] == [2, 1]


def test_a_study_that_is_deleted_before_it_comes_stays_hidden_and_an_earlier_restore_changes_nothing(
    isolated: IsolatedCatalog,
) -> None:
    isolated.run([command("delete", second=5)], [instance()], [command("restore", second=4)], [instance(sop="2")])

    assert isolated.rows("study")[0]["instances"] == 0
    assert len(isolated.rows("instance")) == 2


def test_a_chosen_content_is_shown_and_gives_study_and_series_its_attributes(isolated: IsolatedCatalog) -> None:
    wrong = instance(content="a", facts=Facts(patient_id="P1", patient_name="Wrong^Name", modality="CT"))
    right = instance(content="b", second=9, facts=Facts(patient_id="P1", patient_name="Right^Name", modality="CT"))
    isolated.run([wrong, instance(sop="2", second=1)], [choice(right)])

    shown, other = isolated.rows("instance")
    assert (shown["data_hash"], shown["stored_at"]) == (right.data_hash, right.stored_at)
    assert [(row["data_hash"], row["kind"]) for row in isolated.rows("conflict")] == [(wrong.data_hash, "content")]
    (study,) = isolated.rows("study")
    assert (study["patient_name"], study["instances"]) == ("Right^Name", 2)
    assert (study["first_data_hash"], other["sop_uid"]) == (wrong.data_hash, "1.2.1.9.2")


def test_the_last_choice_counts_whatever_comes_last(isolated: IsolatedCatalog) -> None:
    first, second, third = (instance(content=name, second=at) for at, name in enumerate("abc"))
    choices = [choice(event, at) for event, at in ((third, 5), (second, 9))]
    isolated.run([first, second, third], [choices[1]], [choices[0]], [third, second, first])

    (shown,) = isolated.rows("instance")
    assert shown["data_hash"] == second.data_hash
    assert {row["data_hash"] for row in isolated.rows("conflict")} == {first.data_hash, third.data_hash}


def test_an_overtaken_attempt_cannot_undo_a_choice(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    isolated = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    first, second = instance(content="a"), instance(content="b", second=9)
    isolated.run([first, second])
    with postgres.transaction(isolated.shard) as tables:
        overtaken = tables.known([]).version
    isolated.run([choice(second)])
    moved = in_tenant(first, isolated.tenant)
    assert isinstance(moved, InstanceStored)
    row = instance_row(storable_instance(moved), 0)
    for version in (overtaken, overtaken + 10**15):
        with postgres.transaction(isolated.shard) as tables:
            tables.put_instances([replace(row, version=version)], [], [])

    assert [one["data_hash"] for one in isolated.rows("instance")] == [second.data_hash]


def test_every_applied_due_is_kept_with_the_revision_that_it_made(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    isolated.run([instance(), due(number=1)], [due(number=2)], [instance(), due(number=1)])
    dues = hidden_rows_of(isolated, request).dues(isolated.tenant, "1.2.1")

    assert {(str(row.event_id), row.signal, row.revision) for row in dues} == {
        (due(number=1).event_id, "quiet", 1),
        (due(number=2).event_id, "quiet", None),
    }


def test_a_due_that_comes_again_keeps_the_first_revision_that_it_made(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    parts: list[list[Event]] = [[due()], [instance(), due()], [due()], [instance(sop="2"), due()]]
    hidden, kept = hidden_rows_of(isolated, request), []
    for part in parts:
        isolated.run(part)
        kept += [row.revision for row in hidden.dues(isolated.tenant, "1.2.1")]

    assert kept == [None, 1, 1, 1]


def test_operators_find_the_commands_and_the_decisions_of_a_study(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    hold, delete = command("hold", second=1), command("delete", second=2)
    isolated.run([delete, hold, command("settle", second=3), command("hold", study="1.2.2")])
    hidden = hidden_rows_of(isolated, request)

    assert [row.action for row in hidden.commands(isolated.tenant, "1.2.1")] == ["hold", "delete", "settle"]
    decisions = {row.subject: row for row in hidden.decisions(isolated.tenant, "1.2.1")}
    assert {subject: row.in_force for subject, row in decisions.items()} == {"hold": True, "deletion": True}
    assert str(decisions["hold"].command_id) == hold.event_id
    assert not hidden.commands("nobody", "1.2.1")
    assert not hidden.decisions("nobody", "1.2.1")


def test_a_study_is_announced_again_once_for_each_command_that_asks_for_it(isolated: IsolatedCatalog) -> None:
    first = isolated.run([instance(), due()])
    again = isolated.run([command("reprocess")], head=first.head)
    repeated = isolated.run([command("reprocess"), command("reprocess", study="1.2.9")], head=again.head)

    (before,), (after,) = settled(first), settled(again)
    assert (after.revision, after.digest, after.instances) == (before.revision, before.digest, before.instances)
    assert after.version > before.version
    assert after.cause == (*before.cause, command("reprocess").event_id)
    assert settled(repeated) == []


def test_dues_that_wait_for_lower_offsets_are_counted(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    flushed(isolated, *(own(isolated, due(number=at, place=(at, 4)), at) for at in range(3)))
    progress = progress_of(isolated, request)
    firsts = {TopicPartition("instance-stored", "", partition): 3 + partition for partition in range(3)}
    without, elsewhere, found = progress.waiting(1, {}), progress.waiting(2, firsts), progress.waiting(1, firsts)
    flushed(isolated, *(own(isolated, instance(), 4, at) for at in range(3)))

    assert (without, elsewhere, found - progress.waiting(1, firsts)) == (0, 0, 1)


def test_a_database_that_went_back_is_noted_and_versions_rise(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    first = isolated.run([instance(), due()])
    lost = isolate(isolated.catalog, isolated.read)
    stop = flushed(lost, own(lost, instance(), 9), head=first.head).stop
    noted = progress_of(isolated, request).went_back(1)
    progress_of(isolated, request).note_begun(1)

    assert noted
    assert stop is not None
    assert stop.reason == WENT_BACK
    assert not progress_of(isolated, request).went_back(1)
    assert applied(lost, request) == {}
    assert settled(lost.run([instance(), due()]))[0].version > settled(first)[0].version


def test_announcing_a_revision_again_gives_the_same_event(isolated: IsolatedCatalog) -> None:
    facts = Facts(patient_name="Ångström^Åsa", modality="CT", body_part_examined="HEAD")
    first = isolated.run([instance(facts=facts), instance(sop="2", series="2"), due()])
    later = isolated.run([due(number=2)])

    assert settled(first) == settled(later)
    assert [(event.modality, event.body_part, event.instances) for event in settled(first)[0].series] == [
        ("CT", "HEAD", 1),
        ("CT", None, 1),
    ]


def test_the_latest_event_of_a_quarantined_content_gives_its_row(isolated: IsolatedCatalog) -> None:
    held_again, released = quarantined(second=120), quarantined(state="released")
    isolated.run([quarantined(), released], [held_again], [released])

    (row,) = isolated.rows("quarantine")
    assert (row["state"], str(row["event_id"])) == ("held", held_again.event_id)


def test_a_content_stored_again_is_held_even_if_its_release_is_dated_later(
    isolated: IsolatedCatalog,
) -> None:
    held_again, released = quarantined(second=30), quarantined(state="released")
    assert released.occurred_at > held_again.occurred_at
    isolated.run([quarantined()], [held_again], [released])

    (row,) = isolated.rows("quarantine")
    assert (row["state"], str(row["event_id"])) == ("held", held_again.event_id)


def test_the_greatest_version_of_a_policy_gives_its_row(isolated: IsolatedCatalog) -> None:
    first, second, third = (policy(rule("ct", texts("modality", "CT"), tier="cold"), version=at) for at in (1, 2, 3))
    isolated.run([second, first], [third], [policy(name="other"), second])

    kept, other = isolated.rows("policy")
    assert (kept["name"], str(kept["event_id"]), len(kept["rules"])) == ("age", third.event_id, 1)
    assert (other["name"], len(other["rules"])) == ("other", 0)


def hidden_rows_of(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> HiddenRows:
    if isinstance(isolated.catalog, MemoryCatalog):
        return MemoryHiddenRows(tables=isolated.catalog.tables)
    return PostgresHiddenRows(request.getfixturevalue("writer"))


def test_operators_find_the_last_revision_of_a_study(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> None:
    isolated.run([instance(), due()], [instance(sop="2"), due(number=2)])
    last = hidden_rows_of(isolated, request).last_revision(isolated.tenant, "1.2.1")

    assert last is not None
    assert (last.revision, last.instances, [series["instances"] for series in last.series]) == (2, 2, [2])
    assert hidden_rows_of(isolated, request).last_revision("nobody", "1.2.1") is None


def test_operators_find_quarantined_contents(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> None:
    first, second, gone = (quarantined(name, second=at) for at, name in enumerate("pqr"))
    isolated.run([first, second, gone, quarantined("r", second=2, state="discarded")])
    hidden = hidden_rows_of(isolated, request)
    months_later = NOON + timedelta(days=30)

    def hashes(**asked: Any) -> list[str]:
        return [row.data_hash for row in hidden.quarantined(isolated.tenant, 9, **asked)]

    assert hashes() == [gone.data_hash, second.data_hash, first.data_hash]
    assert hashes(held_at=NOON) == [second.data_hash, first.data_hash]
    assert hashes(held_at=months_later) == [second.data_hash]
    assert hashes(beginning=first.data_hash[:9]) == [first.data_hash]
    assert [row.data_hash for row in hidden.quarantined(isolated.tenant, 1)] == [gone.data_hash]
    assert hidden.quarantined("nobody", 9) == ()
    assert {row.data_hash for row in hidden.quarantined(None, 1000)} >= set(hashes())


def test_operators_find_what_came_from_a_peer_in_a_time(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    ct = {"peer": "ct1", "calling_ae": "CT1", "called_ae": "FLUORO", "address": "10.1.0.7", "size_bytes": 7}
    first = replace(ended(transfer="t1", second=1), **ct, refused={"too-large": 2})  # type: ignore[arg-type]
    other = replace(ended(transfer="t2", second=2), calling_ae="MR1")
    late = ended(transfer="t3", second=9)
    isolated.run([first, other, late])
    hidden = hidden_rows_of(isolated, request)

    def found(most: int = 9, **asked: Any) -> list[str]:
        since, until = NOON + timedelta(seconds=1), NOON + timedelta(seconds=9)
        return [row.transfer_id for row in hidden.transfers(isolated.tenant, most, since=since, until=until, **asked)]

    assert found() == ["t2", "t1"]
    assert found(1) == ["t2"]
    assert found(sender="ct1") == found(sender="CT1") == ["t1"]
    assert found(sender="nobody") == []
    (row,) = hidden.transfers(isolated.tenant, 9, since=NOON, until=NOON + timedelta(seconds=2))
    assert (row.address, row.size_bytes, row.refused) == ("10.1.0.7", 7, {"too-large": 2})


def test_operators_find_the_latest_transfers_with_all_of_their_studies(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    studies = [ended(study=f"1.2.{number}", transfer="t2", second=2) for number in range(3)]
    isolated.run([ended(transfer="t1", second=1), *studies, ended(transfer="t3", second=3)])
    hidden = hidden_rows_of(isolated, request)
    rows = hidden.transfers(isolated.tenant, 2, since=NOON, until=NOON + timedelta(seconds=9))

    assert [(row.transfer_id, row.study_uid) for row in rows] == [
        ("t3", "1.2.1"),
        *(("t2", study.study_uid) for study in studies),
    ]


def test_operators_find_a_transfer_without_a_study(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> None:
    isolated.run([replace(ended(None, instances=0), refused={"too-large": 2})])
    (row,) = hidden_rows_of(isolated, request).transfers(isolated.tenant, 9, since=NOON, until=NOON + timedelta(1))

    assert (row.transfer_id, row.study_uid, row.instances, row.refused) == ("t1", "", 0, {"too-large": 2})


def test_operators_find_the_contents_of_refused_transfers_in_a_time(
    isolated: IsolatedCatalog, request: pytest.FixtureRequest
) -> None:
    def refused(name: str, transfer: str, second: int) -> InstanceQuarantined:
        return replace(quarantined(name, second), transfer_id=transfer)

    kept = [refused("a", "t1", 1), refused("b", "t2", 2), refused("c", "t2", 3), refused("d", "t3", 4)]
    isolated.run([*kept, ended(transfer="t3", second=4)])
    hidden = hidden_rows_of(isolated, request)

    def found(most: int = 9, seconds: int = 9, **asked: Any) -> list[tuple[str, str]]:
        until = NOON + timedelta(seconds=seconds)
        rows = hidden.refused(isolated.tenant, most, since=NOON + timedelta(seconds=1), until=until, **asked)
        return [(row.transfer_id, row.data_hash) for row in rows]

    of_t2 = sorted(("t2", event.data_hash) for event in kept[1:3])
    assert found() == [*of_t2, ("t1", kept[0].data_hash)]
    assert found(1) == of_t2
    assert found(seconds=2) == [("t1", kept[0].data_hash)]
    assert found(sender="CT1") == found()
    assert found(sender="nobody") == []


def test_operators_find_both_contents_of_a_conflict(isolated: IsolatedCatalog, request: pytest.FixtureRequest) -> None:
    shown, lost = instance(content="a"), instance(content="b", second=1)
    other = [instance(sop="2", content=name, second=5 + at) for at, name in enumerate("cd")]
    isolated.run([shown, lost, *other])
    hidden = hidden_rows_of(isolated, request)

    assert len(hidden.conflicts(isolated.tenant, 9)) == 2
    (found,) = hidden.conflicts(isolated.tenant, 9, sop_uid=shown.sop_uid)
    assert (found.shown.data_hash, found.lost.data_hash, found.lost.kind) == (
        shown.data_hash,
        lost.data_hash,
        "content",
    )
    assert [pair.lost.data_hash for pair in hidden.conflicts(isolated.tenant, 1)] == [other[1].data_hash]
    assert hidden.conflicts("nobody", 9) == ()


def test_progress_moves_to_other_shards_with_its_dues_and_revisions(
    postgres: PostgresCatalog, writer: CatalogSettings
) -> None:
    waits = due(number=77, place=(9, 9))
    isolated = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    isolated.run([instance(), due()], [waits])
    # Undone, since the stack's own job has its progress in the same tables.
    with connect(writer) as connection, connection.transaction(force_rollback=True):
        resharding.reshard(connection, 5, {TopicPartition("instance-stored", "id", 3): 7})
        applied = connection.execute('SELECT shards, shard, topic, topic_id, "partition", "offset" FROM applied_offset')
        progress = connection.execute("SELECT shards, shard, announced, went_back FROM shard_progress")
        waiting = connection.execute("SELECT shards, shard FROM waiting_due WHERE event_id = %s", (waits.event_id,))
        revisions = connection.execute("SELECT shard FROM revision WHERE tenant = %s", (isolated.tenant,))
        found = [set(cursor.fetchall()) for cursor in (applied, progress, waiting, revisions)]
    shard = crc32(study_key(isolated.tenant, waits.study_uid)) % 5

    assert found == [
        {(5, number, "instance-stored", "id", 3, 7) for number in range(5)},
        {(5, number, 0, True) for number in range(5)},
        {(5, shard)},
        {(shard,)},
    ]


def test_a_catalog_that_does_not_answer_operators_is_unavailable() -> None:
    for progress in (PostgresProgress(CatalogSettings(port=1)), MemoryProgress(outage=Outage.REFUSES)):
        with pytest.raises(Unavailable):
            progress.applied()
    for hidden in (PostgresHiddenRows(CatalogSettings(port=1)), MemoryHiddenRows(outage=Outage.REFUSES)):
        with pytest.raises(Unavailable):
            hidden.conflicts(None, 1)
        with pytest.raises(Unavailable):
            hidden.quarantined(None, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=HISTORIES, data=st.data())
def test_postgresql_has_the_rows_that_its_memory_twin_has(
    postgres: PostgresCatalog, writer: CatalogSettings, events: list[Event], data: st.DataObject
) -> None:
    twin = MemoryCatalog()
    real = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    parts: list[Any] = data.draw(batches(numbered(events, real.tenant)))
    expected = run(twin, parts, shard=real.shard)
    flushed = run(postgres, parts, shard=real.shard)

    assert real.tables == held(twin.tables)
    assert [(event.study_uid, event.revision, event.digest, event.series) for event in settled(flushed)] == [
        (event.study_uid, event.revision, event.digest, event.series) for event in settled(expected)
    ]


def test_the_dues_that_were_settled_are_known(isolated: IsolatedCatalog) -> None:
    made, nothing_new, unknown = due(), due(number=2), due(number=3)
    isolated.run([instance(), made, nothing_new])
    asked = [replace(each, tenant=isolated.tenant) for each in (made, nothing_new, unknown)]
    with isolated.catalog.transaction(isolated.shard) as tables:
        found = tables.settled_before(asked)
        elsewhere = tables.settled_before([replace(each, study_uid="1.2.9") for each in asked])

    assert found == {made.event_id, nothing_new.event_id}
    assert elsewhere == tables.settled_before([]) == frozenset()


def test_dues_that_wait_for_later_records_are_not_read(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    real = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    waiting = (own(real, due(number=at, place=(at % 4, 100 + at)), at) for at in range(1000))
    flushed(real, *waiting, *(own(real, instance(sop=str(at)), 99, at) for at in range(4)))
    reached = {TopicPartition("instance-stored", "", at): 99 for at in range(4)}
    with postgres.transaction(real.shard) as tables:
        ready = tables.advance(reached, (), {})
        read = tables._connection.execute(
            "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'waiting_due'"
        ).fetchone()

    assert (ready, read) == ((), (0,))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=HISTORIES, data=st.data())
def test_a_replay_of_all_records_without_state_writes_no_row(
    postgres: PostgresCatalog, writer: CatalogSettings, events: list[Event], data: st.DataObject
) -> None:
    real = isolate(postgres, lambda tenant: written(writer, tenant))
    final = [due(study, number=100) for study in ("1.2.1", "1.2.2", "1.2.3")]
    every = numbered([*events, *final], real.tenant)
    run(postgres, data.draw(batches(every)), shard=real.shard)
    before = real.tables
    run(postgres, data.draw(batches(data.draw(st.permutations(every)))), shard=real.shard)

    assert real.tables == before


def written(settings: CatalogSettings, tenant: str) -> dict[str, dict[Any, Any]]:
    """Return by table and row the transaction that wrote the row."""
    with connect(settings) as connection:
        return {
            table: dict(
                connection.execute(f"SELECT one::text, xmin::text FROM {table} AS one WHERE tenant = %s", (tenant,))  # noqa: S608
            )
            for table in (*KEYS, "revision", "due")
        }


def test_a_shard_held_by_another_attempt_is_unavailable(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    impatient = PostgresCatalog(replace(writer, statement_s=0.2))
    shard = next(SHARDS)
    with postgres.transaction(shard), pytest.raises(Unavailable), impatient.transaction(shard):
        pytest.fail("two attempts hold one shard")
    impatient.close()


def test_a_lost_connection_costs_one_attempt(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    isolated = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    isolated.run([instance()])
    with postgres.transaction(next(SHARDS)):
        pid = postgres._connected().info.backend_pid
    with connect(writer) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    flushed = isolated.run([instance(sop="2")])

    assert refused(flushed) == []
    assert isolated.rows("study")[0]["instances"] == 2


@pytest.mark.parametrize(
    ("state", "raised"),
    [
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("57P01", Unavailable),
        ("53100", Unavailable),
        ("55P03", Unavailable),
        ("25006", Unavailable),
        ("22003", Rejected),
        ("23514", Rejected),
        ("54000", Rejected),
        ("42P01", Unavailable),
        ("42501", Unavailable),
        ("42601", psycopg.errors.SyntaxError),
    ],
)
def test_the_sqlstate_decides_between_rejected_and_unavailable(
    postgres: PostgresCatalog, state: str, raised: type[Exception]
) -> None:
    with pytest.raises(raised), postgres.transaction(next(SHARDS)):
        raise psycopg.errors.lookup(state)


def test_an_attempt_that_was_overtaken_undoes_no_newer_row(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    isolated = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    late = [instance(content="b", second=9, facts=Facts(patient_id="P9")), ended(second=1), quarantined()]
    stale = MemoryCatalog()
    run(stale, [numbered(late, isolated.tenant)])
    isolated.run([instance(content="a", second=1), ended(second=5), quarantined(state="released")])
    before = isolated.tables
    with postgres.transaction(next(SHARDS)) as tables:
        tables.put_instances(list(stale.tables.instances.values()), [], [])
        tables.put_studies(list(stale.tables.studies.values()), list(stale.tables.series.values()))
        tables.put_transfers(list(stale.tables.transfers.values()))
        tables.put_quarantine(list(stale.tables.quarantine.values()))

    assert isolated.tables == before


@pytest.mark.parametrize("content", ["a", "b"], ids=["shown", "in conflict"])
def test_the_object_of_an_earlier_event_overwrites_that_of_a_later_one_in_no_row(
    postgres: PostgresCatalog, writer: CatalogSettings, content: str
) -> None:
    isolated = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    first: list[Event] = [instance(content="a"), instance(content="b", second=1)]
    stale = MemoryCatalog()
    run(stale, [numbered(first, isolated.tenant)])
    isolated.run([*first, behind(instance(content=content, second=9), "1" * 64)])
    before, version = isolated.tables, int(datetime.now(UTC).timestamp() * 2_000_000)
    shown = [replace(row, version=version) for row in stale.tables.instances.values()]
    with postgres.transaction(next(SHARDS)) as tables:
        tables.put_instances(shown, list(stale.tables.conflicts.values()), [])

    assert isolated.tables == before


def test_a_row_that_is_written_again_while_it_is_shown_is_new_in_no_index(postgres: PostgresCatalog) -> None:
    moved = in_tenant(instance(), f"test-{uuid4().hex[:20]}")
    assert isinstance(moved, InstanceStored)
    row = instance_row(storable_instance(moved), 1)
    with postgres.transaction(next(SHARDS)) as tables:
        # One update may have to go to another page, and is new in every index then: not all of ten do, one after another.
        for version in range(1, 12):
            tables.put_instances([replace(row, version=version, size_bytes=1000 + version)], [], [])
        updated, in_no_index = tables._connection.execute(
            "SELECT sum(n_tup_upd), sum(n_tup_hot_upd) FROM pg_stat_xact_user_tables WHERE relname LIKE 'instance%'"
        ).fetchone() or (0, 0)

    assert updated == 10
    assert in_no_index > 0


def test_versions_are_above_those_of_an_earlier_database(postgres: PostgresCatalog) -> None:
    with postgres.transaction(next(SHARDS)) as tables:
        version = tables.known([]).version

    assert version > NOON.timestamp() * 1_000_000


def test_a_reader_without_a_tenant_sees_nothing(
    postgres: PostgresCatalog, writer: CatalogSettings, request: pytest.FixtureRequest
) -> None:
    isolated = isolate(postgres, lambda tenant: read_tables(writer, tenant))
    isolated.run([instance(), quarantined()])
    with connect(request.getfixturevalue("stack").catalog("reader")) as reader:
        counts = []
        for tenant in ("", "other", isolated.tenant):
            reader.execute("SELECT set_config('fluoro.tenant', %s, false)", (tenant,))
            for table in ("study", "quarantine"):
                count = f"SELECT count(*) FROM {table} WHERE tenant = %s"  # noqa: S608
                counts += reader.execute(count, (isolated.tenant,)).fetchall()

    assert counts == [(0,), (0,), (0,), (0,), (1,), (1,)]


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> CatalogSettings:
    settings: CatalogSettings = request.getfixturevalue("stack").catalog("owner")
    return settings


class EarlierCatalog(PostgresCatalog):
    """A catalog in a schema of its own."""

    def _new_connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = super()._new_connection()
        connection.execute(OWN_SCHEMA)
        return connection


OWN_SCHEMA = "SET search_path = earlier, public"
# What the tables lacked before they told when the object was stored that a row describes.
ADDED = {
    "study": {"study_description_folded"},
    "series": {"series_description_folded", "protocol_name", "protocol_name_folded"},
    "instance": {"last_stored_at"},
    "conflict": {"last_stored_at", "prefix_hash", "origin"},
}


@pytest.fixture
def earlier(owner: CatalogSettings) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Make the tables of an earlier release, empty, in a schema of their own; return a connection to it."""
    with connect(owner) as connection:
        connection.execute("CREATE SCHEMA earlier")
        connection.execute("GRANT USAGE ON SCHEMA earlier TO writer, reader")
        connection.execute(OWN_SCHEMA)
        try:
            asyncio.run(migrate(owner, migrations.read_migrations(migrations.FOLDER)[:4]))
            yield connection
        finally:
            connection.execute("DROP SCHEMA earlier CASCADE")


async def migrate(owner: CatalogSettings, wanted: tuple[migrations.Migration, ...]) -> None:
    """Migrate the tables of the schema to these files."""
    access = {"host": owner.host, "port": owner.port, "dbname": owner.database, "user": owner.user}
    async with await psycopg.AsyncConnection.connect(**access, password=owner.password) as connection:  # type: ignore[arg-type]
        await connection.execute(OWN_SCHEMA)
        await migrations._apply_new(connection, wanted)


def put_as_before(connection: psycopg.Connection[tuple[Any, ...]], table: str, row: Any) -> None:
    """Write a row as the earlier release did."""
    values = {name: value for name, value in row.__dict__.items() if name not in ADDED.get(table, ())}
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(["%s"] * len(values))
    connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608
        [postgres_catalog._value(value) for value in values.values()],
    )


@pytest.mark.usefixtures("earlier")
def test_rows_of_before_take_the_object_that_the_next_event_of_their_content_tells_of(
    owner: CatalogSettings, writer: CatalogSettings
) -> None:
    shown, lost, repeated = instance(), instance(content="b", second=1), instance(sop="2")
    again = behind(instance(second=9), "1" * 64)
    before, twin = MemoryCatalog(), MemoryCatalog()
    run(before, [numbered([shown, lost, repeated])])
    with connect(writer) as connection, EarlierCatalog(writer) as catalog:
        connection.execute(OWN_SCHEMA)
        for table in ("study", "series", "instance", "conflict"):
            for row in named(before.tables)[table].values():
                put_as_before(connection, table, row)
        asyncio.run(migrate(owner, migrations.read_migrations(migrations.FOLDER)))
        # An earlier release may still write for a moment.
        late = instance(study="1.2.2")
        run(before, [numbered([late])])
        put_as_before(connection, "instance", before.tables.instances["local", "1.2.2", late.sop_uid])
        for table, key in (("study", late.study_uid), ("series", late.series_uid)):
            put_as_before(connection, table, next(row for at, row in named(before.tables)[table].items() if key in at))
        parts: list[Event] = [lost, again, repeated, late, replace(lost, stored_at=NOON - timedelta(seconds=1))]
        run(catalog, [numbered([event]) for event in parts])
        run(twin, [numbered([shown, lost, repeated, late]), numbered(parts)])
        found = {table: read_table(connection, table, "local") for table in KEYS}

    assert found == held(twin.tables)


@pytest.mark.usefixtures("earlier")
def test_a_study_that_was_deleted_before_its_instances_had_a_column_for_it_stays_hidden(
    owner: CatalogSettings, writer: CatalogSettings
) -> None:
    before, files = MemoryCatalog(), migrations.read_migrations(migrations.FOLDER)
    run(before, [numbered([instance(), instance(study="1.2.2"), command("delete")])])
    asyncio.run(migrate(owner, files[:11]))
    with connect(writer) as connection:
        connection.execute(OWN_SCHEMA)
        for table in ("instance", "decision"):
            for row in named(before.tables)[table].values():
                put_as_before(connection, table, row)
        asyncio.run(migrate(owner, files))
        found = dict(connection.execute("SELECT study_uid, is_shown FROM instance").fetchall())

    assert found == {"1.2.1": False, "1.2.2": True}


async def twice_at_once(settings: CatalogSettings) -> None:
    await asyncio.gather(migrations.apply(settings), migrations.apply(settings))


def test_ddl_may_be_applied_again_and_by_several_at_once(owner: CatalogSettings) -> None:
    asyncio.run(twice_at_once(owner))


def test_ddl_that_was_changed_after_it_was_applied_is_refused(owner: CatalogSettings, tmp_path: Path) -> None:
    shutil.copytree(migrations.FOLDER, tmp_path / "ddl")
    (tmp_path / "ddl" / "0001_catalog.sql").write_text("SELECT 1;")

    with pytest.raises(migrations.SchemaMismatch, match="DDL 1 was changed"):
        asyncio.run(migrations.apply(owner, tmp_path / "ddl"))


def test_a_database_newer_than_the_program_is_refused(owner: CatalogSettings, tmp_path: Path) -> None:
    with pytest.raises(migrations.SchemaMismatch, match="newer"):
        asyncio.run(migrations.apply(owner, tmp_path))


def test_a_database_that_does_not_answer_is_unavailable(owner: CatalogSettings) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(migrations.apply(replace(owner, database="nothing-of-this-name")))

"""Records that expired unread, or soon will, are said loudly, with their count."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from operators.connectors.kafka.positions import Extent, Partition
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress
from operators.connectors.memory.stores import Outage
from pipelines.jobs import CATALOG, JOBS, STUDY
from pipelines.launch import expiry, losses, rows
from pipelines.launch.expiry import expired_unread
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import due, record, run
from tests.unit.pipelines.launch.test_losses import Broker
from tests.unit.pipelines.launch.test_rows import PLACE, applied

ENDS = ("transfer-ended", 0)
COMMANDS = ("study-command", 0)
PLACES = (PLACE, ENDS, ("study-due", 0))
NOW_MS = 1_772_366_400_000


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    made = JobSettings(checkpoint_dir=tmp_path)
    losses.guard(Broker(), made)
    return made


@pytest.mark.parametrize(
    ("read", "counts"),
    [
        ({PLACE: 10, ("instance-stored", 1): 500, ("study-due", 0): 500}, {"instance-stored": 490}),
        ({PLACE: 500, ("instance-stored", 1): 600, ("study-due", 0): 501}, {}),
        ({}, {}),
        # Partitions that had no record yet when the job was stopped.
        ({PLACE: 500}, {"instance-stored": 500, "study-due": 500}),
        ({PLACE: 10, ("instance-stored", 1): 490, ("study-due", 0): 499}, {"instance-stored": 500, "study-due": 1}),
    ],
)
def test_the_records_between_a_position_and_the_earliest_record_have_expired_unread(
    read: dict[Partition, int], counts: dict[str, int]
) -> None:
    extents = {place: Extent(500, 600) for place in (PLACE, ("instance-stored", 1), ("study-due", 0))}

    assert expired_unread(read, extents) == counts


def test_a_start_after_a_long_stop_says_what_expired_unread(settings: JobSettings) -> None:
    broker = Broker(earliest=500, end=600, offsets={STUDY.name: {PLACE: 10, ENDS: 600, COMMANDS: 600}})
    with capture_logs() as logs:
        expiry.report_expired(Servers(broker, MemoryProgress()), settings)

    (line,) = logs
    assert (line["event"], line["log_level"]) == ("records_expired_unread", "error")
    assert (line["job"], line["topic"], line["records"]) == ("study", INSTANCE_STORED.name, 490)
    assert "senders send again" in line["repair"]


def test_commands_that_expired_unread_are_given_again(settings: JobSettings) -> None:
    broker = Broker(earliest=500, end=600, offsets={STUDY.name: {PLACE: 600, ENDS: 600, COMMANDS: 498}})
    with capture_logs() as logs:
        expiry.report_expired(Servers(broker, MemoryProgress()), settings)

    assert [(line["topic"], line["records"]) for line in logs] == [("study-command", 2)]
    assert "give it again under its id" in logs[0]["repair"]


def test_a_catalog_that_went_back_has_read_what_its_rows_say(settings: JobSettings) -> None:
    broker = Broker(offsets={CATALOG.name: {PLACE: 550, ("study-due", 0): 4}})

    assert expiry.positions(CATALOG, settings, Servers(broker, applied(7)), PLACES) == {PLACE: 8, ("study-due", 0): 4}
    assert expiry.positions(STUDY, settings, Servers(broker, applied(7)), PLACES) == {}


def test_a_catalog_without_the_rows_that_it_had_has_read_nothing(settings: JobSettings) -> None:
    servers = Servers(Broker(offsets={CATALOG.name: {PLACE: 8}}), MemoryProgress())
    before = expiry.positions(CATALOG, settings, servers, PLACES)
    rows.suspicion(None, settings, Servers(Broker(), applied(7)), 0)

    assert (before, expiry.positions(CATALOG, settings, servers, PLACES)) == ({PLACE: 8}, {PLACE: 0})


def test_a_catalog_that_does_not_answer_is_taken_to_be_where_its_group_is(settings: JobSettings) -> None:
    broker = Broker(offsets={CATALOG.name: {PLACE: 8}})

    assert expiry.positions(CATALOG, settings, Servers(broker, MemoryProgress(outage=Outage.REFUSES)), PLACES) == {
        PLACE: 8
    }


def test_unread_records_of_a_partition_of_which_nothing_was_read_yet_raise_an_alarm() -> None:
    broker = Broker(end=100, young=90, offsets={STUDY.name: {ENDS: 100, COMMANDS: 100}})
    with capture_logs() as logs:
        expiry.report_lag(broker, JOBS, NOW_MS)

    assert [(line["event"], line["job"], line["topic"], line["records"]) for line in logs] == [
        ("job_lag_alarm", "study", "instance-stored", 90)
    ]


@pytest.mark.parametrize(("committed", "records"), [(10, [80]), (89, [1]), (90, []), (100, [])])
def test_unread_records_older_than_half_of_the_retention_raise_an_alarm(committed: int, records: list[int]) -> None:
    broker = Broker(end=100, young=90, offsets={STUDY.name: {PLACE: committed, ENDS: 100, COMMANDS: 100}})
    with capture_logs() as logs:
        expiry.report_lag(broker, JOBS, NOW_MS)

    assert [(line["event"], line["job"], line["topic"], line["records"]) for line in logs] == [
        ("job_lag_alarm", "study", "instance-stored", count) for count in records
    ]


@pytest.mark.parametrize(("shards", "counts"), [(1, [2]), (2, [])], ids=["as they wait", "after another number"])
def test_dues_that_wait_for_an_expired_record_are_counted(
    settings: JobSettings, shards: int, counts: list[int]
) -> None:
    catalog = MemoryCatalog()
    run(catalog, [[record(due(number=one, place=(0, 5 + one)), one) for one in range(3)]])
    servers = Servers(Broker(earliest=7, end=9), MemoryProgress(tables=catalog.tables))
    with capture_logs() as logs:
        expiry.report_waiting(servers, replace(settings, checkpoint_dir=settings.checkpoint_dir / "new", shards=shards))

    assert [(line["event"], line["dues"]) for line in logs] == [
        ("dues_wait_for_expired_records", count) for count in counts
    ]

"""Replay on real jobs: a record that is good by now becomes rows, once; one that is still bad comes back, and is told of."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from deploy.local.running import RunningStack, wait_until
from deploy.local.supervision.programs import ROOT
from operators.connectors.kafka.log import producer_config
from operators.connectors.kafka.positions import Positions
from operators.connectors.kafka.sending import RawRecord, RecordSender
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.stream.dead_letter import rejected
from operators.stream.step import Record
from pipelines.batch.journal import FinishedPrefixes
from pipelines.batch.replay.dead_letters import LetterReading, spans_of
from schemas.codec import encode
from schemas.events import Event, RecordRejected, event_id
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_QUARANTINED, INSTANCE_STORED, RECORD_REJECTED, record_key
from tests.support.worlds.catalog_histories import in_tenant, quarantined

SOON_S = 60.0
NOW = datetime.now(UTC)


@pytest.fixture
def tenant() -> str:
    return f"test-{uuid4().hex[:20]}"


@pytest.fixture(scope="module")
def broker(stack: RunningStack) -> BrokerSettings:
    return load(BrokerSettings, stack.env)


def letters(broker: BrokerSettings, tenant: str) -> list[RecordRejected]:
    reading = LetterReading(broker, spans_of(Positions(broker)))
    return [one.event for one in reading.letters() if one.event.tenant == tenant]


def reject(broker: BrokerSettings, records: Sequence[Record], *jobs: str) -> None:
    """Send the dead letters of these records, as if jobs of an earlier release could not process them."""
    producer = Producer(producer_config(broker))
    for record in records:
        for job in jobs:
            event = rejected(record, job, "unexpected-error", NOW).event
            producer.produce(RECORD_REJECTED.name, encode(event), record.key)
    assert producer.flush(SOON_S) == 0


def replay(broker: BrokerSettings, runs: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return command(broker, runs, "pipelines.batch.replay", *arguments)


def dead_letters(broker: BrokerSettings, runs: Path, *arguments: str) -> list[dict[str, Any]]:
    done = command(broker, runs, "deploy.commands", "dead-letters", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def command(broker: BrokerSettings, runs: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a module of ours; return its end."""
    with started(broker, runs, *words) as process:
        out, err = process.communicate(timeout=3 * SOON_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(broker: BrokerSettings, runs: Path, *words: str) -> "subprocess.Popen[str]":
    """Start a module of ours."""
    settings = {
        "FLUORO_BROKER_BOOTSTRAP": broker.bootstrap,
        "FLUORO_BATCH_RUNS_DIR": str(runs),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env=os.environ | settings,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def of_tenant(event: Event, tenant: str, offset: int) -> Record:
    mine = in_tenant(event, tenant)
    return Record(INSTANCE_QUARANTINED.name, 3, offset, 0, record_key(mine), encode(mine))


def test_a_record_that_is_good_by_now_is_printed_then_sent_and_becomes_a_row_once(
    stack: RunningStack, broker: BrokerSettings, tenant: str, tmp_path: Path
) -> None:
    hidden = PostgresHiddenRows(stack.catalog("writer"))
    records = [of_tenant(quarantined(name), tenant, offset) for offset, name in enumerate(("a", "b", "c"))]
    reject(broker, records, "study", "catalog")
    wanted = ("--tenant", tenant, "--offset", "0-1")
    planned = replay(broker, tmp_path, *wanted)
    before = len(hidden.quarantined(tenant, 9))
    first, second = (
        replay(broker, tmp_path, *wanted, "--send", "--wait", "0"),
        replay(broker, tmp_path, *wanted, "--send"),
    )
    wait_until(lambda: len(hidden.quarantined(tenant, 9)) == 2, SOON_S, "what was sent does not become rows")

    assert planned.returncode == first.returncode == second.returncode == 0, first.stderr
    assert [line.split()[1:] for line in planned.stdout.splitlines()[1:3]] == [
        ["3", str(offset), str(len(records[offset].value)), "catalog,study", "2", "unexpected-error"]
        for offset in (0, 1)
    ]
    assert before == 0
    assert first.stdout == "2 of 2 records sent; nobody has looked what came back.\n"
    assert second.stdout == "2 of 2 records sent, 0 rejected again.\n"
    assert len(letters(broker, tenant)) == 2 * len(records)


def test_a_record_that_is_still_bad_comes_back_as_the_same_record(
    broker: BrokerSettings, tenant: str, tmp_path: Path
) -> None:
    key = f"{tenant}/1.2.3".encode()
    RecordSender(broker).send([RawRecord(INSTANCE_STORED.name, key, b"poison")])
    wait_until(
        lambda: {one.operator for one in letters(broker, tenant)} == {"study", "catalog"}, SOON_S, "not rejected"
    )
    first = replay(broker, tmp_path, "--tenant", tenant, "--send", "--wait", "0")
    second = replay(broker, tmp_path, "--tenant", tenant, "--send", "--most-back", "0")
    found = letters(broker, tenant)
    back, last = second.stdout.splitlines()
    listed = dead_letters(broker, tmp_path, "list", "--tenant", tenant)
    (shown,) = dead_letters(broker, tmp_path, "show", found[0].event_id)

    assert (first.returncode, second.returncode) == (0, 1)
    assert first.stdout == "1 of 1 records sent; nobody has looked what came back.\n"
    assert back.startswith(f"rejected again: {INSTANCE_STORED.name}/")
    assert last == "1 of 1 records sent, 1 rejected again."
    assert "1 rejected again are too many" in second.stderr
    assert {(one.origin_key, one.origin_value, one.reason) for one in found} == {(key, b"poison", "not-an-event")}
    assert len({one.event_id for one in found}) == 6
    assert [(one["operator"], one["dead_letters"], one["records"]) for one in listed] == [
        ("catalog", 3, 1),
        ("study", 3, 1),
    ]
    assert (shown["this_release_reads"], shown["size_bytes"]) == ("nothing: not-an-event", len(b"poison"))


def test_what_no_job_has_read_in_time_is_told_of_and_its_run_goes_on_behind_it(
    broker: BrokerSettings, tenant: str, tmp_path: Path
) -> None:
    reject(broker, [of_tenant(quarantined(str(event_id(tenant))), tenant, 0)], "catalog")
    asked = ("--tenant", tenant, "--send", "--run", "mine")
    told = replay(broker, tmp_path, *asked, "--wait", "0.001")
    again, finished = replay(broker, tmp_path, *asked), replay(broker, tmp_path, *asked)

    assert (told.returncode, again.returncode, finished.returncode) == (1, 0, 0)
    assert again.stdout == "0 of 0 records sent, 0 rejected again.\n"
    assert "Run mine was finished at" in finished.stderr
    assert told.stdout == "1 of 1 records sent; nobody has looked what came back.\n"
    assert "job catalog did not read what was sent within 0.001 s" in told.stderr


def test_a_replay_that_is_interrupted_says_how_to_go_on_and_sends_nothing_twice(
    broker: BrokerSettings, tenant: str, tmp_path: Path
) -> None:
    reject(broker, [of_tenant(quarantined(str(event_id(tenant))), tenant, 0)], "catalog")
    asked = ("--tenant", tenant, "--send", "--run", "mine")
    with started(broker, tmp_path, "pipelines.batch.replay", *asked) as running:
        # Jobs commit with their next checkpoint: until then the replay waits for them.
        wait_until(lambda: len(FinishedPrefixes.of(tmp_path / "mine")) == 1, SOON_S, "nothing is sent")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=SOON_S)
    if "0 rejected again" in out:
        pytest.skip("the jobs had read the record before the signal came")
    again = replay(broker, tmp_path, *asked)

    assert running.returncode == 130
    assert err.splitlines()[-1] == "Interrupted: --run mine goes on."
    assert out == "1 of 1 records sent; nobody has looked what came back.\n"
    assert (again.returncode, again.stdout) == (0, "0 of 0 records sent, 0 rejected again.\n")

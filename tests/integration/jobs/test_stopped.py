"""Jobs stop for good when they reject too many records or lack a schema: alone, and until an operator mends the cause."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, Producer
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from deploy.install.layout import Layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, wait_until
from deploy.local.supervision.programs import ROOT
from operators.connectors.kafka.log import producer_config
from operators.connectors.kafka.positions import Positions
from operators.connectors.kafka.sending import RawRecord, RecordSender
from operators.stream.rejections import TOO_MANY_REJECTED as TOO_MANY
from operators.stream.rejections import WATCHED
from pipelines import jobs
from pipelines.batch.replay.resending import jobs_behind
from schemas.codec import HEADER_BYTES, MARKER, decode, encode, newest
from schemas.events import InstanceStored, RecordRejected
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import (
    INSTANCE_STORED,
    RECORD_REJECTED,
    STUDY_CATALOGED,
    STUDY_DUE,
    STUDY_SETTLED,
    TRANSFER_ENDED,
    Topic,
    study_key,
)
from tests.support.machine.running_stack import environment_without_settings
from tests.support.worlds.studies import STUDY, TENANT, ended, instance

SOON_S = 60.0
BAD = JobSettings().rejected_in_a_row
KEY = study_key(TENANT, STUDY)
JOBS = [job.name for job in jobs.JOBS]
# Of the code of this clone, what a stack runs.
CODE = ("schemas", "operators", "gateway", "api", "pipelines", "deploy", "flink-jobs")
INSTALLED = (".venv", ".tools", "requirements.lock")


@dataclass(frozen=True)
class Stopped:
    """What was seen of a stack whose jobs stopped one after the other, and which was started anew."""

    bad: list[bytes]
    catalog: dict[str, Any]
    letters: list[RecordRejected]
    with_one: dict[str, str]
    more: list[bytes]
    all_letters: list[RecordRejected]
    after_kill: dict[str, str]


@pytest.fixture(scope="module")
def data(installed: Layout) -> Iterator[DataFolder]:
    """A folder of this module's own, because a stopped job would disturb the tests that share a stack."""
    assert installed
    folder = Path(tempfile.mkdtemp(prefix="fluoro-stopped-"))
    folder.chmod(0o755)
    yield DataFolder(folder / "data")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def code(data: DataFolder) -> Path:
    """A copy of the code, into whose folder of schemas a test may put another one."""
    root = data.root.with_name("code")
    root.mkdir()
    for name in CODE:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in INSTALLED:
        (root / name).symlink_to((ROOT / name).resolve())
    return root


def stack_on(data: DataFolder, root: Path = ROOT, **settings: str) -> AbstractContextManager[RunningStack]:
    env, out = (
        environment_without_settings() | {"FLUORO_JOB_CHECKPOINT_S": "1"} | settings,
        data.root.with_name("up.log"),
    )
    return brought_up(data, env, options=("--free-ports",), out=out, root=root)


@pytest.fixture(scope="module")
def stopped(data: DataFolder) -> Stopped:
    """Send both jobs too many bad records, then kill their launcher."""
    with stack_on(data) as stack:
        # Only the catalog job reads dues; the study job goes on, and sends one more.
        bad = send_bad(stack, STUDY_DUE)
        catalog = wait_until_stopped(stack, "catalog")
        letters = dead_letters(stack)
        send_study(stack)
        wait_until(lambda: records_in(stack, STUDY_DUE.name) == BAD + 1, SOON_S, "the other job does not go on")
        with_one = states(stack)
        more = send_bad(stack, TRANSFER_ENDED)
        wait_until_stopped(stack, "study")
        all_letters = dead_letters(stack)
        stack.kill("flink")
        stack.wait_healthy("flink", SOON_S)
        return Stopped(bad, catalog, letters, with_one, more, all_letters, states(stack))


@pytest.fixture(scope="module")
def stack(data: DataFolder, code: Path, stopped: Stopped) -> Iterator[RunningStack]:
    """The same data under a stack that bears more rejected records in a row; its jobs have stopped."""
    assert stopped
    with stack_on(data, code, FLUORO_JOB_REJECTED_IN_A_ROW=str(3 * BAD)) as started:
        yield started


def broker_of(stack: RunningStack) -> BrokerSettings:
    return load(BrokerSettings, stack.env)


def send_bad(stack: RunningStack, topic: Topic) -> list[bytes]:
    """Send as many records that are no event as stop a job that reads the topic; return their values."""
    producer, values = (
        Producer(producer_config(broker_of(stack))),
        [f"{topic.name} {one}".encode() for one in range(BAD)],
    )
    for value in values:
        producer.produce(topic.name, key=KEY, value=value)
    assert producer.flush(SOON_S) == 0
    return values


def wait_until_stopped(stack: RunningStack, job: str, reason: str = TOO_MANY) -> dict[str, Any]:
    """Wait until a job has failed for this reason and the launcher has said so; return its last line."""
    wait_until(lambda: states(stack).get(job) == "FAILED", SOON_S, f"job {job} does not stop")
    wait_until(lambda: bool(stops(stack, job, reason)), SOON_S, f"the launcher does not say that job {job} has stopped")
    return stops(stack, job, reason)[-1]


def stops(stack: RunningStack, job: str, reason: str) -> list[dict[str, Any]]:
    """Return what the launcher has logged of a job's stops for a reason since it was started."""
    lines = (stack.logs / "flink.log").read_text().splitlines()
    logged = map(json.loads, filter(lambda line: line.startswith("{"), lines))
    return [
        line for line in logged if (line["event"], line.get("job"), line.get("reason")) == ("job_stopped", job, reason)
    ]


def of_the_next_release(event: InstanceStored) -> tuple[bytes, str]:
    """Return an event as the next release writes it, with a field that this one does not know, and its schema."""
    before = newest("InstanceStored")
    source = json.loads(before.path.read_text())
    source["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    body, record = io.BytesIO(), schemaless_reader(io.BytesIO(encode(event)[HEADER_BYTES:]), before.schema, None)
    assert isinstance(record, dict)
    schemaless_writer(body, parse_schema(source, named_schemas={}), record | {"colour": "red"})
    crc = fingerprint(to_parsing_canonical_form(source), "CRC-64-AVRO")
    return MARKER + bytes.fromhex(crc) + body.getvalue(), json.dumps(source)


def send_study(stack: RunningStack) -> None:
    """Send a study of two instances and the end of their transfer, which makes it due."""
    producer, transfer = Producer(producer_config(broker_of(stack))), str(uuid4())
    for number in (1, 2):
        producer.produce(INSTANCE_STORED.name, key=KEY, value=encode(instance(number, transfer)))
    producer.produce(TRANSFER_ENDED.name, key=KEY, value=encode(ended(transfer, 2)))
    assert producer.flush(SOON_S) == 0


def states(stack: RunningStack) -> dict[str, str]:
    """Return the state of each job's newest run."""
    jobs = httpx.get(f"{stack.flink_url}/jobs/overview").raise_for_status().json()["jobs"]
    return {job["name"]: job["state"] for job in sorted(jobs, key=lambda job: job["start-time"])}


def records_in(stack: RunningStack, topic: str) -> int:
    return sum(extent.end - extent.earliest for extent in Positions(broker_of(stack)).extents([topic]).values())


def dead_letters(stack: RunningStack) -> list[RecordRejected]:
    """Return the dead letters that are in their topic now, each event once."""
    group = {"group.id": f"test-{uuid4()}", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": broker_of(stack).bootstrap, **group})
    consumer.subscribe([RECORD_REJECTED.name])
    found, deadline = {}, time.monotonic() + SOON_S
    try:
        for _ in range(records_in(stack, RECORD_REJECTED.name)):
            message = consumer.poll(deadline - time.monotonic())
            assert message is not None, "the dead letters cannot be read"
            event = decode(message.value() or b"")
            assert isinstance(event, RecordRejected)
            found[event.event_id] = event
    finally:
        consumer.close()
    return list(found.values())


def command(data: DataFolder, *words: str) -> str:
    """Run a command of operators; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.commands", *words],
        env=os.environ | {"FLUORO_DATA": str(data.root)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SOON_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_job_that_rejects_too_many_records_in_a_row_stops_alone_and_stays_stopped(stopped: Stopped) -> None:
    assert {(letter.operator, letter.reason) for letter in stopped.letters} == {("catalog", "not-an-event")}
    assert sorted(letter.origin_value or b"" for letter in stopped.letters) == sorted(stopped.bad)
    assert stopped.with_one == {"study": "RUNNING", "catalog": "FAILED"}
    by_study = [letter.origin_value or b"" for letter in stopped.all_letters if letter.operator == "study"]
    assert sorted(by_study) == sorted(stopped.more)
    assert stopped.catalog["reason"] == TOO_MANY
    assert "jobs resume catalog" in stopped.catalog["do"]
    assert f"{BAD} records in a row were rejected: at offsets study-due/" in stopped.catalog["why"]
    assert f"reasons not-an-event {BAD}" in stopped.catalog["why"]
    assert stopped.after_kill == {}


def test_stopped_jobs_go_on_when_they_are_resumed(data: DataFolder, stack: RunningStack) -> None:
    listed = command(data, "jobs", "list")
    for job in JOBS:
        command(data, "jobs", "resume", job)
    wait_until(lambda: set(states(stack)) == set(JOBS), SOON_S, "the jobs are not resumed")
    wait_until(lambda: records_in(stack, STUDY_SETTLED.name) > 0, SOON_S, "the study does not settle")

    assert [line.split()[1] for line in listed.splitlines() if line.startswith("job")] == list(JOBS)


def test_jobs_that_lack_a_schema_stop_until_its_file_is_there_and_need_nothing_else(
    stack: RunningStack, code: Path
) -> None:
    value, schema = of_the_next_release(instance(3, "next"))
    cataloged = records_in(stack, STUDY_CATALOGED.name)
    (position,) = RecordSender(broker_of(stack)).send([RawRecord(INSTANCE_STORED.name, KEY, value)])
    assert position
    last = {(INSTANCE_STORED.name, position.partition): position.offset}
    for job in JOBS:
        wait_until_stopped(stack, job, "unknown-schema")
    (code / "schemas" / "avro" / "instance_stored" / "v99.avsc").write_text(schema)
    wait_until(lambda: not jobs_behind(Positions(broker_of(stack)), last), SOON_S, "the jobs do not go on")

    assert records_in(stack, STUDY_CATALOGED.name) > cataloged
    assert not [letter for letter in dead_letters(stack) if letter.origin_value == value]


def test_a_job_that_rejects_more_than_one_percent_of_many_records_stops(stack: RunningStack) -> None:
    producer, good = Producer(producer_config(broker_of(stack))), encode(ended("many", 0))
    for number in range(WATCHED):
        producer.produce(TRANSFER_ENDED.name, key=KEY, value=good if number % 90 else b"%d" % number)
        producer.poll(0)
    assert producer.flush(SOON_S) == 0
    told = f"of the last {WATCHED} records were rejected"
    wait_until(lambda: any(told in stop["why"] for stop in stops(stack, "study", TOO_MANY)), SOON_S, "no stop is told")

    assert states(stack)["study"] == "FAILED"

"""A job that rejects too many records stops for good, alone; the dead letters are sent, and an operator lets it go on."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, Producer

from deploy.install.layout import Layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, wait_until
from deploy.local.supervision.programs import ROOT
from operators.connectors.kafka.log import producer_config
from operators.connectors.kafka.positions import Positions
from schemas.codec import decode, encode
from schemas.events import RecordRejected
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import (
    INSTANCE_STORED,
    RECORD_REJECTED,
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


@pytest.fixture(scope="module")
def data(installed: Layout) -> Iterator[DataFolder]:
    """A folder of this module's own, because a stopped job would disturb the tests that share a stack."""
    assert installed
    folder = Path(tempfile.mkdtemp(prefix="fluoro-stopped-"))
    folder.chmod(0o755)
    yield DataFolder(folder / "data")
    shutil.rmtree(folder)


def stack_on(data: DataFolder, **settings: str) -> AbstractContextManager[RunningStack]:
    kept = environment_without_settings()
    return brought_up(data, kept | settings, options=("--free-ports",), out=data.root.with_name("up.log"))


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


def wait_until_stopped(stack: RunningStack, job: str) -> dict[str, Any]:
    """Wait until a job has failed and the launcher has said so; return its line."""
    wait_until(lambda: states(stack).get(job) == "FAILED", SOON_S, f"job {job} does not stop")
    wait_until(lambda: bool(stops(stack, job)), SOON_S, f"the launcher does not say that job {job} has stopped")
    return stops(stack, job)[0]


def stops(stack: RunningStack, job: str) -> list[dict[str, Any]]:
    """Return what the launcher has logged of a job's stop."""
    lines = (stack.logs / "flink.log").read_text().splitlines()
    logged = map(json.loads, filter(lambda line: line.startswith("{"), lines))
    return [line for line in logged if line["event"] == "job_stopped" and line["job"] == job]


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


def test_a_job_that_rejects_too_many_records_stops_alone_until_it_is_resumed(data: DataFolder) -> None:
    with stack_on(data, FLUORO_JOB_CHECKPOINT_S="1") as stack:
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
        after_kill = states(stack)
    with stack_on(data, FLUORO_JOB_REJECTED_IN_A_ROW=str(3 * BAD)) as stack:
        listed = command(data, "jobs", "list")
        for job in ("study", "catalog"):
            command(data, "jobs", "resume", job)
        wait_until(lambda: set(states(stack)) == {"study", "catalog"}, SOON_S, "the jobs are not resumed")
        wait_until(lambda: records_in(stack, STUDY_SETTLED.name) > 0, SOON_S, "the study does not settle")

    assert {(letter.operator, letter.reason) for letter in letters} == {("catalog", "not-an-event")}
    assert sorted(letter.origin_value or b"" for letter in letters) == sorted(bad)
    assert with_one == {"study": "RUNNING", "catalog": "FAILED"}
    assert sorted(letter.origin_value or b"" for letter in all_letters if letter.operator == "study") == sorted(more)
    assert (catalog["reason"], "jobs resume catalog" in catalog["do"]) == ("too-many-rejected", True)
    assert f"{BAD} records in a row were rejected: at offsets study-due/" in catalog["why"]
    assert f"reasons not-an-event {BAD}" in catalog["why"]
    assert after_kill == {}
    assert [line.split()[1] for line in listed.splitlines() if line.startswith("job")] == ["study", "catalog"]

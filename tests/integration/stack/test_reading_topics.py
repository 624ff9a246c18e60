"""Topics of a real broker are read by the command, and by the lines that docs/topics.md prints."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from deploy.install import layout
from operators.connectors.kafka import reading
from operators.connectors.kafka.clients import client_config
from operators.connectors.kafka.log import KafkaEventLog, producer_config
from operators.connectors.kafka.reading import TopicReader
from operators.connectors.kafka.topics import prepare_topics
from operators.errors import Unavailable
from schemas.events import StudyCataloged, event_id
from schemas.settings.reading import to_env
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_CONFLICT, PARTITIONS, STUDY_CATALOGED, STUDY_DUE, TRANSFER_ENDED
from tests.support.machine.own_broker import own_broker
from tests.support.worlds.catalog_histories import due, ended

NOWHERE = "127.0.0.1:1"
ROOT = Path(__file__).parents[3]
STUDIES = 40
PATIENCE_S = 60.0
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def broker(installed: layout.Layout, data_folder: Path) -> Iterator[BrokerSettings]:
    """A broker with 40 events of study-cataloged, and behind them a record that is none."""
    assert installed
    with own_broker(data_folder.with_name("broker-to-read")) as started:
        # New topics have no leaders at first.
        settings = replace(started, produce_s=PATIENCE_S)
        asyncio.run(filled(settings))
        producer = Producer(producer_config(settings))
        producer.produce(STUDY_CATALOGED.name, value=b"DOE^JANE", key=b"x", partition=3)
        assert producer.flush(PATIENCE_S) == 0
        yield settings


async def filled(settings: BrokerSettings) -> None:
    await prepare_topics(settings)
    async with KafkaEventLog(settings) as log:
        for number in range(STUDIES):
            await log.publish(STUDY_CATALOGED, cataloged(number))
        await log.publish(STUDY_DUE, due("1.2.3"))
        await log.publish(TRANSFER_ENDED, ended("1.2.3"))


def cataloged(number: int) -> StudyCataloged:
    study = f"1.2.{number}"
    return StudyCataloged(
        event_id=event_id("local", study), tenant="local", occurred_at=NOON, study_uid=study, version=number
    )


def environment(broker: BrokerSettings) -> Mapping[str, str]:
    return {**os.environ, **to_env(broker), "PYTHONPATH": str(ROOT)}


def command(broker: BrokerSettings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a topic command, and return its output."""
    words = [sys.executable, "-m", "deploy.commands", "topics", *arguments]
    return subprocess.run(
        words, cwd=ROOT, env=environment(broker), capture_output=True, text=True, timeout=120, check=False
    )


def printed(broker: BrokerSettings, *arguments: str) -> list[dict[str, object]]:
    """Return the lines of JSON that reading study-cataloged prints."""
    done = command(broker, "read", STUDY_CATALOGED.name, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_topic_is_read_in_the_order_in_which_it_was_written(broker: BrokerSettings) -> None:
    lines = printed(broker)

    assert [one["value"]["version"] for one in lines if "value" in one] == list(range(STUDIES))  # type: ignore[index]
    assert len({one["partition"] for one in lines}) > 4
    assert [(one["partition"], one["error"]) for one in lines if "error" in one] == [(3, "no single-object marker")]


def test_a_span_of_time_and_a_span_of_offsets_are_read(broker: BrokerSettings) -> None:
    lines = printed(broker)
    middle = str(lines[20]["time"])
    (one,) = printed(broker, "--partition", str(lines[0]["partition"]), "--from", "0", "--to", "1")

    assert one == lines[0]
    assert printed(broker, "--from", middle) == [line for line in lines if str(line["time"]) >= middle]
    assert printed(broker, "--to", middle) == [line for line in lines if str(line["time"]) < middle]
    assert printed(broker, "--since", "1h") == lines
    assert printed(broker, "--from", "2030-01-01") == []


def test_the_limit_ends_the_reading(broker: BrokerSettings) -> None:
    done = command(broker, "read", STUDY_CATALOGED.name, "--limit", "3")

    assert (done.returncode, done.stderr) == (0, "There are more: this is the --limit of 3.\n")
    assert [row.split()[3] for row in done.stdout.splitlines()] == ["local/1.2.0", "local/1.2.1", "local/1.2.2"]


def test_a_partition_that_there_is_not_is_said(broker: BrokerSettings) -> None:
    done = command(broker, "read", STUDY_CATALOGED.name, "--partition", "99")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "study-cataloged has partitions 0 to 15\n"


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly(broker: BrokerSettings) -> None:
    words = [sys.executable, "-m", "deploy.commands", "topics", "read", STUDY_CATALOGED.name, "--json"]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(broker), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (0, b"")


def test_a_topic_that_the_broker_does_not_have_is_said(broker: BrokerSettings) -> None:
    client = AdminClient(client_config(broker))
    client.delete_topics([INSTANCE_CONFLICT.name])[INSTANCE_CONFLICT.name].result(30)
    done = command(broker, "read", INSTANCE_CONFLICT.name)

    assert done.returncode == 1
    assert done.stderr == "the broker has no topic instance-conflict: python -m deploy.prepare topics makes it\n"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt, as in a terminal: a process that a script has put into the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_wait_for_a_broker(broker: BrokerSettings) -> None:
    nowhere = replace(broker, bootstrap=NOWHERE)
    interruption = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    began = time.monotonic()
    with TopicReader(nowhere, STUDY_CATALOGED.name, {0: range(1)}) as reader:
        interruption.start()
        with pytest.raises(KeyboardInterrupt):
            next(reader.records())

    assert time.monotonic() - began < reading.SILENCE_S


def test_a_broker_that_sends_nothing_is_unavailable(broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SILENCE_S", 0.5)
    nowhere = replace(broker, bootstrap=NOWHERE)
    with TopicReader(nowhere, STUDY_CATALOGED.name, {0: range(1)}) as reader, pytest.raises(Unavailable):
        next(reader.records())


def test_records_that_are_far_apart_are_read_with_a_bounded_number_waiting(
    broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_RECORDS", 2)
    spans = {partition: range(1000) for partition in range(PARTITIONS)}
    with TopicReader(broker, STUDY_CATALOGED.name, spans) as reader:
        records = list(reader.records())

    assert len(records) == STUDIES + 1
    assert len({(one.partition, one.offset) for one in records}) == len(records)
    assert [one.timestamp_ms for one in records] == sorted(one.timestamp_ms for one in records)


def test_the_lines_of_the_page_decode_topics_as_printed(broker: BrokerSettings, tmp_path: Path) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/topics.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "decode.py").write_text(lines)
    (tmp_path / "schemas").mkdir()
    shutil.copytree(ROOT / "schemas/avro", tmp_path / "schemas/avro")
    words = [sys.executable, "-I", "decode.py", broker.bootstrap, STUDY_DUE.name, TRANSFER_ENDED.name]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)

    assert len([line for line in lines.splitlines() if line and not line.startswith("import ")]) == 10
    assert (done.returncode, done.stderr) == (0, "")
    printed_lines = done.stdout.splitlines()
    assert len(printed_lines) == 2
    assert all("'study_uid': '1.2.3'" in line and "datetime.datetime(2026" in line for line in printed_lines)
    assert {word for word in ("'signal': 'quiet'", "'outcome': 'well'") if word in done.stdout} == {
        "'signal': 'quiet'",
        "'outcome': 'well'",
    }

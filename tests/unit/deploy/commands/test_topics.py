"""The topic commands: what they take, and what they print of a record; real brokers are in tests/integration."""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.commands.__main__ import main
from deploy.commands.topics import (
    GROUP,
    decoded,
    end_place,
    explain_nothing,
    first,
    first_place,
    line,
    print_records,
    unix_ms,
)
from operators.stream.step import Record
from schemas.codec import MARKER, encode
from schemas.events import StudyCataloged, event_id
from schemas.topics import STUDY_CATALOGED, STUDY_FACTS, TOPICS, Topic, record_key

ROOT = Path(__file__).parents[4]
AT = datetime(2026, 11, 30, 8, 15, tzinfo=UTC)
EVENT = StudyCataloged(
    event_id=event_id("local", "1.2.3"), tenant="local", occurred_at=AT, study_uid="1.2.3", version=7, cause=("a",)
)


def record(value: bytes = encode(EVENT), offset: int = 5) -> Record:
    return Record(STUDY_CATALOGED.name, 3, offset, int(AT.timestamp() * 1000), record_key(EVENT), value)


def test_every_topic_is_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "list", "--json"]) == 0

    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["topic"] for one in listed] == [topic.name for topic in TOPICS]
    assert {one["topic"] for one in listed if one["patient_data"]} == {
        "instance-stored",
        "instance-quarantined",
        "study-command",
        "policy-changed",
        "record-rejected",
    }


def test_people_are_shown_who_reads_and_writes_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "list"]) == 0

    (row,) = (row for row in capsys.readouterr().out.splitlines() if row.startswith("instance-stored"))
    readers_and_rest = ["study,", "catalog", "7", "days", "yes"]
    assert row.split() == ["instance-stored", "tenant/study", "gateway,", "rebuild,", "verify", *readers_and_rest]


def test_an_unknown_topic_is_answered_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["topics", "read", "study-setled"])

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "there is no topic 'study-setled'; there are instance-stored, transfer-ended" in said


@pytest.mark.parametrize("topic", [topic.name for topic in TOPICS if topic.restricted])
def test_a_topic_with_patient_data_is_not_read_by_mistake(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "read", topic]) == 1
    assert capsys.readouterr() == ("", f"{topic} holds patient data: say --patient-data to have it printed\n")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("120", 120),
        ("2026-11-30T09:15+01:00", AT),
        ("2026-11-30T08:15Z", AT),
    ],
)
def test_a_place_is_an_offset_or_a_time(text: str, read: int | datetime) -> None:
    assert first_place(text) == end_place(text) == read


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        ((), None),
        (("--from", "7"), 7),
        (("--since", "1h"), AT - timedelta(hours=1)),
        (("--since", "1h", "--to", "9"), AT - timedelta(hours=1)),
        (("--since", "1h", "--to", "2026-11-30T06:00Z"), AT.replace(hour=5, minute=0)),
    ],
)
def test_a_span_counts_back_from_the_end_or_from_now(words: tuple[str, ...], begin: int | datetime | None) -> None:
    parser = ArgumentParser()
    GROUP.commands[1].add_arguments(parser)

    assert first(parser.parse_args(["study-settled", *words]), AT) == begin


@pytest.mark.parametrize("text", ["-5", "yesterday", "٣"])
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"should be .* or an offset"):
        first_place(text)


def test_a_moment_before_1970_is_no_negative_time_which_brokers_read_otherwise() -> None:
    assert unix_ms(datetime(1, 1, 1, tzinfo=UTC)) == 0


def test_the_time_that_is_printed_of_a_record_leads_back_to_it() -> None:
    times = [1_796_009_226_000 + millisecond for millisecond in range(1000)]
    printed = [decoded(replace(record(), timestamp_ms=time_ms))["time"].isoformat() for time_ms in times]
    moments = [first_place(text) for text in printed]

    assert [unix_ms(moment) for moment in moments if isinstance(moment, datetime)] == times


def test_a_record_is_printed_with_its_place_and_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    print_records(iter([record()]), 5, as_lines_of_json=True)

    assert json.loads(capsys.readouterr().out) == {
        "topic": "study-cataloged",
        "partition": 3,
        "offset": 5,
        "time": "2026-11-30T08:15:00.000000+00:00",
        "key": "local/1.2.3",
        "event": "StudyCataloged",
        "value": {
            "event_id": EVENT.event_id,
            "tenant": "local",
            "occurred_at": "2026-11-30T08:15:00.000000+00:00",
            "cause": ["a"],
            "study_uid": "1.2.3",
            "version": 7,
        },
    }


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"DOE^JANE", "no single-object marker"),
        (b"", "no single-object marker"),
        (encode(EVENT)[:-1], "not a study_cataloged"),
        (MARKER + bytes(8) + b"DOE^JANE", "no schema with fingerprint 0000000000000000 in schemas/avro"),
    ],
)
def test_a_record_that_cannot_be_decoded_is_said_to_be_so_without_its_bytes(value: bytes, error: str) -> None:
    shown: dict[str, Any] = decoded(record(value))

    assert (shown["partition"], shown["offset"], shown["error"], shown["size_bytes"]) == (3, 5, error, len(value))
    assert "DOE" not in str(shown)
    assert line(shown) == f"2026-11-30 08:15:00Z  3:5  cannot be decoded: {error}, {len(value)} bytes"


def test_a_line_for_people_cannot_control_their_terminal() -> None:
    hostile = Record(STUDY_CATALOGED.name, 3, 5, 0, b"\x1b[2J", encode(EVENT))

    assert line(decoded(hostile)).isprintable()


def test_the_limit_is_said_when_there_are_more(capsys: pytest.CaptureFixture[str]) -> None:
    print_records((record(offset=offset) for offset in range(3)), 2, as_lines_of_json=True)
    printed = capsys.readouterr()

    assert [json.loads(line)["offset"] for line in printed.out.splitlines()] == [0, 1]
    assert printed.err == "There are more: this is the --limit of 2.\n"


def test_nothing_is_said_when_there_are_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    print_records(iter([record(), record()]), 2, as_lines_of_json=False)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("topic", "found", "said"),
    [
        (STUDY_FACTS, 0, "nothing in this time; study-facts is written only with FLUORO_FACTS_KEY\n"),
        (STUDY_FACTS, 2, ""),
        (STUDY_CATALOGED, 0, ""),
    ],
)
def test_an_empty_topic_that_a_setting_fills_names_the_setting(
    topic: Topic, found: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_nothing(topic, print_records(iter([record()] * found), 5, as_lines_of_json=True))

    assert capsys.readouterr().err == said


def test_a_broker_that_does_not_answer_is_said_in_a_line_and_never_on_standard_output() -> None:
    environ = {**os.environ, "FLUORO_BROKER_BOOTSTRAP": "127.0.0.1:1", "FLUORO_BROKER_PRODUCE_S": "1"}
    words = [sys.executable, "-m", "deploy.commands", "topics", "read", "study-settled", "--json"]
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("the broker cannot be used: 127.0.0.1:1: ")
    assert "Traceback" not in done.stderr

"""What the command prints: a plan without anything of the records' content, and one line for each problem."""

from datetime import UTC, datetime
from functools import partial

import pytest

from operators.connectors.kafka.positions import Positions
from operators.stream.dead_letter import rejected
from operators.stream.letters import DeadLetter, RejectedRecord, RejectedRecords
from operators.stream.step import Record
from pipelines.batch.replay.command import came_back, main, print_plan
from pipelines.batch.replay.resending import CameBack, Resending
from pipelines.batch.terminal import NOT_DONE, WRONG, ended
from schemas.events import RecordRejected
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORD = RejectedRecord(
    ("instance-stored", 3, 7), b"key", 6, frozenset({"study", "catalog"}), frozenset({"not-an-event"}), 3
)


def test_the_plan_has_a_line_for_each_record_and_says_that_nothing_was_sent(capsys: pytest.CaptureFixture[str]) -> None:
    records = RejectedRecords()
    records.by_id[b"1"] = RECORD
    print_plan(records)
    _, line, told = capsys.readouterr().out.splitlines()

    assert line.split() == ["instance-stored", "3", "7", "6", "catalog,study", "3", "not-an-event"]
    assert told == "1 records would be sent, 6 bytes. Nothing was sent: --send sends them."


def test_text_from_the_topic_cannot_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    records = RejectedRecords()
    records.by_id[b"1"] = RejectedRecord(
        ("x\x1b[2J\n", 3, 7), b"key", 6, frozenset({"study"}), frozenset({"not-an-event"}), 3
    )
    print_plan(records)

    assert "x?[2J?" in capsys.readouterr().out


def test_a_broker_that_does_not_answer_is_a_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"FLUORO_BROKER_BOOTSTRAP": "127.0.0.1:1", "FLUORO_BROKER_PRODUCE_S": "1"}

    assert ended(partial(main, [], environment)) == NOT_DONE
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_that_cannot_be_used_are_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(partial(main, [], {"FLUORO_BROKER_PRODUCE_S": "soon"})) == WRONG
    assert "FLUORO_BROKER_PRODUCE_S" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon"])
def test_a_wait_that_is_no_time_is_a_wrong_argument(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--wait", text], {})

    assert refused.value.code == 2
    assert "should be a number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "looked_at", "told"),
    [
        (50, 50, ", 1 rejected again"),
        (150, 50, ", 1 rejected again of the 50 that the jobs have read"),
        (50, 0, "; nobody has looked what came back"),
    ],
)
def test_what_nobody_has_looked_at_is_not_said_to_be_good(sent: int, looked_at: int, told: str) -> None:
    settings = load(BrokerSettings, {})
    resending = Resending(settings, Positions(settings), 60, lambda _: None, sent=sent, looked_at=looked_at)
    if looked_at:
        event = rejected(Record("t", 0, 0, 0, b"", b""), "study", "x", NOON).event
        assert isinstance(event, RecordRejected)
        letter = DeadLetter(event, NOON)
        resending.came_back = [CameBack(letter, letter)]

    assert came_back(resending) == told


def test_no_shortened_option_sends_anything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--s"], {})
    assert "--s" in capsys.readouterr().err

"""What the command prints: a plan without anything of the records' content, and one line for each problem."""

import pytest

from operators.stream.letters import RejectedRecord, RejectedRecords
from pipelines.batch.replay.__main__ import main, print_plan

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


def test_a_broker_that_does_not_answer_is_a_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_BROKER_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("FLUORO_BROKER_PRODUCE_S", "1")

    assert main([]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_that_cannot_be_used_are_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_BROKER_PRODUCE_S", "soon")

    assert main([]) == 2
    assert "FLUORO_BROKER_PRODUCE_S" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon"])
def test_a_wait_that_is_no_time_is_a_wrong_argument(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--wait", text])

    assert refused.value.code == 2
    assert "should be a number of seconds" in capsys.readouterr().err

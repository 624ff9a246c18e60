"""The auditor at the terminal: what keeps it from its work is a line, and never looks like a finding."""

import sys
from pathlib import Path

import pytest

from tests.audit import auditor


@pytest.mark.parametrize("lines", [None, b"no json\n", b'{"a": 1}\n'], ids=["missing", "no json", "another file"])
def test_a_ledger_that_cannot_be_read_is_told_of_and_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: bytes | None
) -> None:
    ledger = tmp_path / "sent.jsonl"
    if lines is not None:
        ledger.write_bytes(lines)
    monkeypatch.setattr(sys, "argv", ["auditor", "--dimse-ledger", str(ledger)])

    with pytest.raises(SystemExit) as ended:
        auditor.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("not audited: ")
    assert said.count("\n") == 1


def test_an_auditor_that_is_interrupted_says_nothing_about_the_archive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(auditor, "audited", interrupt)

    with pytest.raises(SystemExit) as ended:
        auditor.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1

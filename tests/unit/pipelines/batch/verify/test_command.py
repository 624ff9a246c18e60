"""The command refuses what it does not know, and writes into a file what it has found."""

import json
from pathlib import Path

import pytest

from operators.integrity.comparison import Finding
from pipelines.batch.journal import Run, RunJournal
from pipelines.batch.selection import Selection
from pipelines.batch.terminal import DONE, LEFT_OUT
from pipelines.batch.verify.command import main, make_parser, reported
from pipelines.batch.verify.findings import finished
from pipelines.batch.verify.passes import read_last
from pipelines.batch.verify.study import VerifiedStudy

KEYS = {"FLUORO_STORE_ACCESS_KEY": "a", "FLUORO_STORE_SECRET_KEY": "b"}
WRONG_ONE = Finding("hash", "local/1.2/1.2.1/1.2.1.1_aa.dcm", "hot")


@pytest.mark.parametrize(
    "argument", ["--cpu-share=0", "--cpu-share=2", "--cpu-share=much", "--study=1.2/3", "--repare"]
)
def test_wrong_arguments_are_refused(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([argument], KEYS)
    assert argument[2:].split("=", maxsplit=1)[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("findings", "selection", "status", "is_pass"),
    [
        ((), Selection(), DONE, True),
        ((WRONG_ONE,), Selection(), LEFT_OUT, True),
        ((), Selection(study_uid="1.2"), DONE, False),
    ],
    ids=["clean", "wrong", "a part"],
)
def test_a_finished_run_has_a_report_and_one_over_everything_is_kept_as_the_last_pass(
    tmp_path: Path, findings: tuple[Finding, ...], selection: Selection, status: int, *, is_pass: bool
) -> None:
    with Run.opened(tmp_path, "one", {}) as run, RunJournal(run.folder) as journal:
        journal.finish(finished("local/1.2/", VerifiedStudy(3, 3000, findings, len(findings), 0), []))
        run.finish()

    assert reported(tmp_path, make_parser().parse_args(["--run", "one"]), selection) == status
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert (report["objects"], report["found"]["hash"], len(report["findings"])) == (3, len(findings), len(findings))
    last = read_last(tmp_path)
    assert (last is not None) == is_pass
    assert last is None or (last.objects, last.found["hash"]) == (3, len(findings))

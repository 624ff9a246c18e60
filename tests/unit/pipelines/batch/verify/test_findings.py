"""What was found comes back from the journal as it was noted, and is counted by kind."""

from pathlib import Path

import pytest

from operators.integrity.comparison import KINDS, Finding
from pipelines.batch.journal import JournalReader, RunJournal, StoppedWorker
from pipelines.batch.verify.findings import VerificationReport, finished
from pipelines.batch.verify.study import VerifiedStudy

KEY = "local/1.2/1.2.1/1.2.1.1_aa.dcm"
HASH, COPIED = Finding("hash", KEY, "hot"), Finding("missing", f"{KEY}x", "hot", copy="cold")
UNINDEXED = Finding("unindexed", f"{KEY}y", "hot")
CLEAN = VerifiedStudy(2, 2000, (), 0, 1)
WRONG = VerifiedStudy(3, 3000, (HASH, COPIED, UNINDEXED), 1, 0)


def report_of(tmp_path: Path, *entries: tuple[str, VerifiedStudy, list[Finding]]) -> VerificationReport:
    with RunJournal(tmp_path) as journal:
        for entry in entries:
            journal.finish(finished(*entry))
    return VerificationReport.of(JournalReader(tmp_path).read())


def test_a_report_has_each_finding_with_its_key_and_what_was_done(tmp_path: Path) -> None:
    report = report_of(tmp_path, ("local/1.1/", CLEAN, []), ("local/1.2/", WRONG, [UNINDEXED]))

    told = report.as_json()
    assert told["findings"] == [
        {"kind": "hash", "tier": "hot", "key": KEY},
        {"kind": "missing", "tier": "hot", "key": f"{KEY}x", "copy": "cold"},
        {"kind": "unindexed", "tier": "hot", "key": f"{KEY}y", "repair": "published"},
    ]
    assert told["found"] == {kind: int(kind in ("hash", "missing", "unindexed")) for kind in KINDS}
    numbers = {name: told[name] for name in ("studies", "objects", "bytes", "marked", "unmarked", "published")}
    assert numbers == {"studies": 2, "objects": 5, "bytes": 5000, "marked": 1, "unmarked": 1, "published": 1}


@pytest.mark.parametrize(
    ("verified", "published", "is_clean"),
    [
        (CLEAN, [], True),
        (VerifiedStudy(1, 1000, (UNINDEXED,), 0, 0), [], False),
        (VerifiedStudy(1, 1000, (UNINDEXED,), 0, 0), [UNINDEXED], True),
        (WRONG, [UNINDEXED], False),
    ],
    ids=["nothing", "not repaired", "repaired", "repaired in part"],
)
def test_a_run_is_clean_if_all_that_was_found_was_repaired(
    tmp_path: Path, verified: VerifiedStudy, published: list[Finding], *, is_clean: bool
) -> None:
    assert report_of(tmp_path, ("local/1.2/", verified, published)).is_clean == is_clean


def test_a_study_that_was_done_twice_counts_once(tmp_path: Path) -> None:
    report = report_of(tmp_path, ("local/1.2/", WRONG, []), ("local/1.2/", CLEAN, []))

    assert (report.counts["studies"], report.is_clean) == (1, True)


def test_workers_that_stopped_are_no_findings() -> None:
    assert VerificationReport.of([StoppedWorker("store", "away")]).is_clean

"""What becomes of measured rounds: rows, a table, JSON, and a verdict beside an earlier run."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import check
from tests.bench.archives import FLUORO
from tests.bench.report.comparison import changes, missing
from tests.bench.report.results import Results, latest
from tests.bench.report.rounds import BYTES, ITEMS, Round, Row, rows
from tests.bench.report.table import table

PEER = "Orthanc, SQLite"
ROUNDS = {
    FLUORO: [Round(1e9, 10, {"minio": 6, "flink": 2}), Round(1e9, 20, {"minio": 8, "flink": 2}, 5_000_000, 0.5)],
    PEER: [Round(1e9, 5, {"Orthanc": 7}), Round(1e9, 16, {"Orthanc": 7})],
}
ROW = Row("CT", FLUORO, "MB/s", {"rate": 70.0, "cost": 10.0}, {"minio": 10.0}, {PEER: 0.5})
RESULTS = Results("2026-11-30T10:00:00Z", "abc", {"cores": 2}, 5, {"ingest": [ROW]})


def of(row: Row) -> Results:
    return replace(RESULTS, sections={"ingest": [row]})


def test_a_row_has_the_medians_of_its_rounds_and_the_cost_of_each_server() -> None:
    ours, theirs = rows("CT", BYTES, ROUNDS, FLUORO)

    assert ours.figures == {"rate": 75, "cost": 9, "peak_mb": 5, "others": 0.25}
    assert ours.cpu == {"minio": 7, "flink": 2}
    assert (theirs.figures["cost"], theirs.ratios) == (7, {})


def test_a_ratio_is_taken_within_each_round() -> None:
    ours, _ = rows("CT", BYTES, ROUNDS, FLUORO)

    assert ours.ratios == {PEER: 0.65}


def test_items_cost_milliseconds_and_their_answers_have_percentiles() -> None:
    one = Round(100, 2, {"web": 0.5}, times_s=[0.001] * 98 + [0.020, 0.030])

    (row,) = rows("GET", ITEMS, {FLUORO: [one]}, FLUORO)

    assert row.figures == {"rate": 50, "cost": 5, "p50_ms": 1, "p99_ms": 30, "others": 0}


def test_a_row_of_times_alone_says_nothing_of_cpu_and_of_others() -> None:
    (row,) = rows("settled", ITEMS, {FLUORO: [Round(0, 1, times_s=[0.2, 0.3])]}, FLUORO)

    assert row.figures == {"p50_ms": 300, "p99_ms": 300}


@pytest.mark.parametrize("rounds", [0, 1])
def test_an_archive_that_failed_in_a_round_is_not_compared(rounds: int) -> None:
    ours, *theirs = rows("CT", BYTES, {FLUORO: ROUNDS[FLUORO], PEER: ROUNDS[PEER][:rounds]}, FLUORO)

    assert ours.ratios == {}
    assert len(theirs) == rounds


def test_results_are_read_as_they_were_written() -> None:
    assert Results.read(RESULTS.text()) == RESULTS


def test_results_of_another_schema_are_refused() -> None:
    with pytest.raises(ValueError, match="schema 0"):
        Results.read('{"schema": 0}')


def test_the_table_leaves_out_columns_in_which_nothing_was_measured() -> None:
    assert table(RESULTS).splitlines() == [
        "Commit abc, 2026-11-30T10:00:00Z, 5 rounds, medians. cores 2.",
        "",
        "### ingest",
        "",
        "| work | archive | rate | ratio | CPU | of it |",
        "|---|---|---|---|---|---|",
        "| CT | Fluoro | 70 MB/s | 0.5 x Orthanc, SQLite | 10 s/GB | minio 10 |",
    ]


@pytest.mark.parametrize(
    ("changed", "worse"),
    [
        (ROW, []),
        (replace(ROW, figures={"rate": 7.0, "cost": 12.4}), []),
        (replace(ROW, figures={"rate": 70.0, "cost": 12.6}), ["CPU"]),
        (replace(ROW, ratios={PEER: 0.38}), []),
        (replace(ROW, ratios={PEER: 0.37}), [f"rate over {PEER}"]),
        (replace(ROW, ratios={}), []),
    ],
    ids=["same", "slower machine", "dearer", "a little slower", "slower than the peer", "without a peer"],
)
def test_a_run_is_worse_by_ratios_and_cpu_and_never_by_absolute_rates(changed: Row, worse: list[str]) -> None:
    assert [change.figure for change in changes(RESULTS, of(changed)) if change.is_worse] == worse


def test_a_cost_too_small_to_be_measured_is_not_worse() -> None:
    before, now = (of(replace(ROW, figures={"cost": cost})) for cost in (0.05, 0.25))

    assert not [change for change in changes(before, now) if change.is_worse]


def test_work_that_is_not_measured_any_more_is_named_unless_its_section_was_left_out() -> None:
    assert missing(RESULTS, of(replace(ROW, work="other"))) == ["ingest: CT"]
    assert missing(RESULTS, replace(RESULTS, sections={})) == []


def test_the_latest_results_of_each_section_count(tmp_path: Path) -> None:
    newer = replace(RESULTS, at="2027-01-01T00:00:00Z", sections={"wado": [ROW]})
    (tmp_path / "a.json").write_text(newer.text())
    (tmp_path / "b.json").write_text(replace(RESULTS, sections={"ingest": [ROW], "wado": []}).text())

    assert latest(tmp_path) == replace(newer, sections={"ingest": [ROW], "wado": [ROW]})
    assert latest(tmp_path / "none") is None


@pytest.mark.parametrize(("cost", "status"), [(10.0, 0), (20.0, 1)])
def test_the_check_fails_on_a_run_that_is_worse(
    cost: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "before.json").write_text(RESULTS.text())
    (tmp_path / "now.json").write_text(of(replace(ROW, figures={"rate": 70.0, "cost": cost})).text())

    assert check.main([str(tmp_path / "now.json"), "--before", str(tmp_path / "before.json")]) == status
    assert f"CPU 10 -> {cost:g}" in capsys.readouterr().out


def test_a_check_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(tmp_path / "none.json"), "--before", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_the_committed_results_can_be_read() -> None:
    for path in check.RESULTS.glob("*.json"):
        assert Results.read(path.read_text(encoding="utf-8")).sections

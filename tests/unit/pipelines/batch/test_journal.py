"""A run goes on where it was: what is in its journal is not done again."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from operators.errors import Unavailable
from pipelines.batch.journal import (
    Finished,
    FinishedPrefixes,
    JournalReader,
    Run,
    RunJournal,
    RunRefused,
    StoppedWorker,
)

STUDY = Finished("local/1.2/", {"instances": 2}, {"local/1.2/x": "no-envelope"})
OTHER = Finished("local/1.3/", {"instances": 1})
ALL = {"pipeline": "rebuild"}


def test_what_workers_have_finished_is_read_back(tmp_path: Path) -> None:
    for finished in (STUDY, OTHER):
        with RunJournal(tmp_path) as journal:
            journal.finish(finished)

    assert {entry.prefix for entry in JournalReader(tmp_path).read() if isinstance(entry, Finished)} == {
        STUDY.prefix,
        OTHER.prefix,
    }
    assert STUDY.prefix in FinishedPrefixes.of(tmp_path)
    assert "local/1.4/" not in FinishedPrefixes.of(tmp_path)


def test_a_reader_yields_each_entry_once(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path)
    with RunJournal(tmp_path) as journal:
        journal.finish(STUDY)
        first = list(reader.read())
        journal.finish(OTHER)

        assert first == [STUDY]
        assert list(reader.read()) == [OTHER]


def test_the_torn_last_line_of_a_killed_worker_counts_for_nothing(tmp_path: Path) -> None:
    with RunJournal(tmp_path) as journal:
        journal.finish(STUDY)
        journal.finish(OTHER)
    (path,) = tmp_path.glob("*.lines")
    whole = path.read_bytes()

    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        entries = list(JournalReader(tmp_path).read())
        assert entries == [STUDY, OTHER][: len(entries)]
        assert len(entries) == whole[:cut].count(b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b"5",
        b'"prefix"',
        b'["prefix"]',
        b'{"prefix": 5}',
        b'{"prefix": "local/1.3/", "counts": 3}',
        b'{"prefix": "local/1.3/", "counts": {"objects": "many"}}',
        b'{"prefix": "local/1.3/", "left_out": {"local/1.3/x": null}}',
        b'{"prefix": "local/1.3/", "other": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda line: str(line[:40]),
)
def test_a_damaged_line_counts_for_nothing_and_those_behind_it_do(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.lines").write_bytes(line + b"\n" + json.dumps(asdict(STUDY)).encode() + b"\n")

    assert list(JournalReader(tmp_path).read()) == [STUDY]
    assert len(FinishedPrefixes.of(tmp_path)) == 1


def test_a_disk_that_takes_no_line_is_told_of(tmp_path: Path) -> None:
    with RunJournal(tmp_path) as journal, Path("/dev/full").open("ab", buffering=0) as full:
        os.dup2(full.fileno(), journal.fileno())
        with pytest.raises(Unavailable, match="No space left on device"):
            journal.finish(STUDY)


@pytest.mark.parametrize("text", ["", "{", "5", "[1]"])
def test_a_run_whose_description_is_damaged_begins_anew_only_when_asked(tmp_path: Path, text: str) -> None:
    with Run.opened(tmp_path, "one", ALL) as run, RunJournal(run.folder) as journal:
        journal.finish(STUDY)
    (tmp_path / "one" / "run.json").write_text(text)

    with pytest.raises(RunRefused, match="is damaged: name another run, or begin it anew with --again"):
        Run.opened(tmp_path, "one", ALL)
    with Run.opened(tmp_path, "one", ALL, again=True) as run:
        assert STUDY.prefix not in FinishedPrefixes.of(run.folder)


def test_a_run_that_was_killed_while_it_began_anew_has_finished_nothing(tmp_path: Path) -> None:
    with Run.opened(tmp_path, "one", ALL) as run, RunJournal(run.folder) as journal:
        journal.finish(STUDY)
    (tmp_path / "one" / "run.json").unlink()

    with Run.opened(tmp_path, "one", ALL) as run:
        assert STUDY.prefix not in FinishedPrefixes.of(run.folder)


def test_a_worker_that_stops_says_why(tmp_path: Path) -> None:
    with RunJournal(tmp_path) as journal:
        journal.stop("store", "127.0.0.1:9000: no answer in time")

    assert list(JournalReader(tmp_path).read()) == [StoppedWorker("store", "127.0.0.1:9000: no answer in time")]


def test_a_finished_run_says_so_and_begins_anew_only_when_asked(tmp_path: Path) -> None:
    with Run.opened(tmp_path, "one", ALL) as run, RunJournal(run.folder) as journal:
        journal.finish(STUDY)
        run.finish()

    with Run.opened(tmp_path, "one", ALL) as run:
        assert run.finished_at
    with Run.opened(tmp_path, "one", ALL, again=True) as run:
        assert run.finished_at is None
        assert STUDY.prefix not in FinishedPrefixes.of(run.folder)


def test_an_interrupted_run_keeps_what_it_has_finished(tmp_path: Path) -> None:
    with Run.opened(tmp_path, "one", ALL) as run, RunJournal(run.folder) as journal:
        journal.finish(STUDY)

    with Run.opened(tmp_path, "one", ALL) as run:
        assert run.finished_at is None
        assert STUDY.prefix in FinishedPrefixes.of(run.folder)


def test_a_run_goes_on_only_with_what_it_was_begun_for(tmp_path: Path) -> None:
    with Run.opened(tmp_path, "one", ALL):
        pass

    with pytest.raises(RunRefused, match="was begun with pipeline rebuild"):
        Run.opened(tmp_path, "one", {"pipeline": "rebuild", "tenant": "local"})


def test_a_run_is_open_in_one_process_at_a_time(tmp_path: Path) -> None:
    with Run.opened(tmp_path, "one", ALL), pytest.raises(RunRefused, match="going on"):
        Run.opened(tmp_path, "one", ALL)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a" * 65])
def test_the_name_of_a_run_is_one_of_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunRefused, match="should be"):
        Run.opened(tmp_path, name, ALL)

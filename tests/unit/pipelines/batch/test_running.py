"""A plan runs as a Beam pipeline: each share once, on any runner, with a journal."""

import os
from argparse import ArgumentParser
from pathlib import Path

import apache_beam as beam
import pytest

from operators.errors import Unavailable
from pipelines.batch.journal import Finished, JournalReader, RunJournal, StoppedWorker
from pipelines.batch.running import BatchPlan, Shift, add_running, build, run_plan
from pipelines.batch.selection import Selection


async def finish_one(shift: Shift) -> None:
    """Finish a study of the share's own, unless it is finished."""
    prefix = f"local/1.{shift.share[0]}/"
    if prefix not in shift.finished:
        shift.journal.finish(Finished(prefix, {"instances": 2}))


async def fail(shift: Shift) -> None:
    await finish_one(shift)
    raise Unavailable("store", "no answer in time")


def run(plan: BatchPlan) -> list[Finished | StoppedWorker]:
    parser = ArgumentParser()
    add_running(parser)
    options, rest = parser.parse_known_args([])
    run_plan(plan, options, rest)
    return list(JournalReader(plan.folder).read())


def test_every_share_is_worked_on_once(tmp_path: Path) -> None:
    entries = run(BatchPlan("rebuild", finish_one, Selection(), tmp_path, shares=3))

    assert sorted(entry.prefix for entry in entries if isinstance(entry, Finished)) == [
        "local/1.0/",
        "local/1.1/",
        "local/1.2/",
    ]


def test_what_is_finished_is_known_to_the_workers(tmp_path: Path) -> None:
    with RunJournal(tmp_path) as journal:
        journal.finish(Finished("local/1.0/"))

    assert len(run(BatchPlan("rebuild", finish_one, Selection(), tmp_path, shares=2))) == 2


def test_a_server_that_cannot_be_used_stops_a_worker_and_is_told(tmp_path: Path) -> None:
    assert run(BatchPlan("rebuild", fail, Selection(), tmp_path)) == [
        Finished("local/1.0/", {"instances": 2}),
        StoppedWorker("store", "no answer in time"),
    ]


def test_a_journal_that_took_a_line_in_part_ends_the_run_even_if_it_takes_the_next_one(tmp_path: Path) -> None:
    async def tear(shift: Shift) -> None:
        os.write(shift.journal.fileno(), b'{"prefix": "loc')
        raise Unavailable("journal", "/runs/one: No space left on device")

    with pytest.raises(Unavailable) as ended:
        run(BatchPlan("rebuild", tear, Selection(), tmp_path))
    assert (ended.value.what, ended.value.why) == ("journal", "/runs/one: No space left on device")


def test_a_pipeline_translates_to_beams_portable_form(tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    build(pipeline, BatchPlan("rebuild", finish_one, Selection(), tmp_path))

    proto = pipeline.to_runner_api()

    names = {transform.unique_name for transform in proto.components.transforms.values()}
    assert {"shares/Impulse", "spread", "rebuild", "counts"} <= names
    assert all(each.spec.urn or each.subtransforms for each in proto.components.transforms.values())

"""The jobs' state is damaged or gone while everything that they have written is there: reading it all again changes nothing."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from deploy.local.running import RunningStack, wait_until
from operators.restarts import MAX_STARTS
from pipelines.jobs import CATALOG, JOBS, STUDY
from pipelines.launch import checkpoints
from schemas.events import StudySettled
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import STUDY_SETTLED
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.stopped_jobs import killed_jobs, wait_for_jobs
from tests.support.proof import Proof
from tests.support.servers.reading import wait_until_all_is_read
from tests.support.servers.records import records

SOON_S = 60.0
# More than the failed starts in a row after which a stack gives up a server that was never healthy.
TRIES = MAX_STARTS + 2
# The tables that tell how far the jobs are, rather than what they have found; and which steps made the tables.
OTHERS = {"applied_offset", "waiting_due", "shard_progress", "applied_ddl"}

# Every table, without the parts that some are divided into.
TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
"""
# A backlog is cut into other windows than those in which it came, and each has a due, which makes no revision.
GROWS = "due"


def tables(stack: RunningStack) -> dict[str, Counter[tuple[Any, ...]]]:
    """Return every row of every table of the catalog that tells of instances and studies."""
    settings = stack.catalog("writer")
    where = f"host={settings.host} port={settings.port} dbname={settings.database} user={settings.user}"
    with psycopg.connect(where, password=settings.password) as connection:
        names = {str(name) for (name,) in connection.execute(TABLES).fetchall()} - OTHERS
        select = SQL("SELECT {table}::text FROM {table}")
        return {name: Counter(connection.execute(select.format(table=Identifier(name))).fetchall()) for name in names}


def announced(stack: RunningStack) -> set[tuple[str, int, str]]:
    """Return the study, revision and event id of every announcement."""
    broker = load(BrokerSettings, stack.env)
    events = [one.event for one in records(broker, STUDY_SETTLED)]
    return {(one.study_uid, one.revision, one.event_id) for one in events if isinstance(one, StudySettled)}


def logged(stack: RunningStack, event: str) -> list[dict[str, Any]]:
    """Return the lines of an event that the launcher has logged."""
    lines = (stack.logs / "flink.log").read_text().splitlines()
    return [
        line for line in map(json.loads, filter(lambda text: text.startswith("{"), lines)) if line["event"] == event
    ]


@pytest.mark.fault("F13", "all jobs start at the earliest record, without state, into full tables", full=True)
@pytest.mark.fault("F19", "all checkpoints are gone", full=True)
def test_all_records_read_again_without_any_state_change_no_row_and_announce_nothing_new(
    proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    stack = proof.archive
    assert proof.send(files(Volume(studies=10, slices=INSTANCES // 10, size=64, seed=920), tmp_path)).complete
    assert proof.wrong() == {}
    wait_until_all_is_read(stack)
    rows, events, before = tables(stack), announced(stack), len(logged(stack, "job_reads_again"))

    with killed_jobs(stack):
        shutil.rmtree(stack.plan.job.checkpoint_dir)
    with healing.timed():
        wait_for_jobs(stack)
        wait_until_all_is_read(stack)

    assert healing.audited(proof.wrong()) == {}
    assert len(logged(stack, "job_reads_again")) == before + len(JOBS)
    assert announced(stack) == events
    for name, found in tables(stack).items():
        assert rows[name] == (found & rows[name] if name == GROWS else found), name


@pytest.mark.fault("F19", f"the folder of checkpoints cannot be used for {TRIES} starts", full=True)
def test_jobs_are_tried_until_their_folder_of_checkpoints_is_there_again(
    proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    stack, folder = proof.archive, proof.archive.plan.job.checkpoint_dir
    wait_until_all_is_read(stack)
    again, starts = len(logged(stack, "job_reads_again")), starts_of(stack)

    with killed_jobs(stack):
        folder.rename(folder.with_name("elsewhere"))
        folder.touch()
    try:
        tally = proof.send(files(Volume(studies=2, slices=30, size=64, seed=925), tmp_path))
        wait_until(lambda: starts_of(stack) >= starts + TRIES, SOON_S, "nobody tries to start the jobs")
    finally:
        folder.unlink()
        folder.with_name("elsewhere").rename(folder)
    with healing.timed():
        wait_for_jobs(stack)
    told = [line for line in logged(stack, "jobs_stopped") if "FLUORO_JOB_CHECKPOINT_DIR" in line["reason"]]

    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}
    assert len(logged(stack, "job_reads_again")) == again
    assert len(told) >= TRIES - 1


def starts_of(stack: RunningStack) -> int:
    """Return how often the jobs were started."""
    return stack.state().servers["flink"].starts


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "scrambled": lambda checkpoint: (checkpoint / "_metadata").write_bytes(b"no checkpoint" * 100),
}


@pytest.mark.fault("F19", "the JVM is killed, and each job's newest checkpoint is {how}", full=True)
@pytest.mark.parametrize("how", DAMAGES)
def test_jobs_go_on_from_the_checkpoint_before_one_that_is_damaged(
    how: str, proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    stack, settings = proof.archive, proof.archive.plan.job
    folders = [checkpoints.folder_of(job, settings) for job in (STUDY, CATALOG)]
    wait_until(
        lambda: all(len(checkpoints.complete(one)) > 1 for one in folders), SOON_S, "there are no two checkpoints"
    )
    before = len(logged(stack, "job_reads_again"))

    with killed_jobs(stack):
        for folder in folders:
            DAMAGES[how](checkpoints.complete(folder)[0])
    assert proof.send(files(Volume(studies=2, slices=30, size=64, seed=930), tmp_path)).complete
    with healing.timed():
        wait_for_jobs(stack)

    assert healing.audited(proof.wrong()) == {}
    assert len(logged(stack, "job_reads_again")) == before
    assert {line["job"] for line in logged(stack, "checkpoint_unreadable")} >= (
        {"study", "catalog"} if how == "scrambled" else set()
    )

"""The table of jobs, and the folders that an installation relies on when it is upgraded in place."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.jobs import CATALOG, JOBS, STUDY, Job
from pipelines.launch.checkpoints import folder_of
from schemas.settings.jobs import JobSettings


@pytest.mark.parametrize(("job", "folder"), [(STUDY, "study/thread"), (CATALOG, "catalog/shards-1-thread")])
def test_a_job_finds_the_checkpoints_of_earlier_releases(job: Job, folder: str) -> None:
    assert folder_of(job, JobSettings(checkpoint_dir=Path("/data"))) == Path("/data") / folder


def test_every_job_has_a_graph() -> None:
    assert all(callable(job.build) for job in JOBS)


def test_the_table_is_imported_without_an_engine() -> None:
    code = "import sys, pipelines.jobs; sys.exit('pyflink' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0

"""The graphs that the jobs build: a restore needs the same uids and modes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.install.layout import Layout

ROOT = Path(__file__).parents[3]
THREAD, PROCESS = "EmbeddedPythonKeyedProcessOperator", "ExternalPythonKeyedProcessOperator"
# The operator by job and by the mode that is set for jobs with shards.
PYTHON_OPERATOR = {
    ("study", "thread"): THREAD,
    ("study", "process"): THREAD,
    ("catalog", "thread"): THREAD,
    ("catalog", "process"): PROCESS,
}

Plan = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def plan(installed: Layout, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The operators of every job in both modes, as Flink sees them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.machine.job_operators", str(tmp_path_factory.mktemp("flink"))],
        env=os.environ | installed.flink_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    made: Plan = json.loads(done.stdout.splitlines()[-1])
    return made


@pytest.mark.fault("F20", "the uids by which Flink finds the state of the {job} job's operators ({mode} mode)")
@pytest.mark.parametrize(("job", "mode"), PYTHON_OPERATOR)
def test_every_operator_has_its_own_uid(plan: Plan, job: str, mode: str) -> None:
    uids = [one["uid"] for one in plan[mode][job]["operators"]]

    assert all(uid and job in uid for uid in uids)
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize(("job", "mode"), PYTHON_OPERATOR)
def test_a_job_has_one_python_operator_and_it_runs_in_the_declared_mode(plan: Plan, job: str, mode: str) -> None:
    kinds = [one["kind"] for one in plan[mode][job]["operators"]]

    assert [kind for kind in kinds if "Python" in kind] == [PYTHON_OPERATOR[job, mode]]


@pytest.mark.parametrize(("job", "mode"), PYTHON_OPERATOR)
def test_batches_are_gathered_in_the_chain_of_the_source(plan: Plan, job: str, mode: str) -> None:
    """Elsewhere a record would be serialised for each of the two."""
    assert f"Source: {job} records -> {job} gathers" in plan[mode][job]["chains"]

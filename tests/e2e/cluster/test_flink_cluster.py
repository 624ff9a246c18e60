"""The jobs run on a Flink cluster of its own, by the commands that docs/operations.md prints, and lose and double nothing.

The tests are steps of one life: start, stop with savepoints, resume at another parallelism, change the shards.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from ruamel.yaml import YAML

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.ports import free_row
from deploy.local.running import RunningStack, brought_up, wait_until
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.support.data.generate import Volume, files
from tests.support.machine.running_stack import environment_without_settings
from tests.support.proof import Proof

ROOT = Path(__file__).parents[3]
SECTION = re.search(
    r"^## Jobs on a Flink cluster\n(.*?)^## ", (ROOT / "docs/operations.md").read_text(), re.DOTALL | re.MULTILINE
)
assert SECTION
PRINTED = [line.strip() for line in SECTION[1].splitlines() if line.startswith("    ")]
SOON_S = 240.0
# Checkpoints come often, a study is due soon, and a batch is little beside what is read. The local stack's other tests run
# the catalog job in the JVM.
OFTEN = {
    "FLUORO_JOB_CHECKPOINT_S": "1",
    "FLUORO_STUDY_RELEASED_S": "1",
    "FLUORO_JOB_BATCH_RECORDS": "2",
    "FLUORO_JOB_PYTHON_MODE": "process",
}


@dataclass
class Engineer:
    """Somebody who types the printed commands, in a shell that keeps what is exported."""

    proof: Proof
    folder: Path
    env: dict[str, str]
    typed: set[str] = field(default_factory=set)

    @property
    def stack(self) -> RunningStack:
        return self.proof.archive

    def type(self, beginning: str, *, fails: bool = False, also: Mapping[str, str] | None = None) -> str:
        """Run the first printed line with this beginning that was not run yet, or else the first; return its output."""
        lines = [line for line in PRINTED if line.startswith(beginning)]
        line = next((line for line in lines if line not in self.typed), lines[0])
        self.typed.add(line)
        if exported := re.fullmatch(r"export (\w+)=(\S+)", line):
            self.env[exported[1]] = exported[2]
            return ""
        return self.run(line, fails=fails, also=also)

    def run(self, line: str, *, fails: bool = False, also: Mapping[str, str] | None = None) -> str:
        """Run a line in the shell; return what it printed on both streams."""
        # Into a file: the daemons of the cluster keep a pipe open.
        with tempfile.TemporaryFile("w+") as printed:
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=ROOT,
                env={**self.env, **(also or {})},
                stdout=printed,
                stderr=printed,
                timeout=SOON_S,
                check=False,
            )
            printed.seek(0)
            text = printed.read()
        assert (done.returncode != 0) == fails, text
        return text

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.stack.flink_url}{path}", timeout=20).raise_for_status().json()

    def running(self, name: str) -> str | None:
        """Return the id of a job all of whose tasks run."""
        for job in self.get("/jobs/overview")["jobs"]:
            tasks = job["tasks"]
            if job["name"] == name and job["state"] == "RUNNING" and tasks["running"] == tasks["total"]:
                return str(job["jid"])
        return None

    def wait_for(self, name: str) -> str:
        """Wait until a job runs; return its id."""
        wait_until(lambda: self.running(name) is not None, SOON_S, f"job {name} does not run")
        return self.running(name) or ""

    def parallelism(self, name: str) -> set[int]:
        """Return the parallelism of a running job's operators."""
        return {int(vertex["parallelism"]) for vertex in self.get(f"/jobs/{self.wait_for(name)}")["vertices"]}

    def stop(self, name: str) -> dict[str, str]:
        """Stop a job with a savepoint, by the printed command; return the variable with its path."""
        told = self.type("$FLINK/bin/flink stop", also={"JOB": self.wait_for(name)})
        found = re.search(r"Savepoint completed\. Path: (\S+)", told)
        assert found, told
        return {"SAVEPOINT": found[1]}

    def restored(self, name: str) -> str:
        """Return the state that a running job was restored from."""
        return str(self.get(f"/jobs/{self.wait_for(name)}/checkpoints")["latest"]["restored"]["external_path"])

    def send(self, seed: int) -> None:
        """Send studies until all of their instances are acknowledged."""
        tally = self.proof.send(files(Volume(studies=3, slices=8, size=16, seed=seed), self.folder / str(seed)))
        assert tally.complete

    def rows(self, query: str) -> set[tuple[Any, ...]]:
        at = self.stack.catalog("writer")
        with psycopg.connect(
            host=at.host, port=at.port, dbname=at.database, user=at.user, password=at.password
        ) as connection:
            return set(connection.execute(query).fetchall())


@pytest.fixture(scope="module")
def engineer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engineer]:
    """Start a stack without jobs, as the documents say, and somebody with its settings in the environment."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    folder = Path(tempfile.mkdtemp(prefix="fluoro-cluster-"))
    folder.chmod(0o755)
    kept = environment_without_settings()
    (line,) = (line for line in PRINTED if line.startswith(".venv/bin/python -m deploy.local up"))
    options = [*line.split()[4:], "--free-ports"]
    up = brought_up(DataFolder(folder / "data"), kept | OFTEN, options=options, out=folder / "up.log")
    with up as stack, Ledger(tmp_path_factory.mktemp("ledger") / "sent.jsonl") as ledger:
        # Not the module path of the tests: the distribution must know it.
        own = {name: value for name, value in kept.items() if name != "PYTHONPATH"}
        env = {**own, **stack.plan.settings("writer"), "FLINK": str(folder / "flink"), "SAVEPOINTS": str(folder)}
        made = Engineer(Proof(stack, ledger), folder, env, typed={line})
        try:
            yield made
        finally:
            stopper = folder / "flink" / "bin" / "stop-cluster.sh"
            if stopper.exists():
                made.run(str(stopper))
    shutil.rmtree(folder)


def choose_ports(engineer: Engineer) -> None:
    """Have the cluster listen where no other one does."""
    path, port = Path(engineer.env["FLINK"]) / "conf" / "config.yaml", engineer.stack.plan.job.rest_port
    yaml = YAML()
    yaml.width = 4096
    values = yaml.load(path)
    values["rest"]["port"] = values["rest"]["bind-port"] = port
    values["jobmanager"]["rpc"]["port"] = free_row({port})
    yaml.dump(values, path)


def test_both_jobs_run_on_a_cluster_with_the_parallelism_that_was_typed(engineer: Engineer) -> None:
    assert PRINTED[0].startswith("export FLINK=")
    engineer.typed.add(PRINTED[0])
    engineer.type(".venv/bin/python -m deploy.flink.package")
    choose_ports(engineer)
    engineer.type("$FLINK/bin/start-cluster.sh")
    wait_until(lambda: has_machine(engineer), SOON_S, "no cluster")
    # Without settings in the environment: those of the stack that runs in this data folder.
    elsewhere = {name: value for name, value in engineer.env.items() if not name.startswith("FLUORO_")}
    other = Engineer(engineer.proof, engineer.folder, elsewhere | {"FLUORO_DATA": str(engineer.folder / "data")})
    other.type(".venv/bin/python -m deploy.local run")
    engineer.typed |= other.typed
    engineer.type("export FLUORO_JOB_SHARDS")
    engineer.type("$FLINK/bin/flink run -d -p 2 -py")
    engineer.send(seed=1)

    assert engineer.wait_for("catalog") in engineer.type("$FLINK/bin/flink list")
    assert engineer.parallelism("catalog") == {2}
    assert engineer.parallelism("study") == {1}
    assert engineer.proof.wrong() == {}


def has_machine(engineer: Engineer) -> bool:
    """True once a machine has offered its slots to the cluster."""
    try:
        return int(engineer.get("/overview")["slots-available"]) > 0
    except httpx.HTTPError:
        return False


def test_a_wrong_number_of_shards_is_said_in_a_line_and_starts_nothing(engineer: Engineer) -> None:
    before = len(engineer.get("/jobs/overview")["jobs"])
    told = engineer.run("$FLINK/bin/flink run -d -p 9 -py flink-jobs/catalog.py", fails=True)
    (refused,) = [json.loads(line) for line in told.splitlines() if line.startswith("{")]

    assert refused["event"] == "job_refused"
    assert refused["reason"].startswith("FLUORO_JOB_SHARDS: 8 is less than the parallelism 9 of job catalog")
    assert len(engineer.get("/jobs/overview")["jobs"]) == before


def test_jobs_stopped_with_savepoints_resume_at_another_parallelism_in_the_same_processes(engineer: Engineer) -> None:
    savepoints = {name: engineer.stop(name) for name in ("study", "catalog")}
    engineer.send(seed=2)
    (resume,) = (line for line in PRINTED if " -s " in line)
    engineer.type(resume, also=savepoints["catalog"])
    of_study = resume.replace("-p 1", "-p 2").replace("catalog", "study")
    engineer.run(of_study, also=savepoints["study"])

    assert engineer.parallelism("catalog") == {1}
    assert engineer.parallelism("study") == {2}
    assert {name: engineer.restored(name) for name in savepoints} == {
        name: variable["SAVEPOINT"] for name, variable in savepoints.items()
    }
    assert engineer.proof.wrong() == {}


def test_the_number_of_shards_is_changed_by_a_command_while_the_catalog_job_is_stopped(engineer: Engineer) -> None:
    refused = engineer.type(".venv/bin/python -m deploy.commands jobs reshard", fails=True)
    before = engineer.rows("SELECT DISTINCT shards FROM applied_offset")
    savepoint = engineer.stop("catalog")
    engineer.send(seed=3)
    told = engineer.type(".venv/bin/python -m deploy.commands jobs reshard")
    again = engineer.type(".venv/bin/python -m deploy.commands jobs reshard")
    old = engineer.run(
        "$FLINK/bin/flink run -d -p 2 -s $SAVEPOINT -py flink-jobs/catalog.py", fails=True, also=savepoint
    )
    engineer.type("FLUORO_JOB_SHARDS=4 $FLINK/bin/flink run")
    engineer.send(seed=4)

    assert "stop it first" in refused
    assert "has 4 shards now" in told
    assert "has 4 shards already" in again
    assert "written with 4 shards, not 8: set 4" in old
    assert engineer.parallelism("catalog") == {2}
    assert engineer.proof.wrong() == {}
    assert (before, engineer.rows("SELECT DISTINCT shards FROM applied_offset")) == ({(8,)}, {(4,)})
    assert engineer.rows("SELECT count(*) FROM waiting_due") == {(0,)}


def test_every_printed_command_was_run(engineer: Engineer) -> None:
    # The study job was started beside the stack, by the same line after `deploy.local run`.
    assert set(PRINTED) - engineer.typed <= {"$FLINK/bin/flink run -d -py flink-jobs/study.py"}

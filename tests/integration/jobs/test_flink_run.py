"""A job that `flink run` starts on a running cluster has the same safeguards as the jobs of the local stack."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.install.layout import Layout
from deploy.local.running import RunningStack, wait_until

ROOT = Path(__file__).parents[3]
SOON_S = 180.0


class Client:
    """Flink's command line, with its own folder of checkpoints; the jobs that it starts are cancelled at the end."""

    def __init__(self, stack: RunningStack, layout: Layout, folder: Path) -> None:
        self.checkpoints = folder / "checkpoints"
        self._stack = stack
        self._flink = layout.flink_home / "bin" / "flink"
        self._started: list[str] = []
        shutil.copytree(layout.flink_home / "conf", folder / "conf")
        own = {
            "FLUORO_JOB_CHECKPOINT_DIR": str(self.checkpoints),
            "FLINK_CONF_DIR": str(folder / "conf"),
            "FLINK_LOG_DIR": str(folder),
            # Flink's client does not follow a symbolic link.
            "FLINK_OPT_DIR": str((layout.flink_home / "opt").resolve()),
            "PYTHONPATH": str(ROOT),
        }
        self._env = {**os.environ, **stack.plan.settings("writer"), **layout.flink_environment(), **own}

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Start a job script, without waiting for the job's end."""
        python = ("-pyclientexec", sys.executable, "-pyexec", sys.executable)
        address = f"127.0.0.1:{self._stack.plan.job.rest_port}"
        return subprocess.run(
            [self._flink, "run", "-m", address, "-d", *python, "-py", f"flink-jobs/{script}.py"],
            env=self._env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SOON_S,
            check=False,
        )

    def restored(self, job_id: str) -> Mapping[str, Any]:
        """Return the checkpoint that a job was restored from."""
        self._started.append(job_id)
        found: Mapping[str, Any] = httpx.get(f"{self._stack.flink_url}/jobs/{job_id}/checkpoints").json()
        restored: Mapping[str, Any] = found["latest"]["restored"]
        return restored

    def cancel_all(self) -> None:
        """Cancel the jobs that were started, so that they take no slots from the stack's own jobs."""
        for job_id in self._started:
            httpx.patch(f"{self._stack.flink_url}/jobs/{job_id}?mode=cancel").raise_for_status()


@pytest.fixture
def client(stack: RunningStack, installed: Layout, tmp_path: Path) -> Iterator[Client]:
    made = Client(stack, installed, tmp_path)
    yield made
    made.cancel_all()


def logged(done: "subprocess.CompletedProcess[str]", event: str) -> dict[str, Any]:
    """Return the line that a script logged for this event."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    return next(line for line in map(json.loads, lines) if line["event"] == event)


def copied(written: Path, to: Path) -> bool:
    """Copy a running job's checkpoints; False if there is none, or if one was removed meanwhile."""
    shutil.rmtree(to, ignore_errors=True)
    try:
        shutil.copytree(written, to)
    except OSError:
        return False
    return any(to.glob("*/*/chk-*/_metadata"))


def test_a_job_is_restored_from_its_newest_checkpoint(stack: RunningStack, client: Client) -> None:
    written = stack.plan.job.checkpoint_dir / "study"
    wait_until(lambda: copied(written, client.checkpoints / "study"), SOON_S, "no checkpoint")

    submitted = logged(client.run("study"), "job_submitted")
    path = client.restored(submitted["job_id"])["external_path"]
    assert Path(path).name == submitted["checkpoint"]
    assert str(client.checkpoints) in path


def test_a_job_is_refused_when_its_state_is_of_other_shards(client: Client) -> None:
    metadata = client.checkpoints / "catalog" / "process-8" / "run" / "chk-1" / "_metadata"
    metadata.parent.mkdir(parents=True)
    metadata.write_bytes(b"x")

    done = client.run("catalog")
    assert done.returncode != 0
    assert "8 shards, not 1" in logged(done, "job_refused")["reason"]

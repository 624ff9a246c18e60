"""A stack is upgraded in place: the present code continues where an earlier release was stopped with a window open.

The earlier release runs from the git history, with the settings' names of its time, on the same data folder.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, end, is_ready, last_lines, wait_until
from deploy.local.supervision.programs import tied_to_this_process
from operators.connectors.kafka.positions import Positions
from pipelines.jobs import JOBS, Job
from pipelines.launch import checkpoints
from pipelines.launch.checkpoints import folder_of
from schemas.codec import decode
from schemas.events import StudyDue, StudySettled
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import STUDY_DUE, STUDY_SETTLED, Topic
from tests.audit.auditor import audit
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.e2e.conftest import INSTALLED
from tests.support.data.generate import Volume, files
from tests.support.machine.running_stack import address_of
from tests.support.senders.sender import Peer, send

ROOT = Path(__file__).parents[2]
# The last commit before the packages were built and the settings got their present names.
EARLIER = "6fc1193"
SOON_S = 120.0
BEFORE, AFTER = 2, 4
AE_TITLE = "UPGRADED"
# The earlier release never finds the study due; the present one does, soon after a transfer of several instances.
EARLIER_SETTINGS = {
    "FLUORO_GATEWAY_AE_TITLE": AE_TITLE,
    "FLUORO_JOB_CHECKPOINT_S": "0.5",
    "FLUORO_STUDY_QUIET_S": "3600",
    "FLUORO_STUDY_QUIET_OPEN_S": "3600",
}
PRESENT_SETTINGS = {
    "FLUORO_DIMSE_AE_TITLE": AE_TITLE,
    "FLUORO_STUDY_QUIET_S": "90",
    "FLUORO_STUDY_RELEASED_S": "2",
}
# What each job reads after the upgrade: instances, the end of their transfer, and for the catalog the due.
READ_AFTER = {"study": AFTER + 1, "catalog": AFTER + 2}


@pytest.fixture
def data() -> Iterator[DataFolder]:
    """Make a data folder that the database's user can reach, unlike pytest's own folders."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    folder = Path(tempfile.mkdtemp(prefix="fluoro-upgrade-"))
    folder.chmod(0o755)
    yield DataFolder(folder / "data")
    shutil.rmtree(folder)


@pytest.fixture
def earlier(data: DataFolder) -> Iterator[Path]:
    """Check the earlier release out into a worktree, and install it from what is installed here."""
    git("cat-file", "-e", f"{EARLIER}^{{commit}}", otherwise=f"the history does not hold {EARLIER}: fetch it whole")
    root = data.root.with_name("earlier")
    git("worktree", "add", "--detach", str(root), EARLIER, otherwise=f"no worktree of {EARLIER} can be made")
    install(root)
    yield root
    git("worktree", "remove", "--force", str(root), otherwise="the worktree stays")


def install(root: Path) -> None:
    """Install the earlier release: with our Python environment if it has the same lock, and with a copy of our tools.

    A copy, because its installer makes what its own sources have made otherwise: the folder that Flink runs from.
    """
    lock = "requirements.lock"
    if (root / lock).read_bytes() == (ROOT / lock).read_bytes():
        (root / ".venv").symlink_to((ROOT / ".venv").resolve())
        shutil.copytree((ROOT / ".tools").resolve(), root / ".tools", symlinks=True)
    subprocess.run(
        [sys.executable, "deploy/install.py"], cwd=root, env=environment({}), capture_output=True, check=True
    )


def git(*arguments: str, otherwise: str) -> None:
    """Run git here; skip with a reason when it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{otherwise} ({done.stderr.strip()})")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with these settings, and no others but those of where servers are installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUORO_") or name in INSTALLED}
    return kept | dict(settings)


@contextmanager
def earlier_stack(root: Path, data: DataFolder) -> Iterator[RunningStack]:
    """Run the earlier release for the block, then stop it as `make stop` does."""
    out, env = data.root.with_name("earlier.log"), environment(EARLIER_SETTINGS) | {"FLUORO_DATA": str(data.root)}
    command = tied_to_this_process((sys.executable, "-m", "deploy.local", "up", "--free-ports"), None)
    with out.open("wb") as log:
        up = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(
            lambda: up.poll() is not None or is_ready(data, up.pid), SOON_S, "the earlier release does not start"
        )
        assert up.poll() is None, last_lines(out)
        yield RunningStack(data)
    finally:
        end(up)


def ports(stack: RunningStack) -> Mapping[str, int]:
    """Return the ports of a stack that was started by either release."""
    found: Mapping[str, int] = stack.state().plan["ports"]
    return found


def newest_checkpoints(data: DataFolder) -> dict[str, Path]:
    """Return each job's newest complete checkpoint in a data folder."""
    settings = JobSettings(checkpoint_dir=data.root / "checkpoints")
    return {job.name: checkpoints.complete(folder_of(job, settings))[0] for job in JOBS}


def has_counted(read: Mapping[str, int]) -> bool:
    """True if the counts include every record of after the upgrade: Flink collects them every few seconds."""
    return all(count >= READ_AFTER[name] for name, count in read.items())


def has_read_all(broker: Positions, job: Job) -> bool:
    """True if every record of the first instances is there, and the job has read it before its last checkpoint."""
    committed = broker.committed(job.name)
    ends = {one: extent.end for one, extent in broker.extents(topic.name for topic in job.reads).items() if extent.end}
    # An instance and the end of its transfer each.
    return sum(ends.values()) == 2 * BEFORE and all(committed.get(one) == end for one, end in ends.items())


def restored_from(stack: RunningStack) -> dict[str, str]:
    """Return the path of the checkpoint that each running job was restored from."""
    return {
        job["name"]: rest(stack, f"jobs/{job['jid']}/checkpoints")["latest"]["restored"]["external_path"]
        for job in rest(stack, "jobs/overview")["jobs"]
    }


def records_read(stack: RunningStack) -> dict[str, int]:
    """Return how many records the source of each job has read since the job's start."""
    jobs = [rest(stack, f"jobs/{job['jid']}") for job in rest(stack, "jobs/overview")["jobs"]]
    sources = {job["name"]: next(one for one in job["vertices"] if "records" in one["name"]) for job in jobs}
    return {name: source["metrics"]["write-records"] for name, source in sources.items()}


def rest(stack: RunningStack, path: str) -> Any:
    """Ask the cluster's REST API."""
    return httpx.get(f"{stack.flink_url}/{path}").raise_for_status().json()


def events_logged(stack: RunningStack, event: str) -> list[dict[str, Any]]:
    """Return the lines of this event that the jobs' launcher has logged since its start."""
    lines = (stack.logs / "flink.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return [record for record in logged if record["event"] == event]


def events(broker: BrokerSettings, topic: Topic) -> list[Any]:
    """Return every event of a topic, each once."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "test-upgrade", "auto.offset.reset": "earliest"}
    )
    ends = {one: extent.end for one, extent in Positions(broker).extents([topic.name]).items()}
    consumer.subscribe([topic.name])
    found = {}
    try:
        for _ in range(sum(ends.values())):
            message = consumer.poll(SOON_S)
            assert message is not None, f"{topic.name} does not answer"
            event = decode(message.value() or b"")
            found[event.event_id] = event
    finally:
        consumer.close()
    return list(found.values())


def test_the_present_stack_continues_from_the_state_of_an_earlier_release(
    data: DataFolder, earlier: Path, tmp_path: Path
) -> None:
    paths = files(Volume(slices=BEFORE + AFTER, size=64, seed=77), tmp_path / "files")
    with Ledger(tmp_path / "sent.jsonl") as ledger:
        with earlier_stack(earlier, data) as old:
            # Associations of one instance each: their ends do not release the study.
            for path in paths[:BEFORE]:
                assert send([path], Peer(ports(old)["dimse"], ae_title=AE_TITLE), ledger, associations=1).complete
            broker = Positions(BrokerSettings(bootstrap=f"127.0.0.1:{ports(old)['kafka']}"))
            for job in JOBS:
                wait_until(lambda: has_read_all(broker, job), SOON_S, f"{job.name} does not read all")  # noqa: B023
        up = brought_up(data, environment(PRESENT_SETTINGS), options=["--free-ports"], out=tmp_path / "up.log")
        newest = newest_checkpoints(data)
        with up as stack:
            restored, submitted = restored_from(stack), events_logged(stack, "job_submitted")
            assert send(paths[BEFORE:], Peer(stack.dimse_port, ae_title=AE_TITLE), ledger, associations=1).complete
            verdict = audit(address_of(stack), [ledger.path], wait_s=SOON_S)
            settings = load(BrokerSettings, stack.env)
            dues, settled = events(settings, STUDY_DUE), events(settings, STUDY_SETTLED)
            wait_until(lambda: has_counted(records_read(stack)), SOON_S, "the sources do not count what they read")
            read = records_read(stack)

    assert restored == {name: f"file:{path}" for name, path in newest.items()}
    assert {line["job"]: line["checkpoint"] for line in submitted} == {name: path.name for name, path in newest.items()}
    assert read == READ_AFTER
    assert [(due.window_instances, due.window_transfers) for due in dues if isinstance(due, StudyDue)] == [
        (len(paths), BEFORE + 1)
    ]
    assert [(one.revision, one.instances) for one in settled if isinstance(one, StudySettled)] == [(1, len(paths))]
    assert verdict.clean, verdict.line

"""A stack is upgraded in place: the present code continues where an earlier release was stopped in the midst of its work.

The earlier release runs from the git history on the same data folder. It leaves a settled study with a conflict, an object in quarantine, and two unsettled studies: of one an instance is stored and
not announced, of the other a due waits for instances that the catalog job has not read. The study job newly reads commands, and settles it by one.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, end, is_ready, last_lines, wait_until
from deploy.local.supervision.programs import tied_to_this_process
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.kafka.positions import Positions
from operators.stream.step import Arrival
from pipelines.jobs import CATALOG, JOBS, STUDY, Job
from pipelines.launch import checkpoints
from pipelines.launch.checkpoints import folder_of
from schemas.codec import decode
from schemas.events import StudyDue, StudySettled, event_id
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import (
    INSTANCE_STORED,
    POLICY_CHANGED,
    STUDY_COMMAND,
    STUDY_DUE,
    STUDY_SETTLED,
    TRANSFER_ENDED,
    Topic,
)
from tests.audit.auditor import audit
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.e2e.test_crash_points import open_bytes
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.own_gateway import gateway, settings_in
from tests.support.machine.processes import free_port
from tests.support.machine.running_stack import address_of, environment_without_settings
from tests.support.senders.commanding import give
from tests.support.senders.raw import raw, send_raw
from tests.support.senders.sender import Peer, send

ROOT = Path(__file__).parents[2]
SOON_S = 240.0
AE_TITLE = "UPGRADED"
# A release whose catalog job kept records, offsets and waiting dues in its state, and nothing of them in rows: the job
# reads everything again. Other releases are not tried, since a start costs a minute.
EARLIER = "9490cec"
# Quiet makes no study due: only the release of a transfer of several instances does.
SETTINGS = {
    "FLUORO_DIMSE_AE_TITLE": AE_TITLE,
    "FLUORO_STUDY_RELEASED_S": "1",
    "FLUORO_STUDY_QUIET_S": "3600",
    "FLUORO_STUDY_QUIET_BY_MODALITY": "CT=3600",
}
OFTEN = {"FLUORO_JOB_CHECKPOINT_S": "0.5"}
SLICES = 6
# What each job reads: instances and ends of transfers; the catalog job also what is in quarantine, and dues.
READ_BEFORE = {"study": 8 + 4, "catalog": 8 + 4 + 1 + 2}
# The topics that the earlier release does not have.
NEW = {STUDY_COMMAND.name, POLICY_CHANGED.name}
# What the topics have more of after the upgrade.
ADDED = {INSTANCE_STORED: 5, TRANSFER_ENDED: 4, STUDY_COMMAND: 1, STUDY_DUE: 2}
# The study job goes on from its state, the catalog job reads everything again.
READ_AFTER = {
    STUDY.name: sum(ADDED.get(topic, 0) for topic in STUDY.reads),
    CATALOG.name: READ_BEFORE["catalog"] + sum(ADDED.get(topic, 0) for topic in CATALOG.reads),
}


@dataclass(frozen=True)
class EarlierStack:
    """A running stack of the earlier release: what both releases write of it alike."""

    root: Path
    running: RunningStack

    def port(self, name: str) -> int:
        """Return the port of a server."""
        ports: Mapping[str, int] = self.running.state().plan["ports"]
        return ports[name]

    @property
    def peer(self) -> Peer:
        """Return the address of the DIMSE door."""
        return Peer(self.port("dimse"), ae_title=AE_TITLE)

    @property
    def broker(self) -> BrokerSettings:
        """Return the settings that reach the broker."""
        return BrokerSettings(bootstrap=f"127.0.0.1:{self.port('kafka')}")

    def has_read(self, job: Job) -> bool:
        """True if every record of READ_BEFORE is there, and the job has read it before its last checkpoint."""
        broker = Positions(self.broker)
        extents = broker.extents(topic for topic in job.topics if topic not in NEW)
        committed = broker.committed(job.name, extents)
        ends = {place: extent.end for place, extent in extents.items() if extent.end}
        return sum(ends.values()) == READ_BEFORE[job.name] and all(committed.get(one) == at for one, at in ends.items())


@dataclass(frozen=True)
class Sent:
    """The files of the three studies, by what the earlier release leaves of each, and two files that it sets aside."""

    settled: list[Path]
    conflicting: Path
    open: list[Path]
    waiting: list[Path]
    unreadable: Path

    @classmethod
    def make(cls, folder: Path) -> "Sent":
        """Write the files into a folder."""
        studies = by_study(Volume(studies=3, slices=SLICES, size=64, seed=77))
        settled, is_open, waiting = ([one.write(folder / one.file_name) for one in study] for study in studies)
        conflicting, unreadable = folder / "conflicting.dcm", folder / "unreadable.dcm"
        conflicting.write_bytes(settled[0].read_bytes()[:-1] + b"\x55")
        data = waiting[-1].read_bytes()
        unreadable.write_bytes(data[: data.index(b"CT ABDOMEN")])
        return cls(settled[:3], conflicting, is_open, waiting[:3], unreadable)

    @property
    def instances(self) -> dict[str, int]:
        """Return how many instances each study shows in the end."""
        return {study[0].parent.name: len(study) for study in (self.settled, self.open, self.waiting)}


def by_study(volume: Volume) -> list[list[Instance]]:
    every = list(instances(volume))
    return [every[first : first + volume.slices] for first in range(0, len(every), volume.slices)]


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
    command, env = (sys.executable, "-m", "deploy.install"), environment({})
    done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout.decode()


def git(*arguments: str, otherwise: str) -> None:
    """Run git here; skip with a reason when it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{otherwise} ({done.stderr.strip()})")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with these settings, and no others but those of where servers are installed.

    Without PYTHONPATH, by which the earlier release would import the present code.
    """
    kept = environment_without_settings()
    kept.pop("PYTHONPATH", None)
    return kept | dict(settings)


@contextmanager
def earlier_stack(root: Path, data: DataFolder) -> Iterator[EarlierStack]:
    """Run the earlier release for the block, then stop it as `make stop` does."""
    out, env = data.root.with_name("earlier.log"), environment(SETTINGS | OFTEN | {"FLUORO_DATA": str(data.root)})
    command = tied_to_this_process((sys.executable, "-m", "deploy.local", "up", "--free-ports"), None)
    with out.open("wb") as log:
        up = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(
            lambda: up.poll() is not None or is_ready(data, up.pid), SOON_S, "the earlier release does not start"
        )
        assert up.poll() is None, last_lines(out)
        yield EarlierStack(root, RunningStack(data))
    finally:
        end(up)


@contextmanager
def dying_gateway(old: EarlierStack, folder: Path, point: str) -> Iterator[Peer]:
    """Run another gateway of the earlier release, which dies at this point and leaves its outbox in the folder."""
    port = free_port()
    own = settings_in(folder, port) | {"FLUORO_INTAKE_FAILPOINT": point, "FLUORO_TESTS": "1"}
    stacks = psutil.Process(old.running.state().servers["gateway"].process.pid).environ()
    command = tied_to_this_process((sys.executable, "-m", "gateway"), None)
    with (
        (folder / "earlier-gateway.log").open("wb") as log,
        subprocess.Popen(command, cwd=old.root, env=stacks | own, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"listening")
            yield Peer(port, patience_s=1)
            process.wait(SOON_S)
        finally:
            process.kill()


def send_before(old: EarlierStack, sent: Sent, ledger: Ledger, folder: Path) -> None:
    """Send to the earlier release what it shall leave, and wait until its jobs have read all of it."""
    assert send([*sent.settled, sent.conflicting], old.peer, ledger, associations=1).complete
    send_singly([*sent.open[:2], *sent.waiting[:1]], old.peer, ledger)
    with dying_gateway(old, folder, "after_put:2") as door:
        assert send(sent.open[2:4], door, ledger, associations=1).states == {"acked": 1, "unknown": 1}
    unreadable = raw(sent.unreadable, "local")
    assert unreadable is not None
    assert send_raw([unreadable], old.peer, ledger) == {sent.unreadable: "C000"}
    wait_until(lambda: bool(settled(old.broker)), SOON_S, "the earlier release settles no study")
    asyncio.run(publish_waiting_due(old.broker, sent))
    for job in JOBS:
        wait_until(lambda: old.has_read(job), SOON_S, f"{job.name} does not read all")  # noqa: B023


def send_singly(paths: Sequence[Path], peer: Peer, ledger: Ledger) -> None:
    """Send each instance in an association of its own: such ends release no study."""
    for path in paths:
        assert send([path], peer, ledger, associations=1).complete


async def publish_waiting_due(broker: BrokerSettings, sent: Sent) -> None:
    """Publish a due of the study that waits for its last instance, which is sent after the upgrade.

    So a due comes to a catalog job that is behind the study job in one partition of instance-stored.
    """
    study_uid = sent.waiting[0].parent.name
    [first] = [one for one in arrivals(broker, INSTANCE_STORED) if one.event.study_uid == study_uid]
    due = StudyDue(
        event_id=event_id("local", study_uid, "due", "waiting"),
        tenant="local",
        occurred_at=datetime.now(UTC),
        study_uid=study_uid,
        signal="quiet",
        window_opened_at=first.event.occurred_at,
        window_instances=len(sent.waiting),
        window_transfers=len(sent.waiting),
        instance_partition=first.partition,
        instance_offset=first.offset + len(sent.waiting) - 1,
    )
    async with KafkaEventLog(broker) as log:
        await log.publish(STUDY_DUE, due)


def send_after(stack: RunningStack, sent: Sent, ledger: Ledger, folder: Path) -> None:
    """Let the present release's gateways finish the earlier one's outbox, and send the rest of both open studies."""
    peer = Peer(stack.dimse_port, ae_title=AE_TITLE)
    with gateway(stack, folder, free_port(), {}):
        wait_until(lambda: open_bytes(folder / "outbox") == 0, SOON_S, "the outbox is not finished")
    send_singly(sent.waiting[1:], peer, ledger)
    assert send(sent.open[4:], peer, ledger, associations=1).complete


def newest_checkpoint(job: Job, data: DataFolder) -> Path:
    """Return a job's newest complete checkpoint in a data folder."""
    return checkpoints.complete(folder_of(job, JobSettings(checkpoint_dir=data.root / "checkpoints")))[0]


def has_counted(read: Mapping[str, int]) -> bool:
    """True if the counts include every record of after the upgrade: Flink collects them every few seconds."""
    return all(count >= READ_AFTER[name] for name, count in read.items())


def restored_from(stack: RunningStack) -> dict[str, str | None]:
    """Return the path of the checkpoint that each running job was restored from."""
    jobs = {job["name"]: rest(stack, f"jobs/{job['jid']}/checkpoints") for job in rest(stack, "jobs/overview")["jobs"]}
    restored = {name: found["latest"]["restored"] for name, found in jobs.items()}
    return {name: found and found["external_path"] for name, found in restored.items()}


def records_read(stack: RunningStack) -> dict[str, int]:
    """Return how many records the source of each job has read since the job's start."""
    return {job["name"]: read_by(stack, job) for job in rest(stack, "jobs/overview")["jobs"]}


def read_by(stack: RunningStack, job: Mapping[str, Any]) -> int:
    """Return how many records a job's source has read; what leaves the chain of the source is batches."""
    vertices = f"jobs/{job['jid']}/vertices"
    [source] = [one for one in rest(stack, f"jobs/{job['jid']}")["vertices"] if one["name"].startswith("Source: ")]
    metric = f"Source__{job['name']}_records.numRecordsIn"
    found = rest(stack, f"{vertices}/{source['id']}/subtasks/metrics?get={metric}&agg=sum")
    return int(found[0]["sum"]) if found else 0


def rest(stack: RunningStack, path: str) -> Any:
    """Ask the cluster's REST API."""
    return httpx.get(f"{stack.flink_url}/{path}").raise_for_status().json()


def events_logged(stack: RunningStack, event: str) -> list[dict[str, Any]]:
    """Return the lines of this event that the jobs' launcher has logged since its start."""
    lines = (stack.logs / "flink.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return [record for record in logged if record["event"] == event]


def settled(broker: BrokerSettings) -> list[StudySettled]:
    """Return every study-settled, repetitions included."""
    return [one.event for one in arrivals(broker, STUDY_SETTLED) if isinstance(one.event, StudySettled)]


def arrivals(broker: BrokerSettings, topic: Topic) -> list[Any]:
    """Return every record of a topic, decoded, as Arrivals whose events are of the topic's kind."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "test-upgrade", "enable.auto.commit": False}
    )
    extents = {place: extent for place, extent in Positions(broker).extents([topic.name]).items() if extent.end}
    consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in extents])
    found = []
    try:
        for _ in range(sum(extent.end for extent in extents.values())):
            message = consumer.poll(SOON_S)
            assert message is not None, f"{topic.name} does not answer"
            event = decode(message.value() or b"")
            found.append(Arrival(event, topic.name, message.partition(), message.offset()))
    finally:
        consumer.close()
    return found


@pytest.mark.fault("F20", "the release before is killed, and this one starts from its state")
def test_the_present_stack_continues_from_the_state_of_an_earlier_release(
    data: DataFolder, earlier: Path, tmp_path: Path
) -> None:
    sent = Sent.make(tmp_path / "files")
    with Ledger(tmp_path / "sent.jsonl") as ledger:
        with earlier_stack(earlier, data) as old:
            send_before(old, sent, ledger, tmp_path)
            before = settled(old.broker)
        up = brought_up(data, environment(SETTINGS), options=["--free-ports"], out=tmp_path / "up.log")
        newest = newest_checkpoint(STUDY, data)
        with up as stack:
            restored, submitted = restored_from(stack), events_logged(stack, "job_submitted")
            left = [line["job"] for line in events_logged(stack, "state_left")]
            send_after(stack, sent, ledger, tmp_path)
            broker, waiting = load(BrokerSettings, stack.env), sent.waiting[0].parent.name
            transferred = ADDED[INSTANCE_STORED] + ADDED[TRANSFER_ENDED]
            wait_until(lambda: records_read(stack)["study"] >= transferred, SOON_S, "the study job does not read all")
            give(stack.api_url, waiting, "settle")
            wait_until(lambda: has_counted(records_read(stack)), SOON_S, "the sources do not count what they read")
            verdict = audit(address_of(stack), [ledger.path], wait_s=SOON_S)
            stored, dues, after = arrivals(broker, INSTANCE_STORED), arrivals(broker, STUDY_DUE), settled(broker)
            read = records_read(stack)

    assert restored == {"study": f"file:{newest}", "catalog": None}
    assert {line["job"]: line["checkpoint"] for line in submitted} == {"study": newest.name, "catalog": "None"}
    assert left == ["catalog"]
    assert read == READ_AFTER
    assert verdict.clean, verdict.line
    # The instance that was stored and not announced is there too.
    assert {one.event.sop_uid for one in stored} >= {path.stem for path in sent.open}
    [due] = [one.event for one in dues if one.event.study_uid == sent.open[0].parent.name]
    assert (due.window_instances, due.window_transfers) == (len(sent.open), 4)
    # The window that the earlier release opened is closed by a command.
    settled_by_command = [one.event for one in dues if one.event.signal == "commanded"]
    assert [(one.study_uid, one.window_instances) for one in settled_by_command] == [(waiting, len(sent.waiting))]
    # Each study has one revision, always announced alike; the one that was settled before is as it was.
    assert {(one.study_uid, one.revision): one.instances for one in after} == {
        (study_uid, 1): count for study_uid, count in sent.instances.items()
    }
    assert len({one.event_id: one for one in after}) == len(sent.instances)
    assert set(before) < set(after)
    assert len(set(after)) == len(sent.instances)

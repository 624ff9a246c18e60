"""The object store is the record: when the broker has lost its tail, or all but the objects is gone, one command heals it."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, wait_until
from tests.audit.auditor import audit
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.e2e.rebuild.archive import dump, fill, named_by_objects, rows
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import IS_FULL, Healing
from tests.support.machine.running_stack import address_of, environment_without_settings
from tests.support.rebuilt.told import LIVING, NOT_TOLD, Dump, differences, told
from tests.support.senders.sender import Peer, send

ROOT = Path(__file__).parents[3]
QUICK = {"FLUORO_STUDY_RELEASED_S": "1", "FLUORO_STUDY_QUIET_S": "3", "FLUORO_STUDY_QUIET_OPEN_S": "6"}
BOUND_S = 120.0
# The instances whose events the broker loses before any job has read them.
TAIL = 20
WIPED = ("kafka", "postgres", "checkpoints", "flink", "outbox", "spool", "batch")
POINT = re.compile(r"^- \*\*(.*?)\.\*\*", re.MULTILINE)


@dataclass
class Course:
    """What became of one archive: of its tables, and of the commands that rebuilt them."""

    before: Dump = field(default_factory=dict)
    living: Dump = field(default_factory=dict)
    after: Dump = field(default_factory=dict)
    named: set[tuple[str, str]] = field(default_factory=set)
    rebuilt: list["subprocess.CompletedProcess[str]"] = field(default_factory=list)
    # What the auditor found wrong in the end, and how long that took, after the tail was lost and after all was wiped.
    tail_lost: "Outcome" = field(default_factory=lambda: Outcome({}, 0))
    wiped: "Outcome" = field(default_factory=lambda: Outcome({}, 0))
    # How many instances of the tail the jobs had read.
    read: int = 0


class Outcome(NamedTuple):
    """What became of the archive after a fault."""

    wrong: dict[str, list[str]]
    seconds: float


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """Let an archive lose the broker's tail, then all but its objects; rebuild it each time, and once while it is whole."""
    if not IS_FULL:
        pytest.skip("takes six minutes: make faults")
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    root = Path(tempfile.mkdtemp(prefix="fluoro-rebuilt-"))
    root.chmod(0o755)
    try:
        with Ledger(root / "sent.jsonl") as ledger:
            yield lived(root, ledger, tmp_path_factory.mktemp("files"))
    finally:
        shutil.rmtree(root)


def lived(root: Path, ledger: Ledger, made: Path) -> Course:
    course, data = Course(), DataFolder(root / "data")
    environment = {**environment_without_settings(), **QUICK}
    with brought_up(data, environment, options=["--free-ports"], out=root / "up.log") as stack:
        fill(stack, ledger, made)
        wait_until(lambda: is_settled(stack), BOUND_S, "not every study is settled")
        stack.kill("flink")
        tail = files(Volume(studies=2, slices=TAIL // 2, size=32, seed=79), made / "tail")
        assert send(tail, Peer(stack.dimse_port), ledger).complete
        course.read = -len(rows(stack, "instance"))
    lose_tail(data.root / "kafka")
    with brought_up(data, environment, options=["--free-ports"], out=root / "up.log") as stack:
        course.read += len(rows(stack, "instance"))
        course.tail_lost = healed(stack, ledger, course)
        course.before = settled(stack, 0)
        course.named = named_by_objects(stack)
        course.rebuilt.append(rebuild(stack))
        course.living = settled(stack, len(course.before["due"]))
    for name in WIPED:
        shutil.rmtree(data.root / name, ignore_errors=True)
    with brought_up(data, environment, options=["--free-ports"], out=root / "up.log") as stack:
        course.wiped = healed(stack, ledger, course)
        course.after = settled(stack, 0)
    return course


def healed(stack: RunningStack, ledger: Ledger, course: Course) -> Outcome:
    """Run the command; return what the auditor finds once everything has come to rest."""
    began = time.monotonic()
    course.rebuilt.append(rebuild(stack))
    sets = audit(address_of(stack), [ledger.path], wait_s=BOUND_S, restored=True).sets
    wrong = {name: [f"{one.subject}: {one.why}" for one in found] for name, found in sets.items() if found}
    return Outcome(wrong, time.monotonic() - began)


def rebuild(stack: RunningStack) -> "subprocess.CompletedProcess[str]":
    """Run the command with the settings of a stack."""
    environment = {**environment_without_settings(), **stack.plan.settings("writer")}
    command = (sys.executable, "-m", "pipelines.batch.rebuild")
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BOUND_S, check=False
    )


def lose_tail(kafka: Path) -> None:
    """Empty the newest segment of each partition of instances and transfers, as a disk that forgets its last writes."""
    for partition in [*kafka.rglob("instance-stored-*"), *kafka.rglob("transfer-ended-*")]:
        segments = sorted(partition.glob("*.log"))
        if segments:
            segments[-1].write_bytes(b"")
            for beside in partition.glob(f"{segments[-1].stem}.*index"):
                beside.unlink()
            for snapshot in partition.glob("*.snapshot"):
                snapshot.unlink()
    for note in [*kafka.rglob(".kafka_cleanshutdown"), *kafka.rglob("recovery-point-offset-checkpoint")]:
        note.unlink()


def is_settled(stack: RunningStack) -> bool:
    """True if each study that shows something has a revision of all that it shows, and nothing waits."""
    counts = {row["study_uid"]: row["instances"] for row in rows(stack, "study") if row["instances"]}
    last: dict[str, tuple[int, int]] = {}
    for row in rows(stack, "revision"):
        found = (row["revision"], row["instances"])
        last[row["study_uid"]] = max(last.get(row["study_uid"], found), found)
    return not rows(stack, "waiting_due") and counts.items() <= {uid: count for uid, (_, count) in last.items()}.items()


def settled(stack: RunningStack, dues: int) -> Dump:
    """Return the tables once they stay the same, every study is settled, and more dues than so many were applied."""
    found: list[Dump] = []

    def stays() -> bool:
        time.sleep(4)
        found.append(dump(stack))
        return len(found[-1]["due"]) > dues and is_settled(stack) and found[-1:] == found[-2:-1]

    wait_until(stays, BOUND_S, "the tables do not come to rest")
    return found[-1]


@pytest.mark.fault("F12", "the newest segments are emptied before a job has read them; make rebuild")
def test_one_command_restores_what_the_broker_had_lost_before_it_was_read(course: Course, healing: Healing) -> None:
    healing.seconds = course.tail_lost.seconds
    assert course.read == 0
    assert course.rebuilt[0].returncode == 0, course.rebuilt[0].stderr
    assert healing.audited(course.tail_lost.wrong) == {}


@pytest.mark.fault("F34", "broker, database, checkpoints and outboxes are deleted; make rebuild")
def test_one_command_makes_everything_again_from_the_objects_alone(course: Course, healing: Healing) -> None:
    healing.seconds = course.wiped.seconds
    assert course.rebuilt[2].returncode == 0, course.rebuilt[2].stderr
    assert differences(told(course.before, named=course.named), told(course.after, named=course.named)) == []
    assert healing.audited(course.wiped.wrong) == {}


@pytest.mark.parametrize("point", NOT_TOLD)
def test_each_point_of_what_objects_do_not_tell_is_needed(course: Course, point: str) -> None:
    others = [each for each in NOT_TOLD if each != point]
    dumps = (told(each, others, course.named) for each in (course.before, course.after))

    assert differences(*dumps) != []


def test_a_rebuild_of_an_archive_that_is_whole_changes_nothing_but_dues(course: Course) -> None:
    assert course.rebuilt[1].returncode == 0, course.rebuilt[1].stderr
    assert differences(told(course.before, LIVING), told(course.living, LIVING)) == []


def test_the_list_of_what_objects_do_not_tell_is_that_of_the_manual() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    (section,) = re.findall(r"^### What objects do not tell$(.*?)^##", manual, re.MULTILINE | re.DOTALL)

    assert POINT.findall(section) == list(NOT_TOLD)

"""While random processes are killed, senders and operators go on; soon after the last recovery every study is settled.

    FLUORO_TEST_INSTANCES=5000 FLUORO_TEST_KILLS=30 FLUORO_TEST_SEED=1 .venv/bin/python -m pytest -s tests/e2e/settling/test_random_kills.py

is a full run: five minutes of kills, each kind of process at least twice. With FLUORO_TEST_PYTHON_MODE=thread the catalog
job's Python runs in its JVM, as it does in a local stack unless a setting says otherwise.
"""

import gc
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import brought_up
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.errors import Unavailable
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND, STUDY_DUE, STUDY_SETTLED
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.support.data.generate import Volume
from tests.support.faults.matrix import IS_FULL, Healing
from tests.support.kills.courses import Course, Doors, courses, run
from tests.support.kills.outcome import Told, digest, shown, told, unexplained
from tests.support.kills.victims import Kill, Killer, kinds_of
from tests.support.machine.running_stack import environment_without_settings
from tests.support.proof import Proof
from tests.support.senders.sender import Peer
from tests.support.senders.stow import Door
from tests.support.servers.records import records

SLICES = 50
INSTANCES = int(os.environ.get("FLUORO_TEST_INSTANCES", "500"))
# In full, one of each kind at least.
KILLS = int(os.environ.get("FLUORO_TEST_KILLS", "14" if IS_FULL else "5"))
SEED = int(os.environ.get("FLUORO_TEST_SEED", "15"))
SPACING_S = 10.0
# So that kills find open associations and requests.
DIMSE_REST_S, STOW_REST_S = 0.2, 1.0
SETTLED_S = 30.0
# Longer than any sender waits for an answer, and then before it sends again.
PATIENCE_S = 300.0
# The catalog job has processes of its own for its Python, so that these can be killed too.
SETTINGS = {
    "FLUORO_STUDY_QUIET_S": "3",
    "FLUORO_STUDY_QUIET_OPEN_S": "6",
    "FLUORO_JOB_PYTHON_MODE": os.environ.get("FLUORO_TEST_PYTHON_MODE", "process"),
}


@dataclass(frozen=True)
class Run:
    """All courses, all kills, and when nothing was missing after the last kill (Unix seconds)."""

    proof: Proof
    courses: Sequence[Course]
    kills: Sequence[Kill]
    whole_s: float

    def told(self) -> dict[str, Told]:
        """Return what the topics tell of each study now."""
        broker = load(BrokerSettings, self.proof.archive.env)
        return told(records(broker, INSTANCE_STORED, STUDY_COMMAND, STUDY_DUE, STUDY_SETTLED))


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    """Start a stack that settles studies soon."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    folder = Path(tempfile.mkdtemp(prefix="fluoro-kills-"))
    folder.chmod(0o755)
    settings = environment_without_settings() | SETTINGS
    up = brought_up(DataFolder(folder / "data"), settings, options=["--free-ports"], out=folder / "up.log")
    with up as archive, Ledger(tmp_path_factory.mktemp("ledger") / "sent.jsonl") as ledger:
        yield Proof(archive, ledger)
    # pynetdicom's unclosed sockets are collected here, not in a test of another folder.
    gc.collect()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def after(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Kill while studies come; return the run once the stack is whole and everything is acknowledged."""
    say(f"seed {SEED}: {INSTANCES} instances, {KILLS} kills")
    chance, stopping = random.Random(SEED), threading.Event()
    doors = Doors(
        Peer(proof.archive.dimse_port, patience_s=PATIENCE_S, rest_s=DIMSE_REST_S),
        Door(proof.archive.api_url, patience_s=PATIENCE_S, rest_s=STOW_REST_S),
        proof.ledger,
        lambda study_uid: is_settled(proof, study_uid),
    )
    volume = Volume(studies=INSTANCES // SLICES, slices=SLICES, size=64, series=2, seed=SEED)
    every = list(courses(volume, tmp_path_factory.mktemp("sent"), doors, chance))
    killer = Killer(proof.archive, chance, KILLS, SPACING_S)
    with ThreadPoolExecutor(2) as pool:
        sending = pool.submit(run, every, KILLS * SPACING_S, stopping)
        try:
            whole_s = killer.run()
        except BaseException:
            stopping.set()
            raise
        finished(sending.result())
    say(f"the last recovery was {killer.kills[-1].missing_s:.1f} s after the last kill, of a {killer.kills[-1].kind}")
    say(f"all was acknowledged and answered {time.time() - whole_s:+.1f} s after the last recovery")
    return Run(proof, every, killer.kills, whole_s)


def is_settled(proof: Proof, study_uid: str) -> bool:
    """True if the database answers, and a due of the study has made a revision."""
    try:
        dues = PostgresHiddenRows(proof.archive.catalog("writer")).dues("local", study_uid)
    except Unavailable:
        return False
    return any(due.revision for due in dues)


def finished(begun: "Sequence[Future[None]]") -> None:
    """Wait until all courses have ended; raises the error of one that has failed."""
    for one in begun:
        one.result()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@pytest.mark.fault("F27", f"{KILLS} random processes are killed, one every {SPACING_S:.0f} s; the slowest recovery")
def test_the_auditor_finds_nothing_wrong(after: Run, healing: Healing) -> None:
    healing.seconds = max(kill.missing_s or 0 for kill in after.kills)

    assert healing.audited(after.proof.wrong()) == {}


def test_each_kind_of_process_is_killed_as_often_as_another_and_the_stack_recovers(after: Run) -> None:
    took_s = {
        kind: [kill.missing_s for kill in after.kills if kill.kind == kind] for kind in kinds_of(after.proof.archive)
    }
    for kind, seconds in took_s.items():
        say(f"{kind}: {', '.join('the next kill came before' if one is None else f'{one:.1f} s' for one in seconds)}")

    assert sum(map(len, took_s.values())) == KILLS
    assert max(map(len, took_s.values())) - min(map(len, took_s.values())) <= 1


def test_each_study_is_settled_soon_after_the_last_recovery(after: Run) -> None:
    settled = {uid: study for uid, study in after.told().items() if study.revisions}
    # What came after the recovery is settled as soon after it came.
    late_s = {uid: study.settled_s - max(after.whole_s, study.last_s) for uid, study in settled.items()}
    last_s = max(study.settled_s for study in settled.values()) - after.whole_s
    say(
        f"the last study was settled {last_s:+.1f} s after the last recovery, the slowest after {max(late_s.values()):+.1f} s"
    )

    assert {course.study_uid for course in after.courses if not course.is_deleted} <= late_s.keys()
    assert max(late_s.values()) <= SETTLED_S, {uid: seconds for uid, seconds in late_s.items() if seconds > SETTLED_S}


def test_each_revision_counts_what_had_come_when_it_was_made(after: Run) -> None:
    found = after.told()
    wrong = {
        course.study_uid: [*unexplained(found[course.study_uid], course.choices, may_be_empty=is_ever_deleted(course))]
        for course in after.courses
    }
    signals = Counter(one.signal for study in found.values() for one in study.revisions.values())
    say(f"{sum(signals.values())} revisions of {len(found)} studies: {dict(signals)}")

    assert {uid: why for uid, why in wrong.items() if why} == {}
    assert min(found[course.study_uid].last.revision for course in after.courses if course.kind == "late") > 1


def test_each_study_shows_all_its_instances_the_chosen_contents_or_those_stored_first(after: Run) -> None:
    found, wrong = after.told(), {}
    for course in after.courses:
        study = found[course.study_uid]
        contents = {} if course.is_deleted else shown(study.stored, course.choices[-1])
        last = study.last.digest if study.revisions else digest({})
        if last != digest(contents) or not (course.is_deleted or contents.keys() == course.sop_uids):
            wrong[course.study_uid] = course.kind

    assert wrong == {}


def test_each_command_is_carried_out_once_whatever_answers_were_lost(after: Run) -> None:
    rows = PostgresHiddenRows(after.proof.archive.catalog("writer"))
    statuses = Counter(status for course in after.courses for one in course.given for status in one.statuses)
    say(f"answers to commands: {dict(statuses)}")

    for course in after.courses:
        cataloged = [(row.command_id, row.action) for row in rows.commands("local", course.study_uid)]
        assert cataloged == [(UUID(one.command_id), one.action) for one in course.given], course.kind
        decided = {row.subject: row.in_force for row in rows.decisions("local", course.study_uid)}
        assert decided.get("deletion", False) == course.is_deleted
        assert decided.get("hold", False) == course.is_held


def is_ever_deleted(course: Course) -> bool:
    return any(one.action == "delete" for one in course.given)

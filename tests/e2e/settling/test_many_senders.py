"""Studies that several senders bring side by side settle once, as soon as the last of their associations has ended."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from schemas.events import InstanceStored, StudySettled, TransferEnded
from schemas.settings.jobs import StudySettings
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED, STUDY_SETTLED, TRANSFER_ENDED
from tests.support.data.generate import Volume, files
from tests.support.proof import Proof
from tests.support.servers.records import records

STUDIES, SLICES, SENDERS = 8, 250, 4
# Measured: 0.31 to 0.53 s, of which the study job waits up to 0.5 s for more records. A pause of a machine that is shared
# may make one later.
MEDIAN_LATE_S, LATE_S = 1.0, 3.0


@dataclass
class Course:
    """What became of one study, in seconds by the broker's clock."""

    # When its last instance or end of a transfer was appended.
    last_s: float = 0.0
    transfers: set[str] = field(default_factory=set)
    settled: list[StudySettled] = field(default_factory=list)
    settled_s: float = 0.0


def courses(broker: BrokerSettings) -> dict[str, Course]:
    """Return the course of each study, read from the topics."""
    found: dict[str, Course] = defaultdict(Course)
    for record in records(broker, INSTANCE_STORED, TRANSFER_ENDED, STUDY_SETTLED):
        note(found, record.event, record.at_s)
    return found


def note(found: dict[str, Course], event: object, at_s: float) -> None:
    if isinstance(event, StudySettled):
        found[event.study_uid].settled.append(event)
        found[event.study_uid].settled_s = at_s
    elif isinstance(event, InstanceStored | TransferEnded) and event.study_uid:
        found[event.study_uid].last_s = max(found[event.study_uid].last_s, at_s)
        found[event.study_uid].transfers.add(event.transfer_id)


def test_each_study_settles_once_when_its_last_association_has_ended(proof: Proof, tmp_path: Path) -> None:
    every = files(Volume(studies=STUDIES, slices=SLICES, size=64, seed=2000), tmp_path)
    studies = [every[first : first + SLICES] for first in range(0, len(every), SLICES)]
    for study in studies:
        assert proof.send(study).complete
    assert proof.wrong() == {}

    settings = load(StudySettings, proof.archive.plan.settings("writer"))
    found = courses(load(BrokerSettings, proof.archive.env))
    mine = [found[study[0].parent.name] for study in studies]
    assert [len(course.transfers) for course in mine] == [SENDERS] * STUDIES
    assert {(one.revision, one.signal, one.instances) for course in mine for one in course.settled} == {
        (1, "released", SLICES)
    }
    assert [len(course.settled) for course in mine] == [1] * STUDIES
    late_s = [course.settled_s - course.last_s - settings.released_s for course in mine]
    assert median(late_s) <= MEDIAN_LATE_S, sorted(late_s)
    assert max(late_s) <= LATE_S, sorted(late_s)

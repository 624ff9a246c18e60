"""When a study is due: a table of cases, run in virtual time."""

import pytest

from operators.stream.newer_release import UnknownState
from operators.stream.step import Arrival
from operators.study.due import due_step, identity
from schemas.events import InstanceStored, StudyCommand, StudyDue, TransferEnded
from schemas.settings.jobs import StudySettings
from tests.support.worlds.studies import KEY, PARTITION, arrived, ended, instance
from tests.support.worlds.virtual_time import Engine, events

SETTINGS = StudySettings(
    released_s=5, quiet_s=60, quiet_by_modality="CT=120,US=300", quiet_open_s=300, limit_s=6 * 3600
)
Given = tuple[float, InstanceStored | TransferEnded | StudyCommand]
Due = tuple[str, int, int]
FOREVER = 10 * SETTINGS.limit_s


def run(*steps: Given) -> Engine:
    """Feed (time, event) pairs to an engine in this order, then let time pass; return the engine."""
    engine = Engine(due_step(SETTINGS), identity)
    for offset, (at, event) in enumerate(steps):
        engine.run_until(at)
        engine.feed(KEY, arrived(event, offset))
    engine.run_until(FOREVER)
    return engine


def dues(*steps: Given) -> list[Due]:
    """Return the signal, the time and the number of instances of each StudyDue event."""
    return [
        (due.signal, round(due.occurred_at.timestamp()), due.window_instances)
        for due in events(run(*steps).outputs, StudyDue)
    ]


CASES: dict[str, tuple[list[Given], list[Due]]] = {
    "a released transfer of two": (
        [(0, instance(1)), (1, instance(2)), (2, ended(instances=2))],
        [("released", 7, 2)],
    ),
    "the end of a transfer of one instance does not release": (
        [(0, instance(1)), (2, ended(instances=1))],
        [("quiet", 60, 1)],
    ),
    "an end before its instances": (
        [(0, ended(instances=2)), (1, instance(1)), (2, instance(2))],
        [("released", 7, 2)],
    ),
    "an end that announces more instances than arrived": (
        [(0, instance(1)), (1, instance(2)), (2, ended(instances=3))],
        [("quiet", 301, 2)],
    ),
    "no end at all": (
        [(0, instance(1)), (1, instance(2))],
        [("quiet", 301, 2)],
    ),
    "an aborted transfer": (
        [(0, instance(1)), (1, instance(2)), (2, ended(instances=2, outcome="aborted"))],
        [("quiet", 301, 2)],
    ),
    "an aborted transfer, then one that began after it and ended well": (
        [
            (0, instance(1, "a")),
            (1, ended("a", 1, "aborted", ended_s=1)),
            (9, instance(1, "b")),
            (9, instance(2, "b")),
            (10, ended("b", 2, began_s=8, ended_s=10)),
        ],
        [("released", 15, 2)],
    ),
    "an aborted transfer, then the end of one that had begun before": (
        [
            (0, instance(1, "a")),
            (0, instance(2, "b")),
            (2, ended("a", 1, "aborted", began_s=0, ended_s=2)),
            (9, instance(3, "b")),
            (10, ended("b", 2, began_s=1, ended_s=10)),
        ],
        [("quiet", 309, 3)],
    ),
    "two transfers side by side": (
        [
            (0, instance(1, "a")),
            (0, instance(2, "a")),
            (1, instance(3, "b")),
            (2, ended("a", 2)),
            (20, ended("b", 1)),
        ],
        [("released", 25, 3)],
    ),
    "a rebuilt transfer": (
        [(0, instance(1)), (0, instance(2)), (1, ended(instances=2, outcome="rebuilt"))],
        [("released", 6, 2)],
    ),
    "the quiet time of its modality": (
        [(0, instance(1, modality="CT")), (1, ended(instances=1))],
        [("quiet", 120, 1)],
    ),
    "the longest quiet time of several modalities": (
        [(0, instance(1, "a", modality="US")), (0, instance(2, "b", modality="CT")), (1, ended("a")), (1, ended("b"))],
        [("quiet", 300, 2)],
    ),
    "a window that begins soon after a due is not released": (
        [
            (0, instance(1, "a")),
            (0, instance(2, "a")),
            (0, ended("a", 2)),
            (20, instance(3, "b")),
            (20, instance(4, "b")),
            (20, ended("b", 2, began_s=20, ended_s=20)),
        ],
        [("released", 5, 2), ("quiet", 80, 2)],
    ),
    "a window that begins long after a due is released": (
        [
            (0, instance(1, "a")),
            (0, instance(2, "a")),
            (0, ended("a", 2)),
            (70, instance(3, "b")),
            (70, instance(4, "b")),
            (70, ended("b", 2, began_s=70, ended_s=70)),
        ],
        [("released", 5, 2), ("released", 75, 2)],
    ),
    "a repeated event whose entry is still kept": (
        [(0, instance(1)), (0, instance(2)), (0, ended(instances=2)), (50, instance(1)), (50, ended(instances=2))],
        [("released", 5, 2)],
    ),
    "an instance that two transfers carry is counted once": (
        [(0, instance(1, "a")), (0, ended("a")), (1, instance(1, "b")), (1, ended("b"))],
        [("quiet", 61, 1)],
    ),
    "an end without a window opens none": (
        [(0, ended(instances=0)), (1, ended("b", 3, "aborted"))],
        [],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), CASES.values(), ids=CASES.keys())
def test_a_study_is_due_at_the_first_signal(steps: list[Given], expected: list[Due]) -> None:
    assert dues(*steps) == expected


def test_the_end_of_a_transfer_without_a_study_leaves_nothing() -> None:
    engine = Engine(due_step(SETTINGS), identity)
    engine.feed("local/t1", arrived(ended(study=None), 0))

    assert (engine.outputs, engine.entries) == ([], 0)
    assert set(engine.heads.values()) <= {b""}


def test_a_window_that_is_never_quiet_closes_at_the_limit() -> None:
    steps: list[Given] = [(50.0 * number, instance(number, f"t{number}")) for number in range(600)]

    first, *_ = dues(*steps)
    assert first[:2] == ("limit", 6 * 3600)


def test_a_due_names_the_position_of_its_last_instance() -> None:
    (due,) = events(run((0, instance(1)), (1, instance(2)), (2, ended(instances=2))).outputs, StudyDue)

    assert (due.instance_partition, due.instance_offset) == (PARTITION, 1)
    assert due.cause == (instance(2).event_id,)


def test_the_offset_in_a_due_belongs_to_its_partition() -> None:
    engine = Engine(due_step(StudySettings()), identity)
    engine.feed(KEY, Arrival(instance(1), "instance-stored", 3, 1000))
    engine.feed(KEY, Arrival(instance(2), "instance-stored", 19, 5))
    engine.run_until(4000)

    due = events(engine.outputs, StudyDue)[0]
    assert (due.instance_partition, due.instance_offset) == (19, 5)


def test_an_incomplete_transfer_is_kept_after_its_window_closes() -> None:
    steps: list[Given] = [(0, instance(1, "a")), (1000, instance(2, "a")), (1001, ended("a", 2))]

    assert dues(*steps) == [("quiet", 300, 1), ("released", 1006, 1)]


def test_nothing_is_kept_of_a_study_that_has_settled() -> None:
    engine = run((0, instance(1)), (0, instance(2)), (0, ended(instances=2)))

    assert not engine.heads
    assert engine.entries == 0


def test_a_window_that_was_due_while_the_job_was_stopped_waits_for_its_quiet_time_again() -> None:
    engine = Engine(due_step(SETTINGS), identity)
    engine.feed(KEY, arrived(instance(1), 0))
    engine.restore(engine.snapshot(), 5000.0)
    engine.run_until(5299.0)

    assert engine.outputs == []
    engine.run_until(5301.0)
    assert len(engine.outputs) == 1


@pytest.mark.fault("F20", "the study job starts from state of a version that it does not know")
def test_state_of_another_version_stops_the_job() -> None:
    step = due_step(SETTINGS)

    with pytest.raises(UnknownState):
        step(b'{"v":3,"study":{}}', None, None, 1.0, 0.0)

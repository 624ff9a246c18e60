"""What commands change of when a study is due: tables of cases, run in virtual time."""

from typing import get_args

import pytest

from operators.errors import Rejected
from operators.study.due import due_step, identity
from schemas.events import Action, Event, StudyDue
from tests.support.worlds.studies import KEY, PARTITION, arrived, command, ended, instance
from tests.support.worlds.virtual_time import Engine, events
from tests.unit.operators.study.test_due import FOREVER, SETTINGS, Due, Given, dues, run

LIMIT_S = SETTINGS.limit_s
TWO: list[Given] = [(0, instance(1)), (1, instance(2))]

CASES: dict[str, tuple[list[Given], list[Due]]] = {
    "the expected instances have arrived": (
        [(0, instance(1)), (1, command("expect", expects=2)), (2, instance(2))],
        [("expected", 2, 2)],
    ),
    "more than the expected instances had arrived before": (
        [*TWO, (5, command("expect", expects=1))],
        [("expected", 5, 2)],
    ),
    "an expectation before the first instance": (
        [(0, command("expect", expects=2)), (50, instance(1)), (55, instance(2))],
        [("expected", 55, 2)],
    ),
    "an expectation that is not met": (
        [(0, command("expect", expects=3)), (0, instance(1)), (1, instance(2)), (2, ended(instances=2))],
        [("released", 7, 2)],
    ),
    "an expectation of a window that has closed is not one of the next": (
        [
            (0, command("expect", expects=3)),
            *TWO,
            (2, ended(instances=2)),
            (100, instance(3, "b")),
            (100, instance(4, "b")),
            (101, instance(5, "b")),
            (102, ended("b", 3, began_s=100)),
        ],
        [("released", 7, 2), ("released", 107, 3)],
    ),
    "an expectation without an instance ends at the limit": (
        [(0, command("expect", expects=1)), (LIMIT_S + 1, instance(1)), (LIMIT_S + 1, ended())],
        [("quiet", round(LIMIT_S) + 61, 1)],
    ),
    "a repeated instance counts once": (
        [(0, command("expect", expects=2)), (0, instance(1, "a")), (1, instance(1, "b")), (2, ended("a"))],
        [("quiet", 301, 1)],
    ),
    "a later expectation replaces an earlier one": (
        [(0, command("expect", 1, expects=2)), (0, command("expect", 2, expects=3)), *TWO, (3, instance(3))],
        [("expected", 3, 3)],
    ),
    "an earlier expectation that arrives later changes nothing": (
        [(0, command("expect", 2, expects=3)), (0, command("expect", 1, expects=2)), *TWO, (3, instance(3))],
        [("expected", 3, 3)],
    ),
    "an expectation that is repeated after its window closed": (
        [(0, command("expect", expects=1)), (0, instance(1)), (9, command("expect", expects=1)), (9, instance(2, "b"))],
        [("expected", 0, 1), ("quiet", 309, 1)],
    ),
    "settle closes the window": (
        [*TWO, (7, command("settle"))],
        [("commanded", 7, 2)],
    ),
    "settle closes nothing where nothing is open": (
        [(0, command("settle")), (7, instance(1)), (7, ended())],
        [("quiet", 67, 1)],
    ),
    "settle leaves an expectation without an instance": (
        [(0, command("expect", 1, expects=1)), (1, command("settle", 2)), (2, instance(1))],
        [("expected", 2, 1)],
    ),
    "settle that is repeated leaves the next window open": (
        [*TWO, (2, ended(instances=2)), (3, command("settle")), (9, instance(3, "b")), (10, command("settle"))],
        [("commanded", 3, 2), ("quiet", 309, 1)],
    ),
    "settle that is older than the last one changes nothing": (
        [(0, instance(1)), (0, command("settle", 2)), (1, instance(2, "b")), (1, command("settle", 1))],
        [("commanded", 0, 1), ("quiet", 301, 1)],
    ),
    "the rest of a transfer makes a window that is not released": (
        [(0, instance(1)), (0, command("settle")), (1, instance(2)), (1, instance(3)), (1, ended(instances=3))],
        [("commanded", 0, 1), ("quiet", 61, 2)],
    ),
    "what changes what is shown is due at once": (
        [(0, command("delete", 1)), (9, command("restore", 2)), (9, command("choose", 3))],
        [("commanded", 0, 0), ("commanded", 9, 0), ("commanded", 9, 0)],
    ),
    "what changes what is shown counts into an open window": (
        [*TWO, (1, command("delete", 1)), (2, command("restore", 2)), (2, ended(instances=2))],
        [("released", 7, 2)],
    ),
    "what changes what is shown does not wait for what is expected": (
        [(0, command("expect", 1, expects=1)), (1, command("delete", 2)), (2, instance(1))],
        [("commanded", 1, 0), ("expected", 2, 1)],
    ),
    "a repeated deletion": (
        [(0, command("delete")), (9, command("delete"))],
        [("commanded", 0, 0)],
    ),
    "a window that begins soon after a deletion is released": (
        [(0, command("delete")), *TWO, (2, ended(instances=2))],
        [("commanded", 0, 0), ("released", 7, 2)],
    ),
    "other commands change nothing": (
        [*TWO, (1, command("hold", 1)), (1, command("unhold", 2)), (1, command("reprocess", 3)), (2, ended("t1", 2))],
        [("released", 7, 2)],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), CASES.values(), ids=CASES.keys())
def test_a_command_makes_a_study_due_as_it_says(steps: list[Given], expected: list[Due]) -> None:
    assert dues(*steps) == expected


@pytest.mark.parametrize(
    ("steps", "cause", "instance_offset", "command_offset"),
    [
        ([(0, instance(1)), (1, command("settle"))], (instance(1), command("settle")), 0, 1),
        ([(0, instance(1)), (1, command("delete"))], (instance(1), command("delete")), 0, 1),
        ([(0, command("expect", expects=1)), (1, instance(1))], (instance(1), command("expect", expects=1)), 1, 0),
        (
            [(0, command("expect", 1, expects=2)), (1, instance(1)), (2, command("delete", 2)), (3, instance(2))],
            (instance(2), command("expect", 1, expects=2), command("delete", 2)),
            3,
            2,
        ),
        ([(0, command("hold")), (1, instance(1))], (instance(1),), 1, None),
        ([(0, command("settle")), (1, instance(1))], (instance(1),), 1, None),
        ([(0, command("choose"))], (command("choose"),), None, 0),
    ],
)
def test_a_due_names_the_last_instance_and_the_last_command_that_it_counts(
    steps: list[Given], cause: tuple[Event, ...], instance_offset: int | None, command_offset: int | None
) -> None:
    (due,) = events(run(*steps).outputs, StudyDue)

    assert due.cause == tuple(event.event_id for event in cause)
    assert (due.instance_offset, due.command_offset) == (instance_offset, command_offset)
    assert due.instance_partition == (None if instance_offset is None else PARTITION)
    assert due.command_partition == (None if command_offset is None else PARTITION)


def test_a_due_that_counts_a_command_has_another_id_than_one_that_does_not() -> None:
    """The first one was sent, and lost with the job's state: the window is open again when the command arrives."""
    (before,) = events(run((0, instance(1))).outputs, StudyDue)
    (after,) = events(run((0, instance(1)), (1, command("delete"))).outputs, StudyDue)

    assert (before.signal, before.instance_offset) == (after.signal, after.instance_offset)
    assert before.event_id != after.event_id


def test_the_due_of_a_command_has_the_same_id_when_the_command_is_published_again() -> None:
    (first,) = events(run((0, command("delete"))).outputs, StudyDue)
    (again,) = events(run((0, command("hold", 2)), (9, command("delete"))).outputs, StudyDue)

    assert first.event_id == again.event_id


@pytest.mark.parametrize("expects", [None, 0, -1])
def test_an_expectation_of_no_instance_is_rejected_and_changes_nothing(expects: int | None) -> None:
    engine = Engine(due_step(SETTINGS), identity)
    engine.feed(KEY, arrived(instance(1), 0))
    before = engine.snapshot()

    with pytest.raises(Rejected, match="expects-no-instance"):
        engine.feed(KEY, arrived(command("expect", expects=expects), 1))
    assert engine.snapshot() == before


@pytest.mark.parametrize("action", get_args(Action))
def test_nothing_is_kept_of_a_command_after_the_limit(action: Action) -> None:
    engine = run((0, command(action, expects=1)))

    assert (engine.heads, engine.entries) == ({}, 0)


def test_a_repetition_is_remembered_until_the_limit() -> None:
    engine = run((0, command("delete")), (LIMIT_S - 1, command("delete")))

    assert len(engine.outputs) == 1
    assert engine.now == FOREVER

"""A revision is explained by what had come when it was made, and by nothing else."""

import pytest

from schemas.events import Event, InstanceStored, StudySettled
from tests.support.kills.outcome import EMPTY, Told, digest, shown, told, unexplained
from tests.support.servers.records import Record
from tests.support.worlds.catalog_histories import due, instance

FIRST, SECOND = instance(sop="1", second=1), instance(sop="2", second=2)
# Another content of the first instance, stored later; and one stored earlier that came later.
LATER, EARLIER = instance(sop="1", content="b", second=3), instance(sop="1", content="c", second=0)
STORED = (FIRST, SECOND, LATER, EARLIER)
NOT_CHOSEN: dict[str, str] = {}


def revision(contents: dict[str, str], instances: int | None = None) -> StudySettled:
    """Return the announcement of a revision that shows these contents."""
    return StudySettled(
        event_id="settled",
        tenant="local",
        occurred_at=FIRST.occurred_at,
        cause=(due().event_id,),
        study_uid=FIRST.study_uid,
        version=1,
        revision=1,
        digest=digest(contents),
        signal="quiet",
        instances=len(contents) if instances is None else instances,
        size_bytes=1,
        series=(),
        series_truncated=False,
        modalities=(),
        sop_classes=(),
    )


def study(settled: StudySettled, counted: int = 1) -> Told:
    """Return a study of which all were stored, with one revision, whose due counts the arrivals up to an offset."""
    events: tuple[Event, ...] = (*STORED, due(place=(0, counted)), settled)
    return told(Record(event, "topic", 0, offset, float(offset)) for offset, event in enumerate(events))[
        FIRST.study_uid
    ]


def of(*events: InstanceStored) -> dict[str, str]:
    return {event.sop_uid: event.data_hash for event in events}


def wrong(
    settled: StudySettled, counted: int = 1, *, chosen: InstanceStored | None = None, deleted: bool = False
) -> int:
    choices = [NOT_CHOSEN, *([of(chosen)] if chosen else [])]
    return len([*unexplained(study(settled, counted), choices, may_be_empty=deleted)])


@pytest.mark.parametrize(
    ("settled", "counted"),
    [
        (revision(of(FIRST, SECOND)), 1),
        (revision(of(FIRST, SECOND)), 2),
        # More had come than the due counts.
        (revision(of(EARLIER, SECOND)), 1),
        (revision(of(FIRST)), 0),
    ],
)
def test_what_had_come_up_to_the_due_or_after_it_explains_a_revision(settled: StudySettled, counted: int) -> None:
    assert wrong(settled, counted) == 0


@pytest.mark.parametrize(
    ("settled", "counted"),
    [
        # Before the last instance that its due counts.
        (revision(of(FIRST)), 1),
        (revision(of(FIRST, SECOND)), 3),
        # Content that was stored later, and that nobody chose.
        (revision(of(LATER, SECOND)), 1),
        # One of two, and a wrong count.
        (revision(of(SECOND)), 0),
        (revision(of(FIRST, SECOND), instances=3), 1),
        (revision({}), 1),
    ],
)
def test_a_revision_that_shows_or_counts_anything_else_is_found(settled: StudySettled, counted: int) -> None:
    assert wrong(settled, counted) == 1


def test_a_chosen_content_and_a_deletion_explain_what_nothing_else_does() -> None:
    assert wrong(revision(of(LATER, SECOND)), chosen=LATER) == 0
    assert wrong(revision({}), deleted=True) == 0
    assert revision({}).digest == EMPTY


def test_a_study_is_settled_when_its_last_revision_was_first_announced() -> None:
    again = Record(revision(of(FIRST)), "topic", 0, 9, 99.0)
    found = study(revision(of(FIRST)))
    found.note(again)

    assert found.settled_s == float(len(STORED) + 1)
    assert found.last_s == float(len(STORED) - 1)
    assert shown(found.stored, NOT_CHOSEN) == of(EARLIER, SECOND)

"""When an open window would close, and when the parts of a study's state expire."""

from dataclasses import replace

import pytest

from operators.study.deadlines import StudyClock, expiries, quiet_time, signals, without_expired
from operators.study.state import LastDue, OpenWindow, TransferEnds, TransferProgress, WatchedStudy
from schemas.settings.jobs import StudySettings

SETTINGS = StudySettings(released_s=5, quiet_s=60, quiet_by_modality="CT=120", quiet_open_s=300, limit_s=3600)
NOW = StudyClock(now=1000.0, started=0.0, settings=SETTINGS)
WINDOW = OpenWindow(
    name="3/0",
    opened_at=990.0,
    last_at=1000.0,
    releasable=True,
    partition=3,
    offset=0,
    cause="e",
    several=True,
    completed_at=1000.0,
)
STUDY = WatchedStudy(tenant="local", study_uid="1.2.3", window=WINDOW)
INCOMPLETE = {"t1": TransferProgress(heard_at=1000.0, seen=1)}
BROKEN = TransferEnds(heard_at=1000.0, broken_at=900.0)


def test_a_released_window_is_due_first() -> None:
    assert signals(STUDY, WINDOW, NOW) == [(1005.0, "released"), (1060.0, "quiet"), (4590.0, "limit")]


@pytest.mark.parametrize(
    "window",
    [
        replace(WINDOW, releasable=False),
        replace(WINDOW, several=False),
        replace(WINDOW, completed_at=None),
    ],
)
def test_a_window_that_may_not_be_released_waits_for_quiet_or_limit(window: OpenWindow) -> None:
    assert [signal for _, signal in signals(replace(STUDY, window=window), window, NOW)] == ["quiet", "limit"]


@pytest.mark.parametrize("study", [replace(STUDY, transfers=INCOMPLETE), replace(STUDY, ends=BROKEN)])
def test_a_study_that_expects_more_waits_longer_and_is_not_released(study: WatchedStudy) -> None:
    assert quiet_time(study, WINDOW, NOW) == 300
    assert [signal for _, signal in signals(study, WINDOW, NOW)] == ["quiet", "limit"]


def test_time_in_which_the_job_did_not_run_does_not_count() -> None:
    assert StudyClock(1000.0, 990.0, SETTINGS).after(100.0, 60.0) == 1050.0


def test_every_part_of_the_state_except_the_window_expires() -> None:
    study = WatchedStudy(
        tenant="local", study_uid="1.2.3", transfers=INCOMPLETE, ends=BROKEN, due=LastDue(at=1000.0, quiet_s=60.0)
    )
    assert expiries(study, NOW) == [4600.0, 4600.0, 1060.0]

    left = without_expired(study, replace(NOW, now=4600.0))
    assert left is not None
    assert left.is_empty


def test_ends_that_no_longer_matter_are_removed_at_once() -> None:
    mended = WatchedStudy(tenant="local", study_uid="1.2.3", ends=replace(BROKEN, mended_at=950.0))

    assert without_expired(mended, NOW) == replace(mended, ends=None)

"""The moments of a study: when its window is due and by which signal, and when what is kept of it stops mattering."""

from dataclasses import dataclass, replace

from operators.study.state import OpenWindow, WatchedStudy
from schemas.events import Signal
from schemas.settings.jobs import StudySettings


@dataclass(frozen=True)
class Moment:
    """The time of one step: now, the start of the job, and the settings that hold (times in Unix seconds)."""

    now: float
    started: float
    settings: StudySettings

    def after(self, since: float, seconds: float) -> float:
        """Return the moment that many `seconds` after `since`, or after the job's start if that was later.

        Nothing could arrive while the job stood still.
        """
        return max(since, self.started) + seconds


def signals(study: WatchedStudy, window: OpenWindow, moment: Moment) -> list[tuple[float, Signal]]:
    """List when each signal would close the window if nothing more arrived; of equal moments the first one counts."""
    settings = moment.settings
    quiet_s = quiet_time(study, window, moment)
    limit = max(window.opened_at + settings.limit_s, moment.started + quiet_s)
    found: list[tuple[float, Signal]] = [(moment.after(window.last_at, quiet_s), "quiet"), (limit, "limit")]
    if window.releasable and window.several and window.completed_at is not None and not study.expects_more:
        found.insert(0, (moment.after(window.completed_at, settings.released_s), "released"))
    return found


def quiet_time(study: WatchedStudy, window: OpenWindow, moment: Moment) -> float:
    """Return the seconds without an instance after which the window is due."""
    quiet_s = moment.settings.quiet(window.modality)
    return max(quiet_s, moment.settings.quiet_open_s) if study.expects_more else quiet_s


def expiries(study: WatchedStudy, moment: Moment) -> list[float]:
    """List the moments at which something that is kept without a window stops mattering."""
    transfers = [_expiry(one.heard_at, moment) for one in study.transfers.values()]
    ends = [_expiry(study.ends.heard_at, moment)] if study.ends else []
    due = [moment.after(study.due.at, study.due.quiet_s)] if study.due else []
    return [*transfers, *ends, *due]


def without_expired(study: WatchedStudy | None, moment: Moment) -> WatchedStudy | None:
    """Return the study without old incomplete transfers, ends that delay nothing, and a last due that is over."""
    if study is None:
        return None
    transfers = {name: one for name, one in study.transfers.items() if moment.now < _expiry(one.heard_at, moment)}
    ends = study.ends if study.ends and moment.now < _expiry(study.ends.heard_at, moment) else None
    if ends and not (study.window or transfers or ends.is_broken):
        ends = None
    due = study.due if study.due and moment.now < moment.after(study.due.at, study.due.quiet_s) else None
    return replace(study, transfers=transfers, ends=ends, due=due)


def _expiry(heard_at: float, moment: Moment) -> float:
    return max(heard_at + moment.settings.limit_s, moment.started + moment.settings.quiet_open_s)

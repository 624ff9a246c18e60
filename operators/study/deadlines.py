"""The deadlines of a study: when its window is due and by which signal, and when each part of its state expires."""

from dataclasses import dataclass, replace

from operators.study.state import OpenWindow, WatchedStudy
from schemas.events import Signal
from schemas.settings.jobs import StudySettings


@dataclass(frozen=True)
class StudyClock:
    """The present time, the start of the job (both Unix seconds), and the settings: all that deadlines depend on."""

    now: float
    started: float
    settings: StudySettings

    def after(self, since: float, seconds: float) -> float:
        """Return the time `seconds` after `since`, or after the job's start if that was later.

        Time before the start does not count, because no event could arrive then.
        """
        return max(since, self.started) + seconds


def signals(study: WatchedStudy, window: OpenWindow, clock: StudyClock) -> list[tuple[float, Signal]]:
    """Return when each signal would close the window if nothing more arrived; of equal times the first wins."""
    settings = clock.settings
    quiet_s = quiet_time(study, window, clock)
    limit = max(window.opened_at + settings.limit_s, clock.started + quiet_s)
    found: list[tuple[float, Signal]] = [(clock.after(window.last_at, quiet_s), "quiet"), (limit, "limit")]
    if window.releasable and window.several and window.completed_at is not None and not study.expects_more:
        found.insert(0, (clock.after(window.completed_at, settings.released_s), "released"))
    if study.expectation and window.instances >= study.expectation.instances:
        found.insert(0, (clock.now, "expected"))
    return found


def quiet_time(study: WatchedStudy, window: OpenWindow, clock: StudyClock) -> float:
    """Return the seconds without an instance after which the window is due."""
    quiet_s = clock.settings.quiet(window.modality)
    return max(quiet_s, clock.settings.quiet_open_s) if study.expects_more else quiet_s


def expiries(study: WatchedStudy, clock: StudyClock) -> list[float]:
    """Return the times at which parts of the study's state other than its window expire."""
    transfers = [_expiry(transfer.heard_at, clock) for transfer in study.transfers.values()]
    ends = [_expiry(study.ends.heard_at, clock)] if study.ends else []
    due = [clock.after(study.due.at, study.due.quiet_s)] if study.due else []
    commands = [_expiry(heard.heard_at, clock) for heard in (study.expectation, study.commands) if heard]
    return [*transfers, *ends, *due, *commands]


def without_expired(study: WatchedStudy | None, clock: StudyClock) -> WatchedStudy | None:
    """Return the study without expired state: old incomplete transfers, old or needless ends, an old last due, commands.

    Ends are needless when there is neither a window nor a transfer, and no broken transfer is left to wait for. An
    expectation lasts as long as the open window; without one it expires.
    """
    if study is None:
        return None
    transfers = {
        transfer_id: transfer
        for transfer_id, transfer in study.transfers.items()
        if clock.now < _expiry(transfer.heard_at, clock)
    }
    ends = study.ends if study.ends and clock.now < _expiry(study.ends.heard_at, clock) else None
    if ends and not (study.window or transfers or ends.is_broken):
        ends = None
    due = study.due if study.due and clock.now < clock.after(study.due.at, study.due.quiet_s) else None
    is_as_before = len(transfers) == len(study.transfers) and ends is study.ends and due is study.due
    left = study if is_as_before else replace(study, transfers=transfers, ends=ends, due=due)
    return _without_old_commands(left, clock) if left.commands else left


def _without_old_commands(study: WatchedStudy, clock: StudyClock) -> WatchedStudy:
    """Return the study without an old memory of commands, which is never older than an expectation that waits."""
    commands, expectation = study.commands, study.expectation
    if commands and clock.now >= _expiry(commands.heard_at, clock):
        commands = None
    if expectation and not study.window and clock.now >= _expiry(expectation.heard_at, clock):
        expectation = None
    is_as_before = commands is study.commands and expectation is study.expectation
    return study if is_as_before else replace(study, commands=commands, expectation=expectation)


def _expiry(heard_at: float, clock: StudyClock) -> float:
    return max(heard_at + clock.settings.limit_s, clock.started + clock.settings.quiet_open_s)

"""The step that decides when a study is due, from the arrivals of its instances, transfer ends and commands.

A window opens with an instance. It closes when the study is due, at the first of five signals: expected, released, quiet,
limit, commanded. A command that changes what is shown makes a study due without a window too. Times are Unix seconds by
the job's clock. The times inside events only order transfers, and commands.

A replay of the same records makes the same windows and the same event ids, if it closes them by the same signals. A replay
from the earliest record without state reads its topics in another order and faster than they were written: it may close
windows elsewhere (commands close other ones, or none; what quiet divided is one), and publishes a due for each command that
changes what is shown once more. Such a due changes no row: a catalog that has applied all of it shows the same as before.
"""

from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter

from operators.stream.step import Arrival, Output, Step, StepFunction
from operators.study.commands import CHANGES_SHOWN, changes_dues, counted, with_command
from operators.study.deadlines import StudyClock, expiries, quiet_time, signals, without_expired
from operators.study.state import (
    CountedCommand,
    LastDue,
    OpenWindow,
    SeenEvent,
    TransferEnds,
    TransferProgress,
    WatchedStudy,
    changed,
    read_seen,
    read_study,
    write_seen,
    write_study,
)
from schemas.events import Event, InstanceStored, Outcome, Signal, StudyCommand, StudyDue, TransferEnded, event_id
from schemas.settings.jobs import StudySettings
from schemas.topics import STUDY_DUE

WELL: tuple[Outcome, ...] = ("well", "rebuilt")
# The number of latest transfers kept for an instance: a sender that repeats it forever must not grow the state.
CARRIERS = 16


def due_step(settings: StudySettings) -> StepFunction:
    """Return the study job's step under these settings."""

    def step(head: bytes | None, seen: bytes | None, arrival: Arrival | None, now: float, started: float) -> Step:
        clock = StudyClock(now, started, settings)
        study = without_expired(read_study(head), clock)
        if arrival is None:
            return _decide(study, None, clock)
        if isinstance(arrival.event, StudyCommand):
            return _commanded(study, seen, arrival.event, arrival, clock)
        return _decide(*_with_arrival(study, seen, arrival, clock), clock)

    return step


def identity(event: Event) -> str:
    """Return the key of an event's entry: its event id, or the transfer's id for the end of a transfer."""
    if isinstance(event, StudyCommand):
        # Its sender may choose the id, perhaps that of an instance's event.
        return f"command/{event.event_id}"
    return f"transfer/{event.transfer_id}" if isinstance(event, TransferEnded) else event.event_id


def _with_arrival(
    study: WatchedStudy | None, seen: bytes | None, arrival: Arrival, clock: StudyClock
) -> tuple[WatchedStudy | None, bytes | None]:
    """Return the study after an arrival, and the entry to keep for the event.

    A repeated event changes nothing, and neither does the end of a transfer that has stored nothing.
    """
    event, known = arrival.event, read_seen(seen)
    if isinstance(event, TransferEnded) and event.study_uid is None:
        return study, None
    if isinstance(event, InstanceStored) and event.transfer_id not in known.transfers:
        return _with_instance(study or _new(event), known, event, arrival, clock)
    if isinstance(event, TransferEnded) and (seen is None or (study and event.transfer_id in study.transfers)):
        return _with_end(study or _new(event), event, clock), write_seen(known)
    return study, None


def _commanded(
    study: WatchedStudy | None, seen: bytes | None, event: StudyCommand, arrival: Arrival, clock: StudyClock
) -> Step:
    """Close the window, or make the study due without one, if the command says so now; otherwise wait."""
    if not changes_dues(study, seen, event):
        return _decide(study, None, clock)
    command, remember = counted(event, arrival), write_seen(SeenEvent())
    study = with_command(study or _new(event), event, command, clock)
    if study.window and event.action == "settle":
        return _close(study, study.window, "commanded", remember, clock)
    if study.window or event.action not in CHANGES_SHOWN:
        return _decide(study, remember, clock)
    due = Output(STUDY_DUE, _due_without_window(study, command, clock))
    return replace(_wait(study, remember, clock), outputs=(due,))


def _new(event: InstanceStored | TransferEnded | StudyCommand) -> WatchedStudy:
    assert event.study_uid is not None  # noqa: S101  _with_arrival() leaves the others out
    return WatchedStudy(tenant=event.tenant, study_uid=event.study_uid)


def _with_instance(
    study: WatchedStudy, seen: SeenEvent, event: InstanceStored, arrival: Arrival, clock: StudyClock
) -> tuple[WatchedStudy, bytes]:
    """Count an instance once in the window and once for each transfer that carries it; return study and entry."""
    window = study.window or _opened(study, event, arrival, clock)
    known = study.transfers.get(event.transfer_id, TransferProgress(heard_at=clock.now))
    transfer = changed(known, seen=known.seen + 1, window=window.name)
    window = changed(
        window,
        last_at=clock.now,
        partition=arrival.partition,
        offset=max(window.offset, arrival.offset) if arrival.partition == window.partition else arrival.offset,
        cause=event.event_id,
        instances=window.instances + (seen.window != window.name),
        transfers=window.transfers + (known.window != window.name),
        modality=max(window.modality, event.facts.modality or "", key=clock.settings.quiet),
    )
    carriers = (*seen.transfers, event.transfer_id)[-CARRIERS:]
    study = _with_transfer(study, window, event.transfer_id, transfer, clock)
    return study, write_seen(SeenEvent(window.name, carriers))


def _opened(study: WatchedStudy, event: InstanceStored, arrival: Arrival, clock: StudyClock) -> OpenWindow:
    """Return a new window; it is releasable unless it begins within the quiet time after the last due."""
    return OpenWindow(
        name=f"{arrival.partition}/{arrival.offset}",
        opened_at=clock.now,
        last_at=clock.now,
        releasable=study.due is None,
        partition=arrival.partition,
        offset=arrival.offset,
        cause=event.event_id,
        modality=event.facts.modality or "",
        command=study.expectation.command if study.expectation else None,
    )


def _with_end(study: WatchedStudy, event: TransferEnded, clock: StudyClock) -> WatchedStudy:
    """Return the study with a transfer's end added; the end may arrive before the transfer's instances."""
    ends = study.ends or TransferEnds(heard_at=clock.now)
    if event.outcome in WELL:
        ends = replace(ends, mended_at=_latest(ends.mended_at, event.began_at))
    else:
        ends = replace(ends, broken_at=_latest(ends.broken_at, event.occurred_at))
    known = study.transfers.get(event.transfer_id, TransferProgress(heard_at=clock.now))
    ended = replace(known, instances=event.instances)
    study = replace(study, ends=replace(ends, heard_at=clock.now))
    return _with_transfer(study, study.window, event.transfer_id, ended, clock)


def _with_transfer(
    study: WatchedStudy, window: OpenWindow | None, transfer_id: str, transfer: TransferProgress, clock: StudyClock
) -> WatchedStudy:
    """Return the study with this window and a transfer: kept while incomplete, and reflected in the open window."""
    others = {other_id: other for other_id, other in study.transfers.items() if other_id != transfer_id}
    if window and transfer.window == window.name and transfer.has_several and not window.several:
        window = replace(window, several=True)
    if window and transfer.is_complete:
        window = replace(window, completed_at=clock.now)
    transfers = others if transfer.is_complete else {**others, transfer_id: transfer}
    return changed(study, window=window, transfers=transfers)


def _latest(known: float | None, at: datetime) -> float:
    return max(at.timestamp(), known if known is not None else at.timestamp())


def _decide(study: WatchedStudy | None, remember: bytes | None, clock: StudyClock) -> Step:
    """Close the window if it is due now; otherwise ask to be called when it will be due."""
    if study is None or study.window is None:
        return _wait(study, remember, clock)
    due_at, signal = min(signals(study, study.window, clock), key=itemgetter(0))
    if due_at > clock.now:
        return Step(head=write_study(study), remember=remember, wake_at=due_at)
    return _close(study, study.window, signal, remember, clock)


def _close(study: WatchedStudy, window: OpenWindow, signal: Signal, remember: bytes | None, clock: StudyClock) -> Step:
    """Publish the window's due; the window and what was expected of it end."""
    due = Output(STUDY_DUE, _due(study, window, signal, clock))
    last = LastDue(at=clock.now, quiet_s=quiet_time(study, window, clock))
    left = replace(study, window=None, expectation=None, due=last)
    return replace(_wait(left, remember, clock), outputs=(due,))


def _wait(study: WatchedStudy | None, remember: bytes | None, clock: StudyClock) -> Step:
    """Keep the study's state until the next part of it expires; remove it when none is left."""
    study = without_expired(study, clock)
    if study is None or study.is_empty:
        return Step(head=None, forget=True)
    return Step(head=write_study(study), remember=remember, wake_at=min(expiries(study, clock)))


def _due(study: WatchedStudy, window: OpenWindow, signal: Signal, clock: StudyClock) -> StudyDue:
    """Return the event; a replay that closes the same window by the same signal returns the same event id.

    The id depends on the last command too: the catalog must not take a due that counts more for the one before.
    """
    position, command = f"{window.partition}/{window.offset}", window.command
    expected = [study.expectation.command.cause] if study.expectation and signal == "expected" else []
    commands = dict.fromkeys([*expected, *([command.cause] if command else [])])
    return StudyDue(
        event_id=event_id("study-due", study.tenant, study.study_uid, window.name, position, *commands, signal),
        tenant=study.tenant,
        occurred_at=datetime.fromtimestamp(clock.now, UTC),
        cause=(window.cause, *commands),
        study_uid=study.study_uid,
        signal=signal,
        window_opened_at=datetime.fromtimestamp(window.opened_at, UTC),
        window_instances=window.instances,
        window_transfers=window.transfers,
        instance_partition=window.partition,
        instance_offset=window.offset,
        command_partition=command.partition if command else None,
        command_offset=command.offset if command else None,
    )


def _due_without_window(study: WatchedStudy, command: CountedCommand, clock: StudyClock) -> StudyDue:
    """Return the event of a study in which nothing has arrived since it was last due."""
    now = datetime.fromtimestamp(clock.now, UTC)
    return StudyDue(
        event_id=event_id("study-due", study.tenant, study.study_uid, command.cause, "commanded"),
        tenant=study.tenant,
        occurred_at=now,
        cause=(command.cause,),
        study_uid=study.study_uid,
        signal="commanded",
        window_opened_at=now,
        window_instances=0,
        window_transfers=0,
        command_partition=command.partition,
        command_offset=command.offset,
    )

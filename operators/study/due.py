"""When a study is due: the pure step that watches one study's instances and transfers.

A window opens with an instance and closes with a due, whose signal is the first of: released, quiet, limit.
Times are Unix seconds at which the job saw things. What events say of their own times orders transfers, nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from operators.stream.step import Arrival, Output, Step, StepFunction
from schemas.events import Event, InstanceStored, Outcome, Signal, StudyDue, TransferEnded, event_id
from schemas.settings.jobs import StudySettings
from schemas.topics import STUDY_DUE

VERSION = 1
WELL: tuple[Outcome, ...] = ("well", "rebuilt")
# A transfer of one instance says nothing: some modalities open one association per image.
SEVERAL = 2
# The latest transfers that carried an instance; a sender that repeats it for ever must not grow the state.
CARRIERS = 16


class UnknownState(ValueError):
    """State of another version than this code reads: stop, never guess."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What arrived since the last due.

    `name` is the position of the instance that opened it, `modality` the one of its instances that is quiet longest.
    """

    name: str
    opened_at: float
    last_at: float
    releasable: bool
    partition: int
    offset: int
    cause: str
    instances: int = 0
    transfers: int = 0
    modality: str = ""
    several: bool = False
    completed_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A transfer that is not complete: its instances seen so far, and how many it has, once its end came."""

    heard_at: float
    seen: int = 0
    window: str = ""
    instances: int | None = None

    @property
    def complete(self) -> bool:
        """True if its end came and at least that many of its instances were seen."""
        return self.instances is not None and self.seen >= self.instances

    @property
    def several(self) -> bool:
        """True if it carried enough for its end to mean something."""
        return max(self.seen, self.instances or 0) >= SEVERAL


@dataclass(frozen=True, kw_only=True)
class Ends:
    """How transfers ended: when the last one broke, when the last one began that ended well (event times)."""

    heard_at: float
    broken_at: float | None = None
    mended_at: float | None = None

    @property
    def broken(self) -> bool:
        """True if one ended other than well and none that began after it ended well."""
        return self.broken_at is not None and (self.mended_at is None or self.mended_at <= self.broken_at)


@dataclass(frozen=True, kw_only=True)
class LastDue:
    """When the study was last due, and how long its window would have been quiet."""

    at: float
    quiet_s: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that is kept of a study besides what is remembered of each event."""

    tenant: str
    study_uid: str
    window: Window | None = None
    transfers: Mapping[str, Transfer] = field(default_factory=dict)
    ends: Ends | None = None
    due: LastDue | None = None

    @property
    def open(self) -> bool:
        """True if a known transfer may bring more, or a sender still owes what it failed to bring."""
        return bool(self.transfers) or (self.ends is not None and self.ends.broken)

    @property
    def empty(self) -> bool:
        """True if nothing is left that could matter."""
        return not (self.window or self.transfers or self.ends or self.due)


@dataclass(frozen=True)
class Remembered:
    """What is kept of one event: the window that counted it, the transfers that carried it."""

    window: str = ""
    transfers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """When a step happens: now, since when the job runs, and the settings that hold."""

    now: float
    started: float
    settings: StudySettings

    def after(self, since: float, seconds: float) -> float:
        """Return the moment so many seconds later; while the job stood still, nothing could arrive."""
        return max(since, self.started) + seconds


def due_step(settings: StudySettings) -> StepFunction:
    """Return the study job's step under these settings."""

    def step(head: bytes | None, seen: bytes | None, arrival: Arrival | None, now: float, started: float) -> Step:
        moment = Moment(now, started, settings)
        study = _without_expired(_read(head), moment)
        if arrival is None:
            return _decide(study, None, moment)
        return _decide(*_absorb(study, seen, arrival, moment), moment)

    return step


def identity(event: Event) -> str:
    """Return the key under which the step remembers an event: an instance by itself, an end by its transfer."""
    return f"transfer/{event.transfer_id}" if isinstance(event, TransferEnded) else event.event_id


def _absorb(
    study: Study | None, seen: bytes | None, arrival: Arrival, moment: Moment
) -> tuple[Study | None, bytes | None]:
    """Return the study after an arrival, and what to remember of it."""
    event, entry = arrival.event, _read_entry(seen)
    if isinstance(event, InstanceStored) and event.transfer_id not in entry.transfers:
        return _instance(study or _study(event), entry, event, arrival, moment)
    if isinstance(event, TransferEnded) and (seen is None or (study and event.transfer_id in study.transfers)):
        return _end(study or _study(event), event, moment), _write_entry(entry)
    return study, None


def _study(event: InstanceStored | TransferEnded) -> Study:
    return Study(tenant=event.tenant, study_uid=event.study_uid)


def _instance(
    study: Study, entry: Remembered, event: InstanceStored, arrival: Arrival, moment: Moment
) -> tuple[Study, bytes]:
    """Count an instance once in the window and once for each transfer that carries it."""
    window = study.window or _open(study, event, arrival, moment)
    known = study.transfers.get(event.transfer_id, Transfer(heard_at=moment.now))
    transfer = replace(known, seen=known.seen + 1, window=window.name)
    window = replace(
        window,
        last_at=moment.now,
        partition=arrival.partition,
        offset=max(window.offset, arrival.offset) if arrival.partition == window.partition else arrival.offset,
        cause=event.event_id,
        instances=window.instances + (entry.window != window.name),
        transfers=window.transfers + (known.window != window.name),
        modality=max(window.modality, event.facts.modality or "", key=moment.settings.quiet),
    )
    carriers = (*entry.transfers, event.transfer_id)[-CARRIERS:]
    study = _heard(replace(study, window=window), event.transfer_id, transfer, moment)
    return study, _write_entry(Remembered(window.name, carriers))


def _open(study: Study, event: InstanceStored, arrival: Arrival, moment: Moment) -> Window:
    """Open a window; `releasable` unless it begins within the quiet time after the last due."""
    return Window(
        name=f"{arrival.partition}/{arrival.offset}",
        opened_at=moment.now,
        last_at=moment.now,
        releasable=study.due is None,
        partition=arrival.partition,
        offset=arrival.offset,
        cause=event.event_id,
        modality=event.facts.modality or "",
    )


def _end(study: Study, event: TransferEnded, moment: Moment) -> Study:
    """Take in how a transfer ended; it may come before its instances."""
    ends = study.ends or Ends(heard_at=moment.now)
    if event.outcome in WELL:
        ends = replace(ends, mended_at=_latest(ends.mended_at, event.began_at))
    else:
        ends = replace(ends, broken_at=_latest(ends.broken_at, event.occurred_at))
    known = study.transfers.get(event.transfer_id, Transfer(heard_at=moment.now))
    ended = replace(known, instances=event.instances)
    return _heard(replace(study, ends=replace(ends, heard_at=moment.now)), event.transfer_id, ended, moment)


def _heard(study: Study, transfer_id: str, transfer: Transfer, moment: Moment) -> Study:
    """Keep a transfer until it is complete, and tell the open window what it says."""
    others = {one: kept for one, kept in study.transfers.items() if one != transfer_id}
    window = study.window
    if window and transfer.window == window.name:
        window = replace(window, several=window.several or transfer.several)
    if window and transfer.complete:
        window = replace(window, completed_at=moment.now)
    transfers = others if transfer.complete else {**others, transfer_id: transfer}
    return replace(study, window=window, transfers=transfers)


def _latest(known: float | None, at: datetime) -> float:
    return max(at.timestamp(), known if known is not None else at.timestamp())


def _decide(study: Study | None, remember: bytes | None, moment: Moment) -> Step:
    """Close the window if it is time, else say when to look again."""
    if study is None or study.window is None:
        return _wait(study, remember, moment)
    due_at, signal = min(_signals(study, study.window, moment), key=lambda one: one[0])
    if due_at > moment.now:
        return Step(head=_write(study), remember=remember, wake_at=due_at)
    due = Output(STUDY_DUE, _due(study, study.window, signal, moment))
    last = LastDue(at=moment.now, quiet_s=_quiet_s(study, study.window, moment))
    return replace(_wait(replace(study, window=None, due=last), remember, moment), outputs=(due,))


def _wait(study: Study | None, remember: bytes | None, moment: Moment) -> Step:
    """Keep, without a window, what still matters until it does not; then leave nothing behind."""
    study = _without_expired(study, moment)
    if study is None or study.empty:
        return Step(head=None, forget=True)
    return Step(head=_write(study), remember=remember, wake_at=min(_expiries(study, moment)))


def _signals(study: Study, window: Window, moment: Moment) -> list[tuple[float, Signal]]:
    """List the moments at which the window would be due as things stand, by signal; on a tie the first one counts."""
    settings = moment.settings
    quiet_s = _quiet_s(study, window, moment)
    limit = max(window.opened_at + settings.limit_s, moment.started + quiet_s)
    signals: list[tuple[float, Signal]] = [(moment.after(window.last_at, quiet_s), "quiet"), (limit, "limit")]
    if window.releasable and window.several and window.completed_at is not None and not study.open:
        signals.insert(0, (moment.after(window.completed_at, settings.released_s), "released"))
    return signals


def _quiet_s(study: Study, window: Window, moment: Moment) -> float:
    """Return the seconds without an instance after which the window is due."""
    quiet_s = moment.settings.quiet(window.modality)
    return max(quiet_s, moment.settings.quiet_open_s) if study.open else quiet_s


def _due(study: Study, window: Window, signal: Signal, moment: Moment) -> StudyDue:
    """Return the event; a replay that closes the same window in the same way gives the same id."""
    position = f"{window.partition}/{window.offset}"
    return StudyDue(
        event_id=event_id("study-due", study.tenant, study.study_uid, window.name, position, signal),
        tenant=study.tenant,
        occurred_at=datetime.fromtimestamp(moment.now, UTC),
        cause=(window.cause,),
        study_uid=study.study_uid,
        signal=signal,
        window_opened_at=datetime.fromtimestamp(window.opened_at, UTC),
        window_instances=window.instances,
        window_transfers=window.transfers,
        instance_partition=window.partition,
        instance_offset=window.offset,
    )


def _expiries(study: Study, moment: Moment) -> list[float]:
    """List the moments at which something kept beyond the window stops mattering."""
    transfers = [_expiry(one.heard_at, moment) for one in study.transfers.values()]
    ends = [_expiry(study.ends.heard_at, moment)] if study.ends else []
    return [*transfers, *ends, *([moment.after(study.due.at, study.due.quiet_s)] if study.due else [])]


def _expiry(heard_at: float, moment: Moment) -> float:
    return max(heard_at + moment.settings.limit_s, moment.started + moment.settings.quiet_open_s)


def _without_expired(study: Study | None, moment: Moment) -> Study | None:
    """Drop what stopped mattering: old incomplete transfers, ends that hold nothing up, a last due that is over."""
    if study is None:
        return None
    transfers = {name: one for name, one in study.transfers.items() if moment.now < _expiry(one.heard_at, moment)}
    ends = study.ends if study.ends and moment.now < _expiry(study.ends.heard_at, moment) else None
    if ends and not (study.window or transfers or ends.broken):
        ends = None
    due = study.due if study.due and moment.now < moment.after(study.due.at, study.due.quiet_s) else None
    return replace(study, transfers=transfers, ends=ends, due=due)


def _read(head: bytes | None) -> Study | None:
    if head is None:
        return None
    kept = _checked(head)["study"]
    return Study(
        tenant=kept["tenant"],
        study_uid=kept["study_uid"],
        window=kept["window"] and Window(**kept["window"]),
        transfers={one: Transfer(**transfer) for one, transfer in kept["transfers"].items()},
        ends=kept["ends"] and Ends(**kept["ends"]),
        due=kept["due"] and LastDue(**kept["due"]),
    )


def _write(study: Study) -> bytes:
    return orjson.dumps({"v": VERSION, "study": study})


def _read_entry(seen: bytes | None) -> Remembered:
    if seen is None:
        return Remembered()
    kept = _checked(seen)["entry"]
    return Remembered(kept["window"], tuple(kept["transfers"]))


def _write_entry(entry: Remembered) -> bytes:
    return orjson.dumps({"v": VERSION, "entry": entry})


def _checked(data: bytes) -> dict[str, Any]:
    kept: dict[str, Any] = orjson.loads(data)
    if kept["v"] != VERSION:
        raise UnknownState(f"study state of version {kept['v']}, this code reads {VERSION}")
    return kept

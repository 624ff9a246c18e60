"""Laws of when a study is due, in virtual time, with commands and restarts at any point."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.study.commands import CHANGES_SHOWN
from operators.study.due import due_step, identity
from operators.study.state import read_study
from pipelines.engines.timers import TimerState
from schemas.events import Action, InstanceStored, Outcome, StudyCommand, StudyDue, TransferEnded
from schemas.settings.jobs import StudySettings
from tests.support.worlds.studies import EPOCH, KEY, arrived, command, ended, instance
from tests.support.worlds.virtual_time import Engine, events

Record = InstanceStored | TransferEnded | StudyCommand
Timed = tuple[float, Record]

QUIET_S = 60.0
SETTINGS = StudySettings(released_s=5, quiet_s=QUIET_S, quiet_by_modality="", quiet_open_s=300, limit_s=3600)
FOREVER = 10 * SETTINGS.limit_s


def engine(now: float = 0.0) -> Engine:
    return Engine(due_step(SETTINGS), identity, now)


def dues(ran: Engine) -> list[StudyDue]:
    return events(ran.outputs, StudyDue)


def of_windows(ran: Engine) -> list[StudyDue]:
    """Return the dues of windows: those that count an instance."""
    return [due for due in dues(ran) if due.instance_offset is not None]


def fed(records: Iterable[Timed], ran: Engine | None = None) -> Engine:
    """Return an engine after these records, each at its second, and all the time that anything may wait."""
    ran = ran or engine()
    for offset, (at, record) in enumerate(records):
        ran.run_until(at)
        ran.feed(KEY, arrived(record, offset))
    ran.run_until(ran.now + FOREVER)
    return ran


def test_two_hundred_transfers_of_one_instance_make_one_due() -> None:
    ran = engine()
    for number in range(200):
        ran.run_until(10.0 * number)
        ran.feed(KEY, arrived(instance(number, f"t{number}"), number))
        ran.feed(KEY, arrived(ended(f"t{number}", began_s=10.0 * number, ended_s=10.0 * number), number))
    ran.run_until(FOREVER)

    (due,) = dues(ran)
    assert (due.signal, due.window_instances, due.window_transfers) == ("quiet", 200, 200)
    assert due.instance_offset == 199


@dataclass(frozen=True)
class Stop:
    """The job is killed after `after` records, and continues from its last checkpoint `down_s` seconds later."""

    after: int
    down_s: float


@dataclass(frozen=True)
class Command:
    """A command that comes just before an instance, or after the last one."""

    before: int
    action: Action
    expects: int


@dataclass(frozen=True)
class History:
    """Instances with gaps of seconds, each in its own transfer or all in one; commands; checkpoints after counts of records."""

    gaps: list[float]
    has_own_transfers: bool
    checkpoints: list[int]
    stops: list[Stop]
    commands: list[Command]

    def records(self) -> list[Timed]:
        """Return the records of the topics, each with the second at which it was published."""
        records: list[Timed] = []
        at = 0.0
        for number, gap in enumerate([0.0, *self.gaps]):
            at += gap
            transfer = f"t{number}" if self.has_own_transfers else "t"
            records += [*self._commands(at, number, number), (at, instance(number, transfer))]
            if self.has_own_transfers:
                records.append((at, ended(transfer, began_s=at, ended_s=at)))
        if not self.has_own_transfers:
            records.append((at, ended("t", len(self.gaps) + 1, ended_s=at)))
        return [*records, *self._commands(at, len(self.gaps) + 1, 99)]

    def _commands(self, at: float, least: int, most: int) -> list[Timed]:
        """Return the commands before these instances; the later one of two has the greater number."""
        return [
            (at, command(one.action, 1 + one.before * len(self.commands) + number, expects=one.expects))
            for number, one in enumerate(self.commands)
            if least <= one.before <= most
        ]


def commands(actions: Iterable[Action], expects: st.SearchStrategy[int]) -> st.SearchStrategy[list[Command]]:
    return st.lists(st.builds(Command, st.integers(0, 13), st.sampled_from(sorted(actions)), expects), max_size=6)


NEVER_MET = 1000
ANY_ACTION: frozenset[Action] = frozenset(get_args(Action))
any_commands = commands(ANY_ACTION, st.integers(1, 13))
# Commands that close no window.
closing_nothing = commands(ANY_ACTION - {"settle"}, st.just(NEVER_MET))

gaps = st.lists(st.floats(0, QUIET_S - 1), max_size=12)
places = st.lists(st.integers(0, 32), max_size=6)
stops = st.lists(st.builds(Stop, st.integers(0, 32), st.floats(0, 20 * QUIET_S)), max_size=4)
histories = st.builds(History, gaps, st.booleans(), places, stops, any_commands)


def drive(history: History) -> Engine:
    """Run the job over a history's records; kill it and start it again where the history says."""
    ran, records = engine(), history.records()
    saved, saved_at, at = ran.snapshot(), 0, 0
    waiting = sorted(history.stops, key=lambda stop: stop.after)
    while at < len(records):
        if waiting and at >= waiting[0].after:
            stop = waiting.pop(0)
            ran.restore(saved, ran.now + stop.down_s)
            at = saved_at
            continue
        ran.run_until(records[at][0])
        ran.feed(KEY, arrived(records[at][1], at))
        at += 1
        if at in history.checkpoints:
            saved, saved_at = ran.snapshot(), at
    ran.run_until(ran.now + FOREVER)
    return ran


@settings(max_examples=300, deadline=None)
@given(st.builds(History, gaps, st.booleans(), places, stops, closing_nothing))
def test_a_backlog_is_never_due_between_instances_that_came_close_together(history: History) -> None:
    ran = drive(history)

    last = max(at for at, (_, event) in enumerate(history.records()) if isinstance(event, InstanceStored))
    assert {due.instance_offset for due in of_windows(ran)} == {last}
    assert {due.window_instances for due in of_windows(ran)} == {len(history.gaps) + 1}


@settings(max_examples=300, deadline=None)
@given(histories)
def test_kills_and_restarts_at_any_point_make_no_other_dues(history: History) -> None:
    ran, undisturbed = drive(history), fed(history.records())

    def told(due: StudyDue) -> StudyDue:
        """Return a due without the times by the job's clock."""
        return replace(due, occurred_at=EPOCH, window_opened_at=EPOCH)

    assert {told(due) for due in dues(ran)} == {told(due) for due in dues(undisturbed)}
    assert told(dues(ran)[-1]) == told(dues(undisturbed)[-1])


@settings(max_examples=100, deadline=None)
@given(histories)
def test_a_replay_makes_dues_with_the_same_ids(history: History) -> None:
    ran = drive(history)

    ids = {(due.instance_offset, due.command_offset, due.signal): due.event_id for due in dues(ran)}
    assert {due.event_id for due in dues(ran)} == set(ids.values())
    assert len(ids) == len(set(ids.values()))


@pytest.mark.fault("F23", "instances of a study over hours, commands and kills at any moment, in virtual time")
@settings(max_examples=300, deadline=None)
@given(histories)
def test_every_instance_and_every_change_of_what_is_shown_is_counted_by_a_due(history: History) -> None:
    ran, records = drive(history), [event for _, event in history.records()]

    instances = [at for at, event in enumerate(records) if isinstance(event, InstanceStored)]
    changes = [at for at, event in enumerate(records) if is_change(event)]
    assert max(due.instance_offset or 0 for due in of_windows(ran)) == max(instances)
    assert max((due.command_offset or 0 for due in dues(ran)), default=0) >= max(changes, default=0)


def is_change(event: Record) -> bool:
    return isinstance(event, StudyCommand) and event.action in CHANGES_SHOWN


@settings(max_examples=300, deadline=None)
@given(st.builds(History, gaps, st.booleans(), places, stops, closing_nothing))
def test_commands_that_close_no_window_change_no_window(history: History) -> None:
    ran, without = fed(history.records()), fed(replace(history, commands=[]).records())

    def window(due: StudyDue) -> tuple[object, ...]:
        return due.signal, due.occurred_at, due.window_opened_at, due.window_instances, due.window_transfers

    assert [window(due) for due in of_windows(ran)] == [window(due) for due in dues(without)]


@settings(max_examples=300, deadline=None)
@given(histories)
def test_settle_closes_the_window_that_is_open_and_no_other(history: History) -> None:
    ran = engine()
    for offset, (at, record) in enumerate(history.records()):
        ran.run_until(at)
        is_open, before = has_window(ran), len(ran.outputs)
        ran.feed(KEY, arrived(record, offset))
        if isinstance(record, StudyCommand) and record.action == "settle":
            assert [due.signal for due in dues(ran)[before:]] == (["commanded"] if is_open else [])
            assert not has_window(ran)


def has_window(ran: Engine) -> bool:
    study = read_study(TimerState.read(ran.heads.get(KEY)).head)
    return study is not None and study.window is not None


@settings(max_examples=300, deadline=None)
@given(histories, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 32)), max_size=6))
def test_commands_that_come_again_change_nothing(history: History, again: list[tuple[int, int]]) -> None:
    records = history.records()
    repeated = list(records)
    heard = [one for one in records if isinstance(one[1], StudyCommand)]
    for which, later in again if heard else ():
        one = heard[which % len(heard)]
        at = min(repeated.index(one) + 1 + later, len(repeated))
        repeated.insert(at, (repeated[at - 1][0], one[1]))

    def told(ran: Engine) -> list[tuple[object, ...]]:
        return [(due.signal, due.occurred_at, due.window_instances, due.cause) for due in dues(ran)]

    assert told(fed(repeated)) == told(fed(records))


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[list[int]], list[Record]]:
    """Return transfers that share instances, and their records in any order among commands, some repeated."""
    carried = draw(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), min_size=1, max_size=4))
    instances: list[Record] = [instance(n, f"t{transfer}") for transfer, numbers in enumerate(carried) for n in numbers]
    ends: list[Record] = [ended(f"t{began}", len(numbers), began_s=began) for began, numbers in enumerate(carried)]
    given = [command(one.action, number, expects=one.expects) for number, one in enumerate(draw(closing_nothing))]
    records = draw(st.permutations([*instances, *ends, *given]))
    repeats = draw(st.lists(st.sampled_from(records), max_size=6))
    return carried, [*records, *repeats]


@pytest.mark.fault("F23", "records of a study in any order and repeated, in virtual time")
@settings(max_examples=300, deadline=None)
@given(deliveries())
def test_order_between_topics_and_repetition_change_nothing(delivered: tuple[list[list[int]], list[Record]]) -> None:
    carried, records = delivered
    ran = fed((0.0, record) for record in records)

    (due,) = of_windows(ran)
    assert due.window_instances == len({number for numbers in carried for number in numbers})
    assert due.window_transfers == len(carried)
    several = any(len(numbers) > 1 for numbers in carried)
    assert due.signal == ("released" if several else "quiet")
    # A command that came before the first instance made a due of its own.
    changes = {event.event_id for event in records if is_change(event)}
    assert changes >= {cause for one in dues(ran) if one is not due for cause in one.cause}
    last = max((at for at, event in enumerate(records) if records.index(event) == at and is_change(event)), default=0)
    assert max((one.command_offset or 0 for one in dues(ran)), default=0) >= last


outcomes = st.sampled_from(get_args(Outcome))
anything = st.lists(
    st.tuples(
        st.floats(0, 2 * SETTINGS.limit_s),
        st.one_of(
            st.builds(instance, st.integers(0, 9), st.sampled_from(["a", "b", "c"])),
            st.builds(ended, st.sampled_from(["a", "b", "c"]), st.integers(0, 5), outcomes, began_s=st.floats(0, 99)),
            st.builds(command, st.sampled_from(sorted(ANY_ACTION)), st.integers(1, 9), expects=st.integers(1, 5)),
        ),
    ),
    max_size=20,
).map(lambda records: sorted(records, key=lambda timed: timed[0]))


@settings(max_examples=300, deadline=None)
@given(anything)
def test_every_window_closes_by_the_limit_and_leaves_no_state(records: list[Timed]) -> None:
    ran = fed(records)

    limit = timedelta(seconds=SETTINGS.limit_s, milliseconds=2)
    assert all(due.occurred_at - due.window_opened_at <= limit for due in dues(ran))
    assert all(due.window_instances >= 1 for due in of_windows(ran))
    assert not ran.heads
    assert ran.entries == 0


@settings(max_examples=300, deadline=None)
@given(anything)
def test_nothing_holds_a_window_open_longer_than_the_quiet_time_of_an_open_transfer(records: list[Timed]) -> None:
    ran = fed(records)

    for due in of_windows(ran):
        last_s, _ = records[due.instance_offset or 0]
        assert due.occurred_at.timestamp() <= last_s + SETTINGS.quiet_open_s + 0.002


@settings(max_examples=100, deadline=None)
@given(anything)
def test_there_is_no_due_without_an_instance_or_a_change_of_what_is_shown(records: list[Timed]) -> None:
    ran = fed(
        (at, record) for at, record in records if not isinstance(record, InstanceStored) and not is_change(record)
    )

    assert dues(ran) == []


# By how much people set a clock at most.
HOURS_S = 2 * 3600.0
jumps = st.lists(st.tuples(st.floats(0, 2 * QUIET_S), st.floats(-HOURS_S, HOURS_S)), min_size=1, max_size=12)


@pytest.mark.fault("F25", "the clock of the study job jumps by up to 2 h before each instance, in virtual time")
@given(jumps)
def test_a_clock_that_jumps_by_hours_loses_and_doubles_no_instance(steps: list[tuple[float, float]]) -> None:
    ran = engine(now=len(steps) * HOURS_S)
    for number, (gap, jump) in enumerate(steps):
        ran.run_until(ran.now + gap)
        ran.now += jump
        ran.feed(KEY, arrived(instance(number, f"t{number}"), number))
        ran.feed(KEY, arrived(ended(f"t{number}", ended_s=ran.now), number))
    ran.run_until(ran.now + len(steps) * HOURS_S + FOREVER)

    assert sum(due.window_instances for due in dues(ran)) == len(steps)
    assert dues(ran)[-1].instance_offset == len(steps) - 1
    assert ran.heads == {}

"""Laws of when a study is due, in virtual time, with restarts at any point."""

from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.study.due import due_step, identity
from schemas.events import InstanceStored, Outcome, StudyDue, TransferEnded
from schemas.settings.jobs import StudySettings
from tests.support.worlds.studies import KEY, arrived, ended, instance
from tests.support.worlds.virtual_time import Engine, events

Record = InstanceStored | TransferEnded

QUIET_S = 60.0
SETTINGS = StudySettings(released_s=5, quiet_s=QUIET_S, quiet_by_modality="", quiet_open_s=300, limit_s=3600)
FOREVER = 10 * SETTINGS.limit_s


def engine(now: float = 0.0) -> Engine:
    return Engine(due_step(SETTINGS), identity, now)


def dues(ran: Engine) -> list[StudyDue]:
    return events(ran.outputs, StudyDue)


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
class History:
    """Instances with gaps of seconds, each in its own transfer or all in one; checkpoints after counts of records."""

    gaps: list[float]
    has_own_transfers: bool
    checkpoints: list[int]
    stops: list[Stop]

    def records(self) -> list[tuple[float, Record]]:
        """Return the records of the topics, each with the second at which it was published."""
        records: list[tuple[float, Record]] = []
        at = 0.0
        for number, gap in enumerate([0.0, *self.gaps]):
            at += gap
            transfer = f"t{number}" if self.has_own_transfers else "t"
            records.append((at, instance(number, transfer)))
            if self.has_own_transfers:
                records.append((at, ended(transfer, began_s=at, ended_s=at)))
        return records if self.has_own_transfers else [*records, (at, ended("t", len(self.gaps) + 1, ended_s=at))]


gaps = st.lists(st.floats(0, QUIET_S - 1), max_size=12)
places = st.lists(st.integers(0, 26), max_size=6)
stops = st.lists(st.builds(Stop, st.integers(0, 26), st.floats(0, 20 * QUIET_S)), max_size=4)


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
@given(st.builds(History, gaps, st.booleans(), places, stops))
def test_a_backlog_is_never_due_between_instances_that_came_close_together(history: History) -> None:
    ran = drive(history)

    last = max(at for at, (_, event) in enumerate(history.records()) if isinstance(event, InstanceStored))
    assert {due.instance_offset for due in dues(ran)} == {last}
    assert {due.window_instances for due in dues(ran)} == {len(history.gaps) + 1}


@settings(max_examples=100, deadline=None)
@given(st.builds(History, gaps, st.booleans(), places, stops))
def test_a_replay_makes_dues_with_the_same_ids(history: History) -> None:
    ran = drive(history)

    ids = {(due.instance_offset, due.signal): due.event_id for due in dues(ran)}
    assert {due.event_id for due in dues(ran)} == set(ids.values())


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[list[int]], list[Record]]:
    """Return transfers that share instances, and their records in any order, some repeated."""
    carried = draw(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), min_size=1, max_size=4))
    instances: list[Record] = [instance(n, f"t{transfer}") for transfer, numbers in enumerate(carried) for n in numbers]
    ends: list[Record] = [ended(f"t{began}", len(numbers), began_s=began) for began, numbers in enumerate(carried)]
    records = draw(st.permutations([*instances, *ends]))
    repeats = draw(st.lists(st.sampled_from(records), max_size=6))
    return carried, [*records, *repeats]


@settings(max_examples=300, deadline=None)
@given(deliveries())
def test_order_between_topics_and_repetition_change_nothing(delivered: tuple[list[list[int]], list[Record]]) -> None:
    carried, records = delivered
    ran = engine()
    for offset, record in enumerate(records):
        ran.feed(KEY, arrived(record, offset))
    ran.run_until(FOREVER)

    (due,) = dues(ran)
    assert due.window_instances == len({number for numbers in carried for number in numbers})
    assert due.window_transfers == len(carried)
    several = any(len(numbers) > 1 for numbers in carried)
    assert due.signal == ("released" if several else "quiet")


outcomes = st.sampled_from(get_args(Outcome))
anything = st.lists(
    st.tuples(
        st.floats(0, 2 * SETTINGS.limit_s),
        st.one_of(
            st.builds(instance, st.integers(0, 9), st.sampled_from(["a", "b", "c"])),
            st.builds(ended, st.sampled_from(["a", "b", "c"]), st.integers(0, 5), outcomes, began_s=st.floats(0, 99)),
        ),
    ),
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_every_window_closes_by_the_limit_and_leaves_no_state(records: list[tuple[float, Record]]) -> None:
    ran = engine()
    for offset, (at, record) in enumerate(sorted(records, key=lambda timed: timed[0])):
        ran.run_until(at)
        ran.feed(KEY, arrived(record, offset))
    ran.run_until(ran.now + FOREVER)

    limit = timedelta(seconds=SETTINGS.limit_s, milliseconds=2)
    assert all(due.occurred_at - due.window_opened_at <= limit for due in dues(ran))
    assert all(due.window_instances >= 1 for due in dues(ran))
    assert not ran.heads
    assert ran.entries == 0


@settings(max_examples=100, deadline=None)
@given(anything)
def test_there_is_no_due_without_an_instance(records: list[tuple[float, Record]]) -> None:
    ran = engine()
    for offset, (at, record) in enumerate(sorted(records, key=lambda timed: timed[0])):
        ran.run_until(at)
        if isinstance(record, TransferEnded):
            ran.feed(KEY, arrived(record, offset))
    ran.run_until(ran.now + FOREVER)

    assert dues(ran) == []

"""A transfer begins with its first instance and ends exactly once, whatever its door does afterwards."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from gateway.intake.transfer import NO_STUDY, RecordedTransfer, Sender, Transfer
from operators.errors import Unavailable
from schemas.events import Outcome

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@dataclass
class Record:
    """A record of transfers that keeps its entries in order, and refuses when it is full."""

    entries: list[str] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    # What recording a beginning raises.
    problem: Exception | None = None
    senders: list[Sender] = field(default_factory=list)
    refused: list[dict[str, int]] = field(default_factory=list)

    def begin(self, transfer_id: str, tenant: str, age_s: float, sender: Sender) -> None:  # noqa: ARG002
        if self.problem:
            raise self.problem
        self.entries.append("begun")
        self.ages_s.append(age_s)
        self.senders.append(sender)

    def end(self, transfer_id: str, outcome: Outcome, refused: Mapping[str, int]) -> None:  # noqa: ARG002
        self.entries.append(outcome)
        self.refused.append(dict(refused))


Act = Callable[[Transfer], None]


def REFUSED(transfer: Transfer) -> None:  # noqa: N802 - a value of the table below
    transfer.count_refused("bad-sequence")


@pytest.mark.parametrize(
    ("acts", "recorded", "outcome"),
    [
        ([Transfer.begin, Transfer.complete], ["begun", "well"], "well"),
        ([Transfer.begin, Transfer.mark_partial, Transfer.complete], ["begun", "partial"], "partial"),
        ([Transfer.begin, Transfer.abort], ["begun", "aborted"], "aborted"),
        ([Transfer.begin, Transfer.begin, Transfer.complete], ["begun", "well"], "well"),
        ([Transfer.begin, Transfer.complete, Transfer.abort], ["begun", "well"], "well"),
        ([Transfer.begin, Transfer.abort, Transfer.complete], ["begun", "aborted"], "aborted"),
        ([Transfer.complete], [], "well"),
        ([REFUSED, Transfer.complete, Transfer.abort], ["begun", "well"], "well"),
        ([REFUSED, Transfer.abort], ["begun", "aborted"], "aborted"),
        ([REFUSED, Transfer.begin, Transfer.complete], ["begun", "well"], "well"),
        ([Transfer.begin], ["begun"], None),
    ],
)
def test_a_transfer_is_begun_once_and_ended_once(
    acts: Iterable[Act], recorded: list[str], outcome: Outcome | None
) -> None:
    record = Record()
    transfer = Transfer(record, "local")

    for act in acts:
        act(transfer)

    assert (record.entries, transfer.outcome) == (recorded, outcome)


STORED = Transfer.count


@pytest.mark.parametrize(
    ("acts", "logged"),
    [
        ([Transfer.complete], ("well", 0, 0)),
        ([REFUSED, REFUSED, Transfer.complete], ("refused", 0, 2)),
        ([REFUSED, STORED, Transfer.complete], ("well", 1, 1)),
        ([REFUSED, Transfer.mark_partial, Transfer.complete], ("partial", 0, 1)),
        ([REFUSED, Transfer.abort], ("aborted", 0, 1)),
    ],
)
def test_a_transfer_that_only_refused_is_logged_as_refused(acts: Iterable[Act], logged: tuple[str, int, int]) -> None:
    transfer = Transfer(Record(), "local")

    for act in acts:
        act(transfer)

    assert tuple(transfer.summary[name] for name in ("outcome", "instances", "refused")) == logged


def test_a_beginning_that_the_disk_refused_is_recorded_with_the_next_instance() -> None:
    record = Record(problem=OSError(28, "no space"))
    transfer = Transfer(record, "local")
    with pytest.raises(OSError, match="no space"):
        transfer.begin()
    record.problem = None
    transfer.begin()
    transfer.complete()

    assert record.entries == ["begun", "well"]


@pytest.mark.parametrize("problem", [OSError(28, "no space"), Unavailable("store-clock")], ids=["disk", "time"])
def test_a_transfer_that_only_refused_ends_also_where_its_beginning_cannot_be_recorded(problem: Exception) -> None:
    record = Record(problem=problem)
    transfer = Transfer(record, "local")
    REFUSED(transfer)
    transfer.complete()

    assert (record.entries, transfer.outcome) == ([], "well")


def test_a_transfer_began_when_it_was_made_and_not_with_its_first_instance() -> None:
    record, now_s = Record(), [100.0]
    transfer = Transfer(record, "local", clock=lambda: now_s[0])
    now_s[0] = 107.5
    transfer.begin()

    assert record.ages_s == [7.5]


def test_an_ended_transfer_takes_no_instance() -> None:
    record = Record()
    transfer = Transfer(record, "local")
    transfer.abort()

    with pytest.raises(RuntimeError):
        transfer.begin()

    assert record.entries == []


def test_each_study_of_a_recorded_transfer_has_one_end() -> None:
    recorded = RecordedTransfer(
        "t-1", "local", NOON, published={"1.2.4": {b"c"}, "1.2.3": {b"a", b"b"}, "1.2.5": set()}
    )
    assert recorded.unpublished() == []
    with pytest.raises(ValueError, match="has not ended"):
        recorded.end_for("1.2.3")
    recorded.end("partial", NOON)
    recorded.end("lost", NOON)

    ends = [recorded.end_for(study_uid) for study_uid in recorded.unpublished()]
    assert [(end.study_uid, end.outcome, end.instances) for end in ends] == [
        ("1.2.3", "partial", 2),
        ("1.2.4", "partial", 1),
        ("1.2.5", "partial", 0),
    ]
    assert len({end.event.event_id for end in ends}) == 3
    recorded.end_published("1.2.3")
    recorded.end_published("1.2.5")
    assert recorded.unpublished() == ["1.2.4"]
    assert not recorded.is_finished
    recorded.end_published("1.2.4")
    assert recorded.is_finished


def test_a_recorded_transfer_that_stored_nothing_has_one_end_without_a_study() -> None:
    recorded = RecordedTransfer("t-1", "local", NOON, sender=Sender("ct1", "CT1"))
    recorded.end("well", NOON, {"too-large": 1})

    assert (recorded.unpublished(), recorded.is_finished) == ([NO_STUDY], False)
    event = recorded.end_for(NO_STUDY).event
    assert (event.study_uid, event.instances, event.size_bytes) == (None, 0, 0)
    assert (event.peer, event.outcome, event.refused) == ("ct1", "well", {"too-large": 1})
    recorded.end_published(NO_STUDY)
    assert (recorded.unpublished(), recorded.is_finished) == ([], True)


def test_who_sent_a_transfer_and_what_of_it_was_refused_is_recorded() -> None:
    record = Record()
    transfer = Transfer(record, "local", "CT1", "FLUORO", peer="ct1", address="10.1.0.7")
    transfer.begin()
    for reason in ("bad-sequence", "too-large", "bad-sequence"):
        transfer.count_refused(reason)
    transfer.complete()

    assert record.senders == [Sender("ct1", "CT1", "FLUORO", "10.1.0.7")]
    assert record.refused == [{"bad-sequence": 2, "too-large": 1}]
    assert transfer.summary["reasons"] == {"bad-sequence": 2, "too-large": 1}


def test_the_bytes_of_an_instance_that_comes_twice_count_once() -> None:
    recorded = RecordedTransfer("t-1", "local", NOON, sender=Sender("ct1", "CT1"))
    recorded.add("1.2.3", (b"a",), 100)
    recorded.add("1.2.3", (b"a",), 100)
    recorded.add("1.2.3", (b"b",), 11)
    recorded.add("1.2.4", (b"c",))
    recorded.end("well", NOON, {"too-large": 1})

    events = [recorded.end_for(study).event for study in recorded.unpublished()]
    assert [(event.study_uid, event.instances, event.size_bytes) for event in events] == [
        ("1.2.3", 2, 111),
        ("1.2.4", 1, None),
    ]
    assert [(event.peer, event.calling_ae, event.refused) for event in events] == [("ct1", "CT1", {"too-large": 1})] * 2

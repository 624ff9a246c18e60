"""The lines of an outbox's journal lead to what is left to do, and a snapshot's fewer lines to the same."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from gateway.intake.outbox.ledger import (
    AnyIntent,
    DocumentIntent,
    Intent,
    Ledger,
    Line,
    begun,
    documented,
    done,
    end_published,
    ended,
    given_up,
    intended,
)
from gateway.intake.transfer import NO_STUDY, RecordedTransfer, Sender
from schemas.objects import Identity
from tests.support.worlds.intake import envelope_of

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
HASHES = ("aa" * 32, "bb" * 32)
FIRST_STUDY, SECOND_STUDY = "1.2.3", "1.2.4"


def intent(number: int, *, transfer: str = "t-1", study: str = FIRST_STUDY, data_hash: str = HASHES[0]) -> Intent:
    identity = Identity("local", study, "1.2.3.9", f"1.2.3.{number}", data_hash)
    return Intent(number, transfer, identity, identity.key, envelope_of(transfer))


class Written(Ledger):
    """A ledger with the lines that were applied to it; the place of a line is its index."""

    def __init__(self) -> None:
        super().__init__(lambda place: self.lines[place])
        self.lines: list[Line] = []

    def write(self, line: Line) -> None:
        self.lines.append(line)
        self.apply(line, len(self.lines) - 1)


def ledger_of(lines: Iterable[Line]) -> Written:
    ledger = Written()
    for line in lines:
        ledger.write(line)
    return ledger


def open_intents(ledger: Ledger) -> dict[int, AnyIntent]:
    return {number: ledger.intent(number) for number in ledger.intents}


def transfers_of(ledger: Ledger) -> dict[str, RecordedTransfer]:
    return {transfer_id: ledger.transfers[transfer_id] for transfer_id in ledger.transfers}


def state_of(ledger: Ledger) -> tuple[object, object]:
    return open_intents(ledger), transfers_of(ledger)


def ends_of(ledger: Ledger) -> list[tuple[str, str, int]]:
    ends = [
        ledger.end(transfer_id, study_uid)
        for transfer_id in ledger.transfers
        for study_uid in ledger.unpublished(transfer_id)
    ]
    return [(end.study_uid, end.outcome, end.instances) for end in ends if end]


BEGUN, ENDED = begun("t-1", "local", NOON), ended("t-1", "well", LATER)
COMMAND = DocumentIntent(5, "command", "local/1.2.3/_commands/6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21.json")
# Two studies, of which the second has no object; another transfer that is still open.
HISTORY = [
    BEGUN,
    intended(intent(1)),
    begun("t-2", "else", NOON),
    intended(intent(2, data_hash=HASHES[1])),
    done(1),
    intended(intent(3, study=SECOND_STUDY)),
    intended(intent(4, transfer="t-2")),
    done(4),
    ENDED,
    documented(COMMAND),
    given_up(3),
    done(2),
    end_published("t-1", FIRST_STUDY),
    end_published("t-1", SECOND_STUDY),
    ended("t-2", "aborted", LATER),
    end_published("t-2", FIRST_STUDY),
    done(5),
]


def test_a_new_ledger_has_nothing_to_do() -> None:
    ledger = Written()

    assert ledger.is_empty
    assert (list(ledger.transfers), list(ledger.snapshot())) == ([], [])


def test_the_line_of_an_intent_has_all_that_its_object_needs() -> None:
    ledger = ledger_of([BEGUN, intended(intent(7))])

    assert open_intents(ledger) == {7: intent(7)}


@pytest.mark.parametrize("document", [COMMAND, DocumentIntent(5, "policy", "local/_policies/tiering/age/000001.json")])
def test_the_intent_of_a_document_belongs_to_no_transfer(document: DocumentIntent) -> None:
    ledger = ledger_of([documented(document)])

    assert (open_intents(ledger), list(ledger.transfers)) == ({5: document}, [])
    assert not ledger.close(document, is_published=True)
    assert ledger.is_empty


def test_once_all_ends_are_published_nothing_is_left_to_do() -> None:
    assert [ledger_of(HISTORY[:length]).is_empty for length in (len(HISTORY) - 1, len(HISTORY))] == [False, True]
    assert list(ledger_of(HISTORY).snapshot()) == []


@pytest.mark.parametrize("length", range(len(HISTORY) + 1))
def test_a_snapshot_at_any_moment_leads_to_the_same_state_and_future(length: int) -> None:
    ledger = ledger_of(HISTORY[:length])

    copy = ledger_of(ledger.snapshot())

    assert state_of(copy) == state_of(ledger)
    for line in HISTORY[length:]:
        copy.write(line)
    assert copy.is_empty


def test_an_intent_whose_done_was_lost_stays_open_although_its_end_is_published() -> None:
    # A disk that was full for a while has not taken the line "done".
    lines = [BEGUN, intended(intent(1)), ENDED, end_published("t-1", FIRST_STUDY)]
    ledger = ledger_of(lines)

    assert (open_intents(ledger), ends_of(ledger)) == ({1: intent(1)}, [])
    assert state_of(ledger_of(ledger.snapshot())) == state_of(ledger)
    assert ledger_of([*ledger.snapshot(), done(1)]).is_empty


def test_a_snapshot_has_one_line_for_each_study_and_none_for_closed_intents() -> None:
    closed = [line for number in range(1, 101) for line in (intended(intent(number)), done(number))]
    ledger = ledger_of([BEGUN, *closed, intended(intent(101))])

    assert [line["kind"] for line in ledger.snapshot()] == ["begun", "intent", "published"]


@pytest.mark.parametrize(
    "again", [done(1), given_up(1), ENDED, end_published("t-1", FIRST_STUDY)], ids=["done", "gone", "ended", "told"]
)
@pytest.mark.parametrize("is_forgotten", [True, False], ids=["forgotten", "waiting"])
def test_a_line_about_what_is_closed_changes_nothing(again: Line, *, is_forgotten: bool) -> None:
    closed = [BEGUN, intended(intent(1)), done(1), ENDED, end_published("t-1", FIRST_STUDY)]
    waiting = [BEGUN, intended(intent(1)), intended(intent(2, study=SECOND_STUDY)), done(1), given_up(2), *closed[3:]]
    lines = closed if is_forgotten else waiting
    ledger = ledger_of([*lines, again])

    assert state_of(ledger) == state_of(ledger_of(lines))
    assert ledger.is_empty == is_forgotten


def test_the_first_end_of_a_transfer_stays_its_outcome() -> None:
    ledger = ledger_of([BEGUN, intended(intent(1)), done(1), ENDED, ended("t-1", "lost", LATER + timedelta(days=1))])

    end = ledger.end("t-1", FIRST_STUDY)
    assert end
    assert (end.outcome, end.began_at, end.ended_at) == ("well", NOON, LATER)


@pytest.mark.parametrize(
    ("lines", "ends"),
    [
        ([done(1)], []),
        ([ENDED], []),
        ([done(1), ENDED], [(FIRST_STUDY, "well", 1)]),
        ([ENDED, done(1)], [(FIRST_STUDY, "well", 1)]),
        ([ENDED, given_up(1)], [(FIRST_STUDY, "well", 0)]),
        ([intended(intent(2, study=SECOND_STUDY)), done(1), ENDED], []),
        (
            [intended(intent(2, study=SECOND_STUDY)), done(1), ENDED, done(2)],
            [(FIRST_STUDY, "well", 1), (SECOND_STUDY, "well", 1)],
        ),
        ([intended(intent(2)), done(1), done(2), ENDED], [(FIRST_STUDY, "well", 1)]),
        ([intended(intent(2, data_hash=HASHES[1])), done(1), done(2), ENDED], [(FIRST_STUDY, "well", 2)]),
        ([done(1), ENDED, end_published("t-1", FIRST_STUDY)], []),
    ],
    ids=[
        "not ended",
        "intent open",
        "ended",
        "closed after the end",
        "never stored",
        "intent of another study open",
        "two studies",
        "same content twice",
        "two contents",
        "published",
    ],
)
def test_ends_are_due_once_the_transfer_has_ended_and_no_intent_is_open(
    lines: list[Line], ends: list[tuple[str, str, int]]
) -> None:
    assert ends_of(ledger_of([BEGUN, intended(intent(1)), *lines])) == ends


def test_an_open_intent_holds_back_the_ends_of_its_own_transfer_only() -> None:
    other = [begun("t-2", "local", NOON), intended(intent(2, transfer="t-2")), ended("t-2", "aborted", LATER)]
    ledger = ledger_of([BEGUN, intended(intent(1)), ENDED, *other, done(2)])

    assert ends_of(ledger) == [(FIRST_STUDY, "aborted", 1)]


def test_a_transfer_that_ended_without_an_intent_is_forgotten_at_once() -> None:
    assert ledger_of([BEGUN, ENDED]).is_empty


def test_a_transfer_that_stored_nothing_is_kept_until_its_end_is_published() -> None:
    ledger = ledger_of([BEGUN, ended("t-1", "well", LATER, {"too-large": 1})])

    assert ends_of(ledger) == [(NO_STUDY, "well", 0)]
    assert state_of(ledger_of(ledger.snapshot())) == state_of(ledger)
    ledger.write(end_published("t-1", NO_STUDY))
    assert ledger.is_empty


def test_a_transfer_has_ended_with_its_line_and_also_when_it_is_forgotten() -> None:
    ledger = ledger_of([begun("t-2", "local", NOON), BEGUN, intended(intent(1)), ENDED])

    assert [ledger.has_ended(transfer_id) for transfer_id in ("t-1", "t-2", "t-3")] == [True, False, True]


@pytest.mark.parametrize("lines", [[], [done(1)], [ENDED], [done(1), ENDED, end_published("t-1", FIRST_STUDY)]])
def test_there_is_no_end_before_the_transfer_is_over_nor_after_it_was_published(lines: list[Line]) -> None:
    assert ledger_of([BEGUN, intended(intent(1)), *lines]).end("t-1", FIRST_STUDY) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [([], [False, False]), ([ENDED], [True, False])],
    ids=["transfer open", "transfer ended"],
)
def test_closing_an_intent_tells_once_whether_its_transfer_has_ended(lines: list[Line], expected: list[bool]) -> None:
    ledger = ledger_of([BEGUN, intended(intent(1)), *lines])

    assert [ledger.close(intent(1), is_published=True) for _ in range(2)] == expected


KEY = intent(1).key


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"kind": "unheard-of"},
        {"kind": "done"},
        BEGUN | {"began_at": "noon"},
        BEGUN | {"began_at": None},
        intended(intent(1)) | {"transfer": 9},
        intended(intent(1)) | {"number": "1"},
        intended(intent(1)) | {"key": KEY.replace("local/", "local/../")},
        intended(intent(1)) | {"key": KEY.upper()},
        intended(intent(1)) | {"envelope": {}},
        {"kind": "published", "transfer": "t-1", "study": FIRST_STUDY, "hashes": ["no hash"]},
        {"kind": "published", "transfer": "t-9", "study": FIRST_STUDY, "hashes": []},
        ENDED | {"ended_at": "noon"},
        ENDED | {"outcome": "strange"},
        end_published("t-1", FIRST_STUDY) | {"study": 5},
    ],
)
def test_a_line_that_cannot_be_read_is_an_error_and_changes_nothing(line: Line) -> None:
    ledger = ledger_of([BEGUN])

    with pytest.raises((KeyError, ValueError, TypeError)):
        ledger.write(line)

    assert state_of(ledger) == state_of(ledger_of([BEGUN]))


def test_an_intent_stands_in_for_the_lost_beginning_of_its_transfer() -> None:
    ledger = ledger_of([intended(intent(1)), done(1), ENDED])

    whole = [begun("t-1", "local", NOON, Sender(calling_ae="CT", called_ae="FLUORO")), intended(intent(1))]
    assert ledger.end("t-1", FIRST_STUDY) == ledger_of([*whole, done(1), ENDED]).end("t-1", FIRST_STUDY)


def test_the_lines_on_disk_keep_the_names_that_another_version_reads() -> None:
    envelope = intent(1).envelope.to_metadata()

    assert [BEGUN, intended(intent(1)), done(1), given_up(1), ENDED, end_published("t-1", FIRST_STUDY)] == [
        {"kind": "begun", "transfer": "t-1", "tenant": "local", "began_at": "2026-11-01T12:00:00+00:00"},
        {"kind": "intent", "number": 1, "transfer": "t-1", "key": KEY, "envelope": envelope},
        {"kind": "done", "number": 1},
        {"kind": "gone", "number": 1},
        {"kind": "ended", "transfer": "t-1", "outcome": "well", "ended_at": "2026-11-01T12:01:00+00:00"},
        {"kind": "told", "transfer": "t-1", "study": FIRST_STUDY},
    ]


def test_the_sender_the_bytes_and_the_refusals_of_a_transfer_survive_its_process_and_a_snapshot() -> None:
    sender = Sender("ct1", "CT1", "FLUORO", "10.1.0.7")
    first, second = intent(1), intent(2, data_hash=HASHES[1])
    lines = [begun("t-1", "local", NOON, sender), intended(first), intended(second), done(1, 100), done(2, 11)]
    ledger = ledger_of([*lines, ended("t-1", "well", LATER, {"too-large": 2})])

    for one in (ledger, ledger_of(ledger.snapshot())):
        end = one.end("t-1", FIRST_STUDY)
        assert end is not None
        assert (end.sender, end.instances, end.size_bytes, end.refused) == (sender, 2, 111, {"too-large": 2})


def test_the_lines_of_an_earlier_release_lead_to_an_end_without_sender_and_bytes() -> None:
    old = {"kind": "begun", "transfer": "t-1", "tenant": "local", "began_at": NOON.isoformat()}
    ledger = ledger_of([old, intended(intent(1)), {"kind": "done", "number": 1}, ended("t-1", "well", LATER)])

    end = ledger.end("t-1", FIRST_STUDY)
    assert end is not None
    assert (end.sender, end.size_bytes, end.refused) == (Sender(), None, {})

"""Every outcome of an instance has a status of the standard, and its sender can read what became of the instance."""

import re
from pathlib import Path

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from gateway.intake import status as statuses
from gateway.intake.status import (
    CANNOT_UNDERSTAND,
    MEANINGS,
    NOT_SHOWN,
    NOT_STORED,
    ODDITIES,
    OUT_OF_RESOURCES,
    QUARANTINED,
    REASONS,
    STATUSES,
    STORED,
    STORED_ODD,
    Status,
    of_rejected,
    of_stored,
    of_unavailable,
)
from operators.dicom.reasons import Oddity, Reason
from operators.dicom.scan import LIMITS
from operators.errors import Rejected, Unavailable

ALL = [value for value in vars(statuses).values() if isinstance(value, Status)]
each_status = pytest.mark.parametrize("status", ALL, ids=lambda status: status.outcome)


@each_status
def test_every_status_is_one_of_the_standards_and_its_comment_fits(status: Status) -> None:
    assert status.meaning
    assert len(status.comment) <= 64
    assert status.comment.isascii()


@each_status
def test_a_status_says_success_or_warning_for_a_stored_instance_and_failure_for_every_other(status: Status) -> None:
    category, _ = STORAGE_SERVICE_CLASS_STATUS[status.code]

    assert category == {STORED: "Success", STORED_ODD: "Warning", NOT_SHOWN: "Warning"}.get(status, "Failure")


def test_success_and_failure_have_different_codes() -> None:
    assert (STORED.code, OUT_OF_RESOURCES.code) == (0x0000, 0xA700)


def test_no_two_outcomes_share_a_code_or_a_name() -> None:
    assert len({status.outcome for status in ALL}) == len(ALL)
    assert len({status.code for status in ALL if status is not NOT_SHOWN}) == len(ALL) - 1


def test_the_statuses_over_dimse_are_among_all() -> None:
    assert set(STATUSES) <= set(ALL)
    assert {*REASONS.values()} <= set(ALL)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("sop-class-mismatch", 0xA900),
        ("sop-uid-mismatch", 0xA900),
        ("too-large", 0xC001),
        ("quarantine-full", 0xC005),
        ("other-class", 0x0122),
        ("other-study", 0xA901),
        ("part-type", 0xC002),
        ("part-length", 0xC003),
        *((reason, 0xC000) for reason in Reason),
        ("unheard-of", 0xC000),
        ("", 0xC000),
    ],
)
def test_a_reason_without_a_status_of_its_own_means_that_the_data_cannot_be_understood(reason: str, code: int) -> None:
    assert of_rejected(Rejected(reason)).code == code


# What only the read API meets.
OF_FRAMES = {Reason.NO_SUCH_FRAME, Reason.BAD_FRAME}


@pytest.mark.parametrize("reason", [*(set(Reason) - OF_FRAMES), *REASONS])
def test_a_failure_says_in_words_of_its_own_why_the_instance_is_refused(reason: str) -> None:
    comment = of_rejected(Rejected(reason)).comment

    assert comment != CANNOT_UNDERSTAND.comment
    assert comment.isascii()
    assert len(comment) <= 64


def test_every_reason_has_a_sentence_and_there_is_none_too_many() -> None:
    of_instances = set(map(str, set(Reason) - OF_FRAMES))

    assert set(map(str, MEANINGS)) == {*of_instances, *REASONS, *QUARANTINED, *NOT_STORED, "unexpected"}
    assert not [words for words in MEANINGS.values() if not words.endswith(".")]


def test_the_conformance_statement_has_each_reason_and_what_becomes_of_the_instance() -> None:
    statement = (Path(__file__).parents[4] / "CONFORMANCE.md").read_text(encoding="utf-8")
    (section,) = re.findall("^### Reasons of refusals$(.*?)^##", statement, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(.+?)` \| (.+) \| (yes|no) \|$", section, re.MULTILINE)

    assert rows == [(str(code), words, "yes" if code in QUARANTINED else "no") for code, words in MEANINGS.items()]


def test_the_limits_in_the_sentences_are_those_of_the_scan() -> None:
    limits = {Reason.TOO_DEEP: LIMITS.depth, Reason.TOO_MANY_ITEMS: LIMITS.items}
    limits |= {Reason.TOO_MANY_ELEMENTS: LIMITS.elements, Reason.TOO_INFLATED: LIMITS.inflated_bytes >> 20}

    assert [reason for reason, limit in limits.items() if f" {limit:,} " not in MEANINGS[reason]] == []


def test_a_sender_reads_what_is_wrong_with_which_uid() -> None:
    words = "Series Instance UID is longer than 64 characters"
    status = of_rejected(Rejected("no-usable-uid", words))

    assert (status.code, status.comment) == (0xC000, f"quarantined: {words}")
    assert len(status.comment) <= 64


@pytest.mark.parametrize("what", [*NOT_STORED, "store-object-went", "broker-no-report"])
def test_an_instance_that_is_not_stored_now_says_what_fails(what: str) -> None:
    status = of_unavailable(Unavailable(what))

    assert status == OUT_OF_RESOURCES
    assert status.comment != OUT_OF_RESOURCES.comment
    assert status.comment.startswith("not stored, send again: ")
    assert len(status.comment) <= 64


def test_what_has_no_words_is_not_repeated_to_the_sender() -> None:
    assert of_unavailable(Unavailable("10.1.2.3 went")).comment == OUT_OF_RESOURCES.comment
    assert of_rejected(Rejected("unheard-of")).comment == CANNOT_UNDERSTAND.comment


# PS3.4 B.2.3 warns when a data set does not match its SOP class; text that cannot be decoded is no such fault.
UNWARNED = {Oddity.UNKNOWN_CHARACTER_SET, Oddity.UNDECODABLE_TEXT}


@pytest.mark.parametrize("oddity", Oddity)
def test_a_sender_is_warned_of_a_fault_by_its_name_and_not_of_odd_text(oddity: Oddity) -> None:
    status = of_stored([oddity])

    assert (status.code, status.outcome) == ((0, "stored") if oddity in UNWARNED else (0xB007, "stored-odd"))
    assert status.comment == ("" if oddity in UNWARNED else f"stored, but: {oddity.value}")
    assert (oddity in ODDITIES) == (oddity not in UNWARNED)


def test_a_comment_fits_however_many_warnings_there_are() -> None:
    assert len(of_stored(Oddity).comment) == 64


@pytest.mark.parametrize(
    ("warnings", "code"),
    [
        ([], 0x0000),
        (["unknown-character-set", "undecodable-text"], 0x0000),
        (["undecodable-text", "odd-length"], 0xB007),
        (iter(["odd-length"]), 0xB007),
        (["unheard-of"], 0x0000),
    ],
    ids=["none", "text", "text and structure", "iterator", "unknown"],
)
def test_one_warning_that_matters_is_enough(warnings: list[str], code: int) -> None:
    assert of_stored(warnings).code == code

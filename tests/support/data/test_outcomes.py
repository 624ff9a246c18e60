"""The table of the corpus' outcomes is complete, and agrees with what the archive finds in each file."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from gateway.intake.status import of_rejected, of_stored
from operators.dicom import instance, part10
from operators.dicom.instance import Examination
from operators.errors import Rejected
from tests.audit.part10 import read_meta
from tests.support.data.outcomes import Outcome, corpus_files, table
from tests.support.senders.files import data_hash

FILES = 584


@cache
def found(corpus: Path) -> dict[str, Outcome]:
    """Examine every file as both doors do."""
    return {name: outcome(path.read_bytes()) for name, path in corpus_files(corpus).items()}


def outcome(whole: bytes) -> Outcome:
    try:
        meta = part10.split_part10(whole)
        examined = instance.examine(whole[meta.prefix_length :], meta.transfer_syntax, meta.prefix_length)
    except Rejected as error:
        return Outcome("quarantined", error.reason, stow=f"{of_rejected(error).code:04X}")
    status = f"{of_stored(examined.warnings).code:04X}"
    sop_uid = "" if examined.sop_uid == meta.sop_uid else examined.sop_uid
    assert examined.sop_class == meta.sop_class
    return Outcome(warnings=examined.warnings, stow=status, sop_uid=sop_uid)


def compared(one: Outcome) -> tuple[object, ...]:
    return one.becomes, one.reason, one.warnings, one.stow, one.sop_uid


def test_the_table_is_about_files_of_the_corpus(corpus: Path) -> None:
    files = corpus_files(corpus)

    assert len(files) == FILES
    assert table().names <= files.keys()
    assert all(one.why for one in table().exceptions.values())


def test_every_file_becomes_what_the_table_says(corpus: Path) -> None:
    wrong = {name: compared(one) for name, one in found(corpus).items() if compared(one) != compared(table().of(name))}

    assert wrong == {}


def test_files_of_one_instance_and_repeats_are_those_of_the_table(corpus: Path) -> None:
    instances: dict[tuple[str, str], set[str]] = defaultdict(set)
    contents: dict[str, list[str]] = defaultdict(list)
    for name, path in corpus_files(corpus).items():
        whole = path.read_bytes()
        if examined := examined_of(whole):
            meta = read_meta(whole)
            instances[examined.study_uid, examined.sop_uid].add(name)
            contents[data_hash(meta.transfer_syntax, memoryview(whole)[meta.length :])].append(name)

    assert {frozenset(names) for names in instances.values() if len(names) > 1} == set(table().instances)
    assert {name for names in contents.values() for name in sorted(names)[1:]} == table().repeats


def examined_of(whole: bytes) -> Examination | None:
    try:
        meta = part10.split_part10(whole)
        return instance.examine(whole[meta.prefix_length :], meta.transfer_syntax, meta.prefix_length)
    except Rejected:
        return None


@pytest.mark.parametrize("becomes", ["stored", "quarantined"])
def test_a_file_that_becomes_this_has_a_status_that_says_so(becomes: str) -> None:
    sent = {one.dimse for one in table().exceptions.values() if one.becomes == becomes}

    assert sent <= ({"0000", "B007"} if becomes == "stored" else {"C000", "refused", "unsendable"})

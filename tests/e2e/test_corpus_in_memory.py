"""Every file of the corpus, sent to either door of an empty archive, becomes what the table says and comes back."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from schemas.objects import Bucket
from tests.audit.ledger import Ledger, Line
from tests.audit.snapshot import key_of
from tests.support.data.outcomes import Outcome, corpus_files, table, unexpected
from tests.support.senders.raw import UNSENDABLE, raw, send_raw
from tests.support.senders.round_trip import corpus_sent, differences, retrieved
from tests.support.senders.stow import stow
from tests.support.worlds.memory_archive import MemoryArchive, memory_archive

pytestmark = pytest.mark.filterwarnings("ignore")
INSTANCES, CONTENTS = 454, 530


@dataclass(frozen=True)
class InspectedArchive:
    """An archive in memory read back: shown instances through the read API, the rest from its store."""

    archive: MemoryArchive
    client: httpx.Client

    def shown(self, line: Line) -> bytes | None:
        return retrieved(self.client, line)

    def conflicting(self, line: Line) -> bytes | None:
        named = (line.tenant, line.study_uid, line.sop_uid, line.data_hash)
        if named not in self.archive.world.catalog.tables.conflicts:
            return None
        return self.archive.world.objects.objects[Bucket.HOT, key_of(line)].data

    def quarantined(self, line: Line) -> bytes | None:
        return self.archive.quarantined().get(f"{line.tenant}/{line.data_hash}")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[MemoryArchive]:
    with memory_archive(tmp_path / "archive") as found:
        yield found


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger") as found:
        yield found


def by_dimse(archive: MemoryArchive, ledger: Ledger, files: dict[str, Path]) -> dict[str, str]:
    raws = {name: raw(path, "local", table().of(name).sop_uid) for name, path in files.items()}
    answers = send_raw([one for one in raws.values() if one], archive.peer, ledger)
    return {name: answers[one.path] if one else UNSENDABLE for name, one in raws.items()}


def by_stow(archive: MemoryArchive, ledger: Ledger, files: dict[str, Path]) -> dict[str, str]:
    answers = stow(files.values(), archive.door, ledger)
    return {name: answers[path] for name, path in files.items()}


# A door, the table's column of its answers, and whether whole files come back or data sets alone.
DOORS: dict[
    str, tuple[Callable[[MemoryArchive, Ledger, dict[str, Path]], dict[str, str]], Callable[[Outcome], str], bool]
] = {
    "dimse": (by_dimse, lambda one: one.dimse, False),
    "stow": (by_stow, lambda one: one.stow, True),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_file_is_answered_as_the_table_says_and_comes_back(
    door: str, archive: MemoryArchive, ledger: Ledger, corpus: Path
) -> None:
    files = corpus_files(corpus)
    send, expected, is_whole = DOORS[door]

    answers = send(archive, ledger, files)
    archive.catalog()

    assert unexpected(answers, expected) == {}
    with httpx.Client(base_url=archive.door.url) as client:
        assert differences(corpus_sent(files, answers, is_whole=is_whole), InspectedArchive(archive, client)) == {}
    rows = archive.world.catalog.tables
    assert (len(rows.instances), len(rows.instances) + len(rows.conflicts)) == (INSTANCES, CONTENTS)


def test_an_instance_whose_data_set_has_another_sop_uid_than_the_command_is_quarantined(
    archive: MemoryArchive, ledger: Ledger, corpus: Path
) -> None:
    misnamed = [corpus / name for name, one in table().exceptions.items() if one.sop_uid]
    raws = [one for path in misnamed if (one := raw(path, "local"))]

    answers = send_raw(raws, archive.peer, ledger)

    assert set(answers.values()) == {"A900"}
    assert set(archive.quarantined()) == {f"local/{one.line.data_hash}" for one in raws}


def test_the_same_content_through_both_doors_is_one_object_and_one_row(
    archive: MemoryArchive, ledger: Ledger, corpus: Path
) -> None:
    files = corpus_files(corpus)

    first = by_stow(archive, ledger, files)
    again = by_dimse(archive, ledger, files)
    archive.catalog()

    stored = Counter(one for answers in (first, again) for one in answers.values() if one in ("0000", "B007"))
    rows = archive.world.catalog.tables
    assert sum(stored.values()) == 2 * (CONTENTS + 1)
    assert len([key for bucket, key in archive.world.objects.objects if bucket is Bucket.HOT]) == CONTENTS
    assert (len(rows.instances), len(rows.instances) + len(rows.conflicts)) == (INSTANCES, CONTENTS)

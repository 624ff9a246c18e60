"""Policies and what is in quarantine are read to their end: what is damaged, or was written by somebody else, is found."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from operators.connectors.memory.stores import DAMAGES, MemoryObjectStore, StoredBytes
from operators.dicom.instance import data_hasher, prefix_hash
from operators.integrity.comparison import Finding
from operators.store import quarantine
from operators.store.policies import POLICIES
from pipelines.batch.running import CountingJournal, Shift
from pipelines.batch.selection import Selection
from pipelines.batch.verify.beside import BesideStudies
from pipelines.batch.verify.pace import CpuPace
from schemas.objects import Bucket
from tests.support.worlds.intake import EXPLICIT, envelope_of
from tests.support.worlds.policies import policy

PREFIX, DATA = b"file meta", b"a data set"


def held_hash() -> str:
    content = data_hasher(EXPLICIT)
    content.update(DATA)
    return content.hexdigest()


@dataclass
class Archive:
    """A store with a policy and a content in quarantine, and the verification of both."""

    folder: Path
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)

    def __post_init__(self) -> None:
        asyncio.run(self.store.put(Bucket.HOT, POLICIES.upload_of(policy())))
        envelope = envelope_of("t", prefix_hash=prefix_hash(PREFIX), prefix_length=len(PREFIX), reason="no-usable-uid")
        self.held = (Bucket.QUARANTINE, quarantine.key("local", held_hash()))
        self.policy = (Bucket.HOT, POLICIES.upload_of(policy()).key)
        self.store.objects[self.held] = StoredBytes(PREFIX + DATA, envelope.to_metadata())

    def found(self, selection: Selection = Selection()) -> dict[str, tuple[Finding, ...]]:  # noqa: B008
        """Return what is wrong, by prefix."""

        async def verify() -> dict[str, tuple[Finding, ...]]:
            beside = BesideStudies(self.store, CpuPace(1))
            with CountingJournal(self.folder) as journal:
                shift = Shift(selection, (0, 1), journal.finished, journal)
                return {each.prefix: (await beside.verify(each)).findings async for each in beside.folders(shift)}

        return asyncio.run(verify())

    def change(self, place: tuple[Bucket, str], change: Callable[[StoredBytes], StoredBytes]) -> None:
        self.store.objects[place] = change(self.store.objects[place])


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def test_policies_and_quarantine_that_are_whole_are_found_good(archive: Archive) -> None:
    assert archive.found() == {"local/_policies/": (), "_quarantine/local/": ()}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_content_in_quarantine_is_found(archive: Archive, damage: str) -> None:
    archive.change(archive.held, DAMAGES[damage])

    (finding,) = archive.found()["_quarantine/local/"]
    assert finding == Finding("orphan" if damage == "no metadata" else "hash", archive.held[1], "quarantine")


@pytest.mark.parametrize("damage", ["short", "empty", "unreadable"])
def test_a_damaged_version_of_a_policy_is_found(archive: Archive, damage: str) -> None:
    archive.change(archive.policy, DAMAGES[damage])

    (finding,) = archive.found()["local/_policies/"]
    assert finding == Finding("hash" if damage == "unreadable" else "orphan", archive.policy[1], "hot")


@pytest.mark.parametrize(
    "place",
    [
        (Bucket.HOT, "local/_policies/x"),
        (Bucket.HOT, "local/_policies/tiering/age/1.json"),
        (Bucket.QUARANTINE, "local/x"),
        (Bucket.QUARANTINE, "NOBODY/" + "a" * 64),
        (Bucket.QUARANTINE, "local/damaged/x"),
    ],
    ids=lambda place: place[1],
)
def test_what_somebody_else_wrote_is_found(archive: Archive, place: tuple[Bucket, str]) -> None:
    archive.store.objects[place] = StoredBytes(b"{}", {})

    found = [finding for findings in archive.found().values() for finding in findings]
    assert found == [Finding("orphan", place[1], place[0].value)]


def test_what_is_kept_aside_of_damaged_objects_is_not_looked_at(archive: Archive) -> None:
    key = quarantine.damaged_key("local", "a" * 64, "b" * 64)
    archive.store.objects[Bucket.QUARANTINE, key] = StoredBytes(b"x", {})

    assert archive.found()["_quarantine/local/"] == ()


@pytest.mark.parametrize(
    ("selection", "prefixes"),
    [
        (Selection(tenant="local"), {"local/_policies/", "_quarantine/local/"}),
        (Selection(tenant="other"), set[str]()),
        (Selection(study_uid="1.2"), set[str]()),
    ],
    ids=["its tenant", "another tenant", "a study"],
)
def test_they_belong_to_a_tenant_and_to_no_study(archive: Archive, selection: Selection, prefixes: set[str]) -> None:
    assert set(archive.found(selection)) == prefixes

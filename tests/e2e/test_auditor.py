"""The auditor finds every sabotage of real servers, in its sets of findings and no others.

    FLUORO_TEST_FAULTS=full .venv/bin/python -m pytest tests/e2e/test_auditor.py

tries all of them, `make test` a few.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from deploy.local.running import wait_until
from schemas.codec import decode, encode
from schemas.events import StudySettled
from tests.audit.collect.object_store import QUARANTINE
from tests.audit.ledger import Line
from tests.audit.observer import observing
from tests.audit.snapshot import key_of
from tests.support.data.generate import Volume, instances
from tests.support.faults.matrix import IS_FULL
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.sabotage.lying_api import Lie, lying
from tests.support.sabotage.partition import Partition
from tests.support.sabotage.saboteur import Saboteur
from tests.support.senders.files import line_of, sendable
from tests.support.senders.stow import Door, stow

HEALED_S = 30.0
ALL = "only with FLUORO_TEST_FAULTS=full"
POISON = b"no event at all"


@dataclass(frozen=True)
class Target:
    """What was sent for the saboteur: five slices, of which the last has another content too, which was chosen.

    Its study is held; a file was refused; a policy was put.
    """

    saboteur: Saboteur
    line: Line
    chosen: Line
    refused: Line
    policy: str

    @property
    def study_uid(self) -> str:
        """Return the study."""
        return self.line.study_uid

    @property
    def key(self) -> str:
        """Return the key of the object that is sabotaged."""
        return key_of(self.line)

    def command_key(self, action: str) -> str:
        """Return the key of the object of the study's command."""
        (event_id,) = (one["event_id"] for one in self.records("study-command") if one["action"] == action)
        return f"{self.line.tenant}/{self.study_uid}/_commands/{event_id}.json"

    def records(self, topic: str) -> list[dict[str, Any]]:
        """Return the records of the study in a topic."""
        found = self.saboteur.observer.topics.records[topic]
        return [one for one in found if one.get("study_uid") == self.study_uid]

    @contextmanager
    def partition(self, topic: str) -> Iterator[Partition]:
        """Yield the partition of the study's records in a topic, and put it back after the block."""
        with self.saboteur.with_partition(topic, self.records(topic)[0]["place"].partition) as partition:
            yield partition

    def heal(self) -> None:
        """Wait until the jobs have read what was put back."""
        wait_until(lambda: not self.saboteur.findings(hashed=0), HEALED_S, "the archive is not clean again")


@pytest.fixture(scope="module")
def target(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, api = tmp_path_factory.mktemp("saboteur"), proof.archive.api_url
    slices = list(instances(Volume(slices=5, size=64, seed=30)))
    paths = [one.write(folder / one.file_name) for one in slices]
    assert proof.send(paths).complete
    other = replace(slices[-1], pixels=slices[-1].pixels[::-1])
    assert proof.send([other.write(folder / "other")]).complete
    study_uid, garbage = other.study_uid, folder / "garbage"
    garbage.write_bytes(POISON)
    assert set(stow([garbage], Door(api), proof.ledger).values()) == {"C000"}
    command(api, study_uid, action="hold")
    # What is chosen after the study was settled makes it due a second time.
    assert proof.wrong() == {}
    command(api, study_uid, action="choose", instance=other.sop_uid, content=other.data_hash)
    rules = {"rules": [{"name": "all", "then": {"model": "lung", "version": "1"}}], "why": "a test"}
    assert httpx.put(f"{api}/v1/policies/inference/sabotaged", json=rules, timeout=30).status_code in (200, 201)
    assert proof.wrong() == {}
    lines = [sendable(path, proof.peer.tenant).line for path in (paths[2], folder / "other")]
    address = address_of(proof.archive)
    with observing(address, [proof.ledger.path]) as observer:
        saboteur = Saboteur(proof.archive, observer)
        assert saboteur.findings() == {}
        yield Target(saboteur, lines[0], lines[1], line_of(garbage, proof.peer.tenant), "sabotaged")


def command(api: str, study_uid: str, **said: str) -> None:
    url = f"{api}/v1/studies/{study_uid}/commands"
    answer = httpx.post(url, json={"why": "a test of the auditor", **said}, timeout=30)
    assert answer.status_code == httpx.codes.CREATED, answer.text


Sabotage = Callable[[Target], AbstractContextManager[object]]


def with_bytes(change: Callable[[bytes], bytes | None]) -> Sabotage:
    """Return what replaces the object's bytes."""
    return lambda t: t.saboteur.with_object(t.key, change(t.saboteur.object(t.key)[0]))


def with_sql(do: str, undo: str, value: Callable[[Target], str] = lambda t: t.study_uid) -> Sabotage:
    """Return what executes a statement, and another one to undo it."""
    return lambda t: t.saboteur.with_statement(do, undo, value(t))


def without_rows(table: str, where: str = "study_uid = %s", value: Callable[[Target], str] = lambda t: t.study_uid) -> Sabotage:  # fmt: skip
    """Return what deletes rows."""
    return lambda t: t.saboteur.without_rows(table, where, value(t))


def with_copy(change: str, undo: str) -> Sabotage:
    """Return what inserts a changed copy of the instance's row."""
    return lambda t: t.saboteur.with_copied_row("instance", change, "object_key = %s", undo, t.key)


@contextmanager
def without_records(target: Target, topic: str) -> Iterator[None]:
    """Delete the records of a partition."""
    with target.partition(topic) as partition:
        partition.delete()
        yield
    target.heal()


@contextmanager
def with_record(target: Target, change: Callable[[StudySettled], StudySettled]) -> Iterator[None]:
    """Announce the study's last revision once more, changed."""
    with target.partition("study-settled") as partition:
        mine = (
            (key, event) for key, value in partition.records if isinstance(event := decode(value or b""), StudySettled)
        )
        key, last = [one for one in mine if one[1].study_uid == target.study_uid][-1]
        partition.append((key, encode(change(last))))
        yield


@contextmanager
def with_poison(target: Target, topic: str, key: bytes = b"local/1.2") -> Iterator[None]:
    """Append a record that nothing decodes."""
    with target.partition(topic) as partition:
        partition.append((key, POISON))
        yield


@contextmanager
def with_new_file(target: Target) -> Iterator[None]:
    """Write a log that names the patient."""
    log = target.saboteur.stack.logs / "leak.log"
    log.write_text(f"event=oops name={target.line.canary.lower()}")
    try:
        yield
    finally:
        log.unlink()


def more(column: str) -> Sabotage:
    """Return what makes a study's count too large."""
    change = f"UPDATE study SET {column} = {column} {{}} 1 WHERE study_uid = %s"  # noqa: S608 - a column's name
    return with_sql(change.format("+"), change.format("-"))


def the_key(target: Target) -> str:
    return target.key


REVERSED = "UPDATE instance SET data_hash = reverse(data_hash) WHERE {}"
REVERSED_KEY = REVERSED.format("object_key = %s")
REVERSED_CHOICE = REVERSED.format("sop_uid = %s")
HOLD = "UPDATE decision SET in_force = NOT in_force WHERE subject = 'hold' AND study_uid = %s"
RULES = "UPDATE policy SET rules = '{}' WHERE name = %s"

# A sabotage, how it is done, and the sets of findings in which it must appear.
SABOTAGES: dict[str, tuple[Sabotage, set[str]]] = {
    "delete an object": (with_bytes(lambda _: None), {"lost", "mismatch", "unbacked"}),
    "flip one byte": (
        with_bytes(lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]),
        {"lost", "mismatch"},
    ),
    "truncate an object": (with_bytes(lambda data: data[:-100]), {"lost", "mismatch"}),
    "edit an envelope": (
        lambda t: t.saboteur.with_object(t.key, t.saboteur.object(t.key)[0], prefix_hash="0"),
        {"mismatch"},
    ),
    "put an object without a row": (
        lambda t: t.saboteur.with_new_object("local/1.2/1.2.3/1.2.3.4_" + "ab" * 32 + ".dcm"),
        {"orphan"},
    ),
    "put a patient's name into a key": (
        lambda t: t.saboteur.with_new_object(f"local/1.2/1.2.3/{t.line.canary}.dcm"),
        {"orphan", "phi"},
    ),
    "delete a command's object": (
        lambda t: t.saboteur.with_object(t.command_key("hold"), None),
        {"unbacked", "undecided"},
    ),
    "delete a refused object": (
        lambda t: t.saboteur.with_object(f"local/{t.refused.data_hash}", None, bucket=QUARANTINE),
        {"quarantine"},
    ),
    "remove a row": (
        without_rows("instance", "object_key = %s", the_key),
        {"unindexed", "orphan", "closures", "drift", "accounted"},
    ),
    "duplicate a row under another SOP Instance UID": (
        with_copy("sop_uid = '1.2.3.4'", "sop_uid = '1.2.3.4'"),
        {"doubled", "phantom", "mismatch", "closures", "drift", "accounted"},
    ),
    "leak a row to another tenant": (
        with_copy("tenant = 'other'", "tenant = 'other'"),
        {"foreign", "doubled", "phantom", "closures", "drift", "accounted"},
    ),
    "change a row's hash": (
        with_sql(REVERSED_KEY, REVERSED_KEY, the_key),
        {"unindexed", "phantom", "mismatch", "closures", "accounted"},
    ),
    "show another content than the chosen one": (
        with_sql(REVERSED_CHOICE, REVERSED_CHOICE, lambda t: t.chosen.sop_uid),
        {"unindexed", "phantom", "mismatch", "closures", "unchosen", "accounted"},
    ),
    "move an instance to another study": (
        with_sql(
            "UPDATE instance SET study_uid = '1.2.3' WHERE object_key = %s",
            "UPDATE instance SET study_uid = split_part(object_key, '/', 2) WHERE object_key = %s",
            the_key,
        ),
        {"unindexed", "phantom", "closures", "drift", "accounted"},
    ),
    "a stale count of instances": (more("instances"), {"drift"}),
    "a stale size": (more("size_bytes"), {"drift"}),
    "lose a conflict": (without_rows("conflict"), {"unindexed", "orphan", "accounted"}),
    "lose a revision": (without_rows("revision"), {"closures", "unrecorded"}),
    "a due with a revision that it did not make": (
        with_sql(
            "UPDATE due SET revision = revision + 1 WHERE study_uid = %s",
            "UPDATE due SET revision = revision - 1 WHERE study_uid = %s",
        ),
        {"unrecorded"},
    ),
    "lose the row of a due": (
        without_rows("due", "event_id = %s::uuid", lambda t: t.records("study-due")[-1]["event_id"]),
        {"unrecorded", "accounted"},
    ),
    "lose the rows of commands": (without_rows("command"), {"unrecorded", "orphan", "accounted"}),
    "lose the rows of transfers": (without_rows("transfer"), {"accounted"}),
    "lose the row of a refused object": (
        without_rows("quarantine", "data_hash = %s", lambda t: t.refused.data_hash),
        {"quarantine", "accounted"},
    ),
    "end a hold in the catalog alone": (with_sql(HOLD, HOLD), {"undecided"}),
    "change the rules of a policy in the catalog alone": (
        with_sql(
            RULES.format("[]"),
            RULES.format('[{"name": "all", "when": [], "then": {"model": "lung", "version": "1"}}]'),
            lambda t: t.policy,
        ),
        {"undecided"},
    ),
    "open a table to every tenant": (
        lambda t: t.saboteur.with_statement(
            "ALTER TABLE conflict DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE conflict ENABLE ROW LEVEL SECURITY",
            role="owner",
        ),
        {"foreign"},
    ),
    "delete the records of instances": (lambda t: without_records(t, "instance-stored"), {"accounted"}),
    "delete the records of conflicts": (lambda t: without_records(t, "instance-conflict"), {"unraised"}),
    "delete the announcements of revisions": (lambda t: without_records(t, "study-settled"), {"closures"}),
    "announce a revision again under its id": (lambda t: with_record(t, lambda event: event), set()),
    "announce a revision again under another id": (
        lambda t: with_record(t, lambda event: replace(event, event_id=event.event_id[::-1])),
        {"closures"},
    ),
    "announce a revision again with another digest": (
        lambda t: with_record(t, lambda event: replace(event, digest=event.digest[::-1])),
        {"closures"},
    ),
    "append a record that nothing decodes": (lambda t: with_poison(t, "study-cataloged"), {"unreadable"}),
    "put a patient's name into a record's key": (
        lambda t: with_poison(t, "study-cataloged", t.line.canary.encode()),
        {"unreadable", "phi"},
    ),
    "log a patient's name": (with_new_file, {"phi"}),
}


# Those that `make test` tries.
FEW = (
    "delete an object",
    "flip one byte",
    "truncate an object",
    "put an object without a row",
    "remove a row",
    "leak a row to another tenant",
    "change a row's hash",
    "show another content than the chosen one",
    "a stale count of instances",
    "a due with a revision that it did not make",
    "log a patient's name",
    "move an instance to another study",
    "duplicate a row under another SOP Instance UID",
    "delete a refused object",
    "end a hold in the catalog alone",
    "open a table to every tenant",
    "delete the records of conflicts",
    "announce a revision again under its id",
    "announce a revision again under another id",
    "announce a revision again with another digest",
    "append a record that nothing decodes",
)


@pytest.mark.parametrize("what", SABOTAGES if IS_FULL else FEW)
def test_sabotage_is_found_in_its_sets_and_no_other(target: Target, what: str) -> None:
    sabotage, sets = SABOTAGES[what]

    with sabotage(target):
        found = target.saboteur.findings()

    assert set(found) == sets, found


def twice(path: str, found: list[Any]) -> list[Any]:
    return found[:1] + found if path.startswith("/dicomweb/studies?") else found


def another(path: str, found: list[Any]) -> list[Any]:
    return found[1:2] + found[1:] if path.startswith("/dicomweb/instances?") and "offset=0" in path else found


def the_truth(_: str, found: list[Any]) -> list[Any]:
    return found


# What the read API answers, the status of its retrievals, and the sets of findings.
LIES: dict[str, tuple[Lie, int | None, set[str]]] = {
    "the truth": (the_truth, None, set()),
    "a study twice": (twice, None, {"doubled"}),
    "an instance in place of another": (another, None, {"unindexed", "doubled"}),
    "no instance to retrieve": (the_truth, 404, {"mismatch"}),
}


@pytest.mark.skipif(not IS_FULL, reason=ALL)
@pytest.mark.parametrize("what", LIES)
def test_a_read_api_that_answers_otherwise_is_found(target: Target, what: str) -> None:
    lie, status, sets = LIES[what]

    with lying(target.saboteur.stack.api_url, lie, status) as url:
        found = target.saboteur.findings(fetched=2, api_url=url)

    assert set(found) == sets, found


@pytest.mark.skipif(not IS_FULL, reason=ALL)
def test_poison_is_accounted_for_by_its_dead_letters_alone(target: Target) -> None:
    with target.partition("transfer-ended") as partition:
        number = partition.number
    poisoned = Partition(partition.bootstrap, "transfer-ended", number)
    poisoned.append((b"local/1.2", POISON))
    target.heal()
    (letter, *_) = (
        one["place"].partition
        for one in target.saboteur.observer.topics.records["record-rejected"]
        if (one["origin_topic"], one["origin_partition"]) == ("transfer-ended", number)
    )

    with target.saboteur.with_partition("record-rejected", letter) as letters:
        letters.delete()
        found = target.saboteur.findings()

    assert set(found) == {"accounted", "unreadable"}, found


def test_an_archive_whose_sabotage_was_undone_is_clean(target: Target) -> None:
    assert target.saboteur.findings(fetched=50) == {}

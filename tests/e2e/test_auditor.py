"""The auditor finds every sabotage of real servers, in its sets of findings and no others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.audit.collect.object_store import store
from tests.audit.ledger import Line
from tests.audit.snapshot import key_of
from tests.support.data.generate import Volume, files, instances
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.files import sendable

BUCKET = "fluoro-hot"


@dataclass(frozen=True)
class Saboteur:
    """Changes one instance directly in the stores, without the archive."""

    proof: Proof
    line: Line

    @property
    def key(self) -> str:
        """Return the key of the instance's object."""
        return key_of(self.line)

    def sets(self) -> set[str]:
        """Audit at once, and return the names of the sets with findings."""
        return set(self.proof.wrong(wait_s=0))

    def object(self) -> tuple[bytes, dict[str, Any]]:
        """Return the object's bytes and envelope."""
        with store(address_of(self.proof.archive)) as client:
            answer = client.get_object(BUCKET, self.key)
            data, headers = answer.data, answer.headers
            answer.release_conn()
        return data, {name[11:]: text for name, text in headers.items() if name.lower().startswith("x-amz-meta-")}

    @contextmanager
    def with_bytes(self, changed: bytes | None) -> Iterator[None]:
        """Replace the object's bytes, or remove the object, for the block."""
        data, envelope = self.object()
        with store(address_of(self.proof.archive)) as client:
            client.remove_object(BUCKET, self.key)
            if changed is not None:
                client.put_object(BUCKET, self.key, BytesIO(changed), len(changed), metadata=envelope)
            try:
                yield
            finally:
                client.put_object(BUCKET, self.key, BytesIO(data), len(data), metadata=envelope)

    @contextmanager
    def with_statement(self, do: bytes, undo: bytes, value: str) -> Iterator[None]:
        """Execute an SQL statement before the block, and another one after it."""
        env = {
            name.split("_")[-1].lower(): text
            for name, text in address_of(self.proof.archive).env.items()
            if "CATALOG" in name
        }
        where = f"host={env['host']} port={env['port']} dbname={env['database']} user={env['user']}"
        with psycopg.connect(where, password=env["password"], autocommit=True) as connection:
            connection.execute(do, [value])
            try:
                yield
            finally:
                connection.execute(undo, [value])


@pytest.fixture(scope="module")
def saboteur(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> Saboteur:
    paths = files(Volume(slices=5, size=64, seed=30), tmp_path_factory.mktemp("saboteur"))
    assert proof.send(paths).complete
    assert proof.wrong() == {}
    return Saboteur(proof, sendable(paths[2], proof.peer.tenant).line)


def test_a_deleted_object_is_lost(saboteur: Saboteur) -> None:
    with saboteur.with_bytes(None):
        sets = saboteur.sets()

    assert sets == {"lost", "mismatch", "unbacked"}


def test_a_flipped_byte_is_a_mismatch(saboteur: Saboteur) -> None:
    data, _ = saboteur.object()

    with saboteur.with_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]):
        sets = saboteur.sets()

    assert sets == {"lost", "mismatch"}


def test_a_truncated_object_is_a_mismatch(saboteur: Saboteur) -> None:
    data, _ = saboteur.object()

    with saboteur.with_bytes(data[:-100]):
        sets = saboteur.sets()

    assert sets == {"lost", "mismatch"}


def test_a_stale_count_is_drift(saboteur: Saboteur) -> None:
    more = b"UPDATE study SET instances = instances + 1 WHERE study_uid = %s"
    less = b"UPDATE study SET instances = instances - 1 WHERE study_uid = %s"

    with saboteur.with_statement(more, less, saboteur.line.study_uid):
        sets = saboteur.sets()

    assert sets == {"drift"}


def test_another_hash_in_a_row_is_a_mismatch(saboteur: Saboteur) -> None:
    turn = b"UPDATE instance SET data_hash = reverse(data_hash) WHERE object_key = %s"

    with saboteur.with_statement(turn, turn, saboteur.key):
        sets = saboteur.sets()

    assert sets == {"unindexed", "phantom", "mismatch", "closures", "accounted"}


def test_another_content_than_the_chosen_one_is_unchosen(saboteur: Saboteur, tmp_path: Path) -> None:
    proof, (first,) = saboteur.proof, instances(Volume(slices=1, size=64, seed=31))
    other = replace(first, pixels=first.pixels[::-1])
    for one in (first, other):
        assert proof.send([one.write(tmp_path / one.data_hash)]).complete
    said = {"action": "choose", "why": "the second is right", "instance": other.sop_uid, "content": other.data_hash}
    chosen = httpx.post(f"{proof.archive.api_url}/v1/studies/{other.study_uid}/commands", json=said, timeout=30)
    assert chosen.status_code == httpx.codes.CREATED, chosen.text
    assert proof.wrong() == {}
    turn = b"UPDATE instance SET data_hash = reverse(data_hash) WHERE sop_uid = %s"

    with saboteur.with_statement(turn, turn, other.sop_uid):
        sets = saboteur.sets()

    assert sets == {"unindexed", "phantom", "mismatch", "closures", "unchosen", "accounted"}


def test_a_due_with_another_revision_than_the_one_that_it_made_is_unrecorded(saboteur: Saboteur) -> None:
    more = b"UPDATE due SET revision = revision + 1 WHERE study_uid = %s"
    less = b"UPDATE due SET revision = revision - 1 WHERE study_uid = %s"

    with saboteur.with_statement(more, less, saboteur.line.study_uid):
        sets = saboteur.sets()

    assert sets == {"unrecorded"}


def test_an_object_without_a_row_is_an_orphan(saboteur: Saboteur) -> None:
    key = "local/1.2/1.2.3/1.2.3.4_" + "ab" * 32 + ".dcm"
    with store(address_of(saboteur.proof.archive)) as client:
        client.put_object(BUCKET, key, BytesIO(b"x"), 1)
        try:
            sets = saboteur.sets()
        finally:
            client.remove_object(BUCKET, key)

    assert sets == {"orphan"}


def test_a_patients_name_in_a_log_is_a_leak(saboteur: Saboteur) -> None:
    log = saboteur.proof.archive.logs / "leak.log"
    log.write_text(f"event=oops name={saboteur.line.canary.lower()}")
    try:
        sets = saboteur.sets()
    finally:
        log.unlink()

    assert sets == {"phi"}


def test_an_archive_whose_sabotage_was_undone_is_clean(saboteur: Saboteur) -> None:
    assert saboteur.sets() == set()

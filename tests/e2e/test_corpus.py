"""Every real file of the corpus, sent to both doors of one archive, is answered as the table says and comes back."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.commands.__main__ import main as commands
from deploy.local.running import wait_until
from tests.audit.collect.catalog import catalog
from tests.audit.ledger import Line
from tests.support.data.outcomes import Outcome, corpus_files, table, unexpected
from tests.support.machine.running_stack import address_of
from tests.support.proof import BOUND_S, Proof
from tests.support.senders.raw import UNSENDABLE, raw, send_raw
from tests.support.senders.round_trip import corpus_sent, differences, retrieved
from tests.support.senders.stow import Door, stow

pytestmark = pytest.mark.filterwarnings("ignore")
# The door that receives the corpus first, while the archive is empty: a full run tests either.
FIRST = os.environ.get("FLUORO_TEST_FIRST_DOOR", "stow")


def by_dimse(proof: Proof, files: dict[str, Path]) -> dict[str, str]:
    raws = {name: raw(path, proof.peer.tenant, table().of(name).sop_uid) for name, path in files.items()}
    answers = send_raw([one for one in raws.values() if one], proof.peer, proof.ledger)
    return {name: answers[one.path] if one else UNSENDABLE for name, one in raws.items()}


def by_stow(proof: Proof, files: dict[str, Path]) -> dict[str, str]:
    answers = stow(files.values(), Door(proof.archive.api_url), proof.ledger)
    return {name: answers[path] for name, path in files.items()}


# A door, and the table's column of its answers.
DOORS: dict[str, tuple[Callable[[Proof, dict[str, Path]], dict[str, str]], Callable[[Outcome], str]]] = {
    "stow": (by_stow, lambda one: one.stow),
    "dimse": (by_dimse, lambda one: one.dimse),
}


@dataclass(frozen=True)
class OperatedArchive:
    """An archive read back: shown instances as a viewer retrieves them, the rest by an operator's commands."""

    client: httpx.Client
    folder: Path

    def shown(self, line: Line) -> bytes | None:
        return retrieved(self.client, line)

    def conflicting(self, line: Line) -> bytes | None:
        path = self.folder / f"{line.tenant}_{line.sop_uid}_{line.data_hash}.dcm"
        if not path.exists():
            commands(["conflicts", "show", line.sop_uid, "--json", "--save", str(self.folder / line.data_hash)])
            path = self.folder / line.data_hash / path.name
        return path.read_bytes() if path.exists() else None

    def quarantined(self, line: Line) -> bytes | None:
        path = self.folder / f"{line.data_hash}.quarantined"
        if not path.exists():
            commands(["quarantine", "show", line.data_hash, "--json", "--save", str(path)])
        return path.read_bytes() if path.exists() else None


@pytest.mark.fault("F24", "every odd file of the corpus, by {door}")
@pytest.mark.parametrize("door", sorted(DOORS, key=lambda door: door != FIRST))
def test_every_real_file_is_answered_as_the_table_says_and_comes_back(
    door: str, proof: Proof, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUORO_DATA", str(proof.archive.folder.root))
    files = corpus_files(corpus)
    send, expected = DOORS[door]

    answers = send(proof, files)

    assert unexpected(answers, expected) == {}
    wait_until(lambda: is_cataloged(proof, files, answers), BOUND_S, "not every file has its row")
    with httpx.Client(base_url=proof.archive.api_url, timeout=60) as client:
        every = corpus_sent(files, answers, is_whole=door == FIRST == "stow")
        assert differences(every, OperatedArchive(client, tmp_path)) == {}


def test_the_auditor_finds_nothing_wrong_after_the_corpus(proof: Proof) -> None:
    assert proof.wrong() == {}


def is_cataloged(proof: Proof, files: dict[str, Path], answers: dict[str, str]) -> bool:
    found = catalog(address_of(proof.archive), ["local"])
    hashes = {row.data_hash for row in found["rows"]} | {digest for _, digest in found["conflicts"]}
    hashes |= {row.data_hash for row in found["quarantine_rows"]}
    return {one.line.data_hash for one in corpus_sent(files, answers, is_whole=False)} <= hashes

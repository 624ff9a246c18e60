"""A journal leads to its ledger's state at any moment, also while it is rewritten."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.intake.outbox import journaled, transfers
from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.journaled import JournaledLedger
from gateway.intake.outbox.ledger import AnyIntent, Ledger
from gateway.intake.transfer import RecordedTransfer
from schemas.objects import Identity
from tests.support.worlds.intake import NOON, envelope_of

FullDisk = Callable[[], AbstractContextManager[None]]

STUDIES = ("1.2.3", "1.2.4")


class Doors:
    """What doors do to a ledger, by chance: transfers begin, instances and commands come, are published or not, transfers end."""

    def __init__(self, ledger: JournaledLedger, chance: Random) -> None:
        self.ledger = ledger
        self.chance = chance
        self.begun: list[str] = []
        self.intents: list[AnyIntent] = []
        self.count = 0

    def act(self) -> None:
        acts = [self.begin, self.intend, self.intend, self.command, self.close, self.close, self.end, self.publish_end]
        self.chance.choice(acts)()

    def begin(self) -> None:
        self.count += 1
        self.ledger.begin(f"t-{self.count}", "local", NOON)
        self.begun.append(f"t-{self.count}")

    def intend(self) -> None:
        if self.begun:
            transfer_id = self.chance.choice(self.begun)
            self.count += 1
            identity = Identity(
                "local", self.chance.choice(STUDIES), "1.2.9", f"1.2.3.{self.count}", f"{self.count:064x}"
            )
            self.intents.append(self.ledger.intend(transfer_id, identity, identity.key, envelope_of(transfer_id)))

    def command(self) -> None:
        self.intents.append(self.ledger.intend_document("command", f"local/1.2.3/_commands/{len(self.intents)}.json"))

    def close(self) -> None:
        if self.intents:
            intent = self.intents.pop(self.chance.randrange(len(self.intents)))
            self.ledger.close_intent(intent, is_published=self.chance.random() < 0.8)

    def end(self) -> None:
        if self.begun:
            self.ledger.end(self.begun.pop(self.chance.randrange(len(self.begun))), "well", NOON)

    def publish_end(self) -> None:
        ends = [(one, study) for one in self.ledger.open.transfers for study in self.ledger.open.unpublished(one)]
        if ends:
            self.ledger.end_published(*self.chance.choice(ends))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(0, 3), st.sampled_from((0, 2, 16)))
def test_a_journal_that_is_rewritten_while_it_is_used_leads_to_the_ledgers_state(
    seed: int, before: int, in_a_turn: int, most_small: int
) -> None:
    async def lived(folder: Path) -> None:
        doors = Doors(JournaledLedger(Journal.create(folder)), Random(seed))
        for _ in range(before):
            doors.act()
        rewriting = asyncio.ensure_future(doors.ledger.rewrite())
        while not rewriting.done():
            await asyncio.sleep(0)
            for _ in range(in_a_turn):
                doors.act()
            expect_same_state(doors)
        doors.act()
        expect_same_state(doors)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journaled, "LINES_A_TURN", 1)
        patch.setattr(transfers, "MOST_SMALL", most_small)
        asyncio.run(lived(Path(folder)))


def expect_same_state(doors: Doors) -> None:
    live = doors.ledger.open
    with doors.ledger.journal.path.open("rb") as file:
        copy = JournaledLedger(Journal(doors.ledger.journal.path, file.fileno())).open
        for place, line in doors.ledger.journal.lines():
            copy.apply(orjson.loads(line), place)
        assert transfers_of(copy) == transfers_of(live)
        assert intents_of(copy) == intents_of(live)


def transfers_of(ledger: Ledger) -> dict[str, RecordedTransfer]:
    return {transfer_id: ledger.transfers[transfer_id] for transfer_id in ledger.transfers}


def intents_of(ledger: Ledger) -> dict[int, AnyIntent]:
    return {number: ledger.intent(number) for number in ledger.intents}


def test_a_disk_that_is_full_leaves_the_journal_as_it_is(tmp_path: Path, full_disk: FullDisk) -> None:
    doors = Doors(JournaledLedger(Journal.create(tmp_path)), Random(1))
    for act in (doors.begin, *[doors.intend] * 20):
        act()
    content = doors.ledger.journal.path.read_bytes()
    with full_disk():
        asyncio.run(doors.ledger.rewrite())

    assert doors.ledger.journal.path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [doors.ledger.journal.path]


def test_a_journal_in_which_nothing_is_open_is_cleared_also_when_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for least in (0, 2**20):
        monkeypatch.setattr(journaled, "REWRITE_BYTES", least)
        ledger = JournaledLedger(Journal.create(tmp_path))
        ledger.begin("t-1", "local", NOON)
        asyncio.run(ledger.clear())
        assert ledger.journal.size_bytes
        ledger.end("t-1", "well", NOON)

        asyncio.run(ledger.clear())

        assert ledger.journal.path.stat().st_size == ledger.journal.size_bytes == 0

"""Living processes take over what dead ones left, and one journal that cannot be read keeps no other from it."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.intake.outbox.adoption import adopt
from gateway.intake.outbox.journal import Journal
from operators.connectors.memory.stores import MemoryObjectStore, Outage
from schemas.events import TransferEnded
from schemas.telemetry import GATEWAY_OUTBOX_TROUBLE
from schemas.topics import TRANSFER_ENDED
from tests.support.worlds.intake import IntakeWorld, killed_during

NOON = datetime(2031, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


async def until_empty(world: IntakeWorld) -> None:
    async with asyncio.timeout(10):
        while world.journals:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


def test_a_living_process_takes_over_the_outbox_of_a_dead_one(world: IntakeWorld) -> None:
    async def beside(kill: Callable[[], object]) -> None:
        task = asyncio.create_task(adopt(world.folder, world.outbox_ports()))
        await asyncio.sleep(0)
        await asyncio.to_thread(kill)
        await until_empty(world)
        task.cancel()

    asyncio.run(beside(lambda: killed_during(world, world.events, Outage.REFUSES)))

    assert world.ended == [("1.2.3", "lost", 1)]


def test_no_outbox_is_taken_over_before_the_stores_time_is_known(world: IntakeWorld) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    silent = MemoryObjectStore(Outage.REFUSES, clock=NOON.timestamp)
    rounds = []

    async def sleep(seconds: float) -> None:
        rounds.append(len(world.journals))
        if len(rounds) == 3:
            silent.outage = Outage.NONE
        await asyncio.sleep(seconds / 1000)

    async def adopting() -> None:
        task = asyncio.create_task(adopt(world.folder, replace(world.outbox_ports(), time=silent, sleep=sleep)))
        await until_empty(world)
        task.cancel()

    asyncio.run(adopting())

    (end,) = (event for event in world.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded))
    assert rounds[:3] == [1, 1, 1]
    assert abs(end.occurred_at - NOON) < timedelta(seconds=1)


def test_outboxes_are_taken_over_after_their_folder_was_unreadable_for_a_while(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    refusals = iter([OSError(errno.EMFILE, "too many")] * 3)
    real = Journal.paths

    def sometimes(folder: Path) -> list[Path]:
        for refusal in refusals:
            raise refusal
        return real(folder)

    monkeypatch.setattr(Journal, "paths", sometimes)

    async def adopting() -> None:
        task = asyncio.create_task(adopt(world.folder, world.outbox_ports()))
        await until_empty(world)
        task.cancel()

    asyncio.run(adopting())

    assert world.ended == [("1.2.3", "lost", 1)]


def test_the_good_lines_of_a_journal_are_used_and_the_others_are_kept(world: IntakeWorld) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    (journal,) = world.journals
    begun, intended, *_ = journal.read_bytes().splitlines(keepends=True)
    bad = [b'{"kind":"inte\n', b'{"kind":"unheard-of"}\n', b"\0" * 30 + b"\n", b"[1]\n", b"5\n", b'{"kind":{}}\n']
    journal.write_bytes(b"".join([bad[0], begun, *bad[1:4], intended, *bad[4:]]))
    counted = GATEWAY_OUTBOX_TROUBLE.labels("line")._value.get()

    with capture_logs() as logs:
        assert world.heal() == 1

    assert world.ended == [("1.2.3", "lost", 1)]
    (aside,) = world.folder.iterdir()
    assert aside.name == f"kept-{journal.stem}.aside"
    assert aside.read_bytes() == b"".join(bad)
    said = [entry for entry in logs if entry["event"] == "outbox_lines_unreadable"]
    assert [(entry["lines"], entry["kept_in"]) for entry in said] == [(6, aside.name)]
    assert GATEWAY_OUTBOX_TROUBLE.labels("line")._value.get() == counted + 6


def test_an_intent_whose_transfers_first_line_is_lost_gets_its_event(world: IntakeWorld) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    (journal,) = world.journals
    _, *others = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([b'{"kind":"beg\0\0\0\n', *others]))

    world.heal()

    assert world.ended == [("1.2.3", "lost", 1)]


@pytest.mark.parametrize("line", [b"[1]", b"5", b'{"kind":"begun","transfer":"t","tenant":"l","began_at":null}'])
def test_a_journal_without_a_good_line_is_kept_under_another_name(world: IntakeWorld, line: bytes) -> None:
    (world.folder / "strange.jsonl").write_bytes(line + b"\n")

    assert world.heal() == 1

    assert [path.name for path in world.folder.iterdir()] == ["kept-strange.aside"]


def test_a_journal_that_the_disk_does_not_give_keeps_no_other_from_being_finished(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    content = b'{"kind":"begun","transfer":"t","tenant":"l","began_at":"2026-11-01T12:00:00+00:00"}\n'
    (world.folder / "0.jsonl").write_bytes(content)
    real = Journal.take_over

    def take_over(path: Path) -> Journal | None:
        if path.name == "0.jsonl":
            raise OSError(errno.EIO, "bad disk")
        return real(path)

    monkeypatch.setattr(Journal, "take_over", take_over)

    with capture_logs() as logs:
        asyncio.run(adopted_for(world, 30))

    assert world.ended == [("1.2.3", "lost", 1)]
    assert [entry["file"] for entry in logs if entry["event"] == "outbox_unreadable"] == ["0.jsonl"]
    assert (world.folder / "0.jsonl").read_bytes() == content


def test_an_outbox_that_makes_the_program_fail_is_left_alone_and_keeps_its_journal(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    content = world.journals[0].read_bytes()
    begun: list[Journal] = []

    def lines(journal: Journal) -> Iterator[tuple[int, bytes]]:
        begun.append(journal)
        raise ZeroDivisionError

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Journal, "lines", lines)
        asyncio.run(adopted_for(world, 150))

    assert len(begun) == 3
    said = [entry["error"] for entry in logs if entry["event"] == "outbox_unreadable"]
    assert said == ["ZeroDivisionError"]
    assert world.journals[0].read_bytes() == content
    world.heal()
    assert world.ended == [("1.2.3", "lost", 1)]


async def adopted_for(world: IntakeWorld, seconds: float) -> None:
    """Take over outboxes for so many virtual seconds."""
    task = asyncio.create_task(adopt(world.folder, world.outbox_ports()))
    async with asyncio.timeout(10):
        while world.time.now_s < seconds and not task.done():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def test_an_unfinished_file_that_cannot_be_removed_keeps_no_journal_from_being_finished(world: IntakeWorld) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    odd = world.folder / "0.new"
    odd.mkdir()
    os.utime(odd, (0, 0))

    assert world.heal() == 1

    assert world.ended == [("1.2.3", "lost", 1)]


def test_a_folder_that_stays_unreadable_is_said_once(world: IntakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: Path) -> list[Path]:
        raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(Journal, "paths", unreadable)
    with capture_logs() as logs:
        asyncio.run(adopted_for(world, 30))

    assert [entry["event"] for entry in logs] == ["outbox_folder_unreadable"]


def test_a_finished_journal_that_cannot_be_removed_keeps_no_other_from_being_finished(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    (world.folder / "0.jsonl").touch()
    real = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "0.jsonl":
            raise OSError(errno.EPERM, "not yours")
        real(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Path, "unlink", unlink)
        asyncio.run(adopted_for(world, 150))

    assert world.ended == [("1.2.3", "lost", 1)]
    assert [entry["file"] for entry in logs if entry["event"] == "outbox_unreadable"] == ["0.jsonl"]
    assert world.heal() == 1
    assert world.journals == []

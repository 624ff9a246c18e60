"""Operators' decisions on what was refused, against the real doors in memory."""

import asyncio
import socketserver
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from deploy.commands import quarantine, shared
from deploy.commands.quarantine import Answer, Outside
from deploy.errors import Failed
from operators.catalog.rows import QuarantineRow
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.dicom.instance import split_part10
from operators.errors import Rejected, Unavailable
from operators.store.ports import Position
from schemas.events import Event, InstanceQuarantined, InstanceStored
from schemas.objects import Bucket
from schemas.topics import Topic
from tests.support.worlds.catalog_histories import NOON, numbered, quarantined, run
from tests.support.worlds.reading import CT, part10
from tests.support.worlds.stow import StowWorld, multipart, stow_world

EXPLICIT = "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
GOOD = part10()
NO_UID = part10(SOPInstanceUID="1.2.3.1.8").replace(b"1.2.3.1.8\0", b"1.2/3.1.8\0")
NOT_PART10 = GOOD[132:]

Decide = Callable[[Outside, QuarantineRow, datetime], Awaitable[str]]


@dataclass
class World:
    """An archive in memory, its doors, its catalog, and an operator before it."""

    door: StowWorld
    folder: Path
    aside: MemoryHiddenRows = field(default_factory=MemoryHiddenRows)

    async def by_dimse(self, sop_class: str, sop_uid: str, file: bytes) -> None:
        """Send a file's data set under a command that names these."""
        acceptance = self.door.intake.acceptance
        arrival = acceptance.receive(sop_class, sop_uid, EXPLICIT)
        arrival.body.write(memoryview(file)[split_part10(file).prefix_length :])
        with pytest.raises(Rejected):
            await acceptance.accept(self.door.intake.new_transfer("local", "CT1"), arrival)

    def row(self) -> QuarantineRow:
        """Catalog all that was told of so far; give the one row."""
        catalog = MemoryCatalog(tables=self.aside.tables)
        run(catalog, [numbered(self.door.published(InstanceQuarantined))])
        (row,) = self.aside.quarantined(None, 9)
        return row

    async def release(self) -> str:
        return await quarantine.released(self.outside(), self.row(), NOON)

    def outside(self, **others: Any) -> Outside:
        loop = asyncio.get_running_loop()

        def send(prefix: bytes, data_set: memoryview) -> Answer:
            body = multipart(prefix + bytes(data_set))
            response = asyncio.run_coroutine_threadsafe(self.door.post(body), loop).result(10)
            return Answer(response.status, response.body)

        return replace(Outside(self.door.store, self.door.events, send, "local", self.folder), **others)


def inside(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with stow_world(folder) as door:
            await test(World(door, folder))

    asyncio.run(opened())


def test_what_was_sent_under_another_name_is_released_under_its_own(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.by_dimse(MR, "1.2.3.1.1", GOOD)
        assert world.row().reason == "sop-class-mismatch"
        said = await world.release()

        (stored,) = world.door.published(InstanceStored)
        row = world.row()
        assert (stored.sop_uid, stored.sop_class, stored.data_hash) == ("1.2.3.1.1", CT, row.data_hash)
        assert (row.state, said) == ("released", f"Released: {row.data_hash} is stored.")
        assert world.door.stored(Bucket.QUARANTINE) == []

    inside(tmp_path, test)


@pytest.mark.parametrize("sent", [NO_UID, NOT_PART10], ids=["no-uid", "not-part-10"])
def test_what_no_door_would_take_stays_and_the_reason_is_said(tmp_path: Path, sent: bytes) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(sent))
        before = world.row()
        with pytest.raises(Failed, match=before.reason):
            await world.release()

        assert world.row() == before
        assert world.door.stored(Bucket.QUARANTINE) == [sent]
        assert world.door.published(InstanceStored) == []

    inside(tmp_path, test)


def test_a_door_that_refuses_changes_nothing(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.by_dimse(MR, "1.2.3.1.1", GOOD)
        failure = b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[49153]}}]}}'
        for answer, said in (
            (Answer(409, failure), r"409: C001 \(larger"),
            (Answer(503, b'{"reason":"memory"}'), "503: memory"),
            (Answer(502, b"<html>"), "502: no reason given"),
        ):
            with pytest.raises(Failed, match=said):
                await quarantine.released(world.outside(send=lambda *_, answer=answer: answer), world.row(), NOON)

        assert world.row().state == "held"
        assert len(world.door.stored(Bucket.QUARANTINE)) == 1

    inside(tmp_path, test)


def test_a_tenant_s_content_is_not_released_into_another(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.by_dimse(MR, "1.2.3.1.1", GOOD)
        with pytest.raises(Failed, match="stores for tenant other"):
            await quarantine.released(world.outside(tenant="other"), world.row(), NOON)

    inside(tmp_path, test)


def test_what_is_discarded_is_gone_and_stays_so_whatever_the_clock_says(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        row = world.row()
        await quarantine.discarded(world.outside(), row, row.occurred_at - timedelta(hours=2))

        assert world.row().state == "discarded"
        assert world.door.stored(Bucket.QUARANTINE) == []
        for decide in (quarantine.discarded, quarantine.released):
            with pytest.raises(Failed, match="was discarded already"):
                await decide(world.outside(), world.row(), NOON)

    inside(tmp_path, test)


def test_what_is_gone_from_the_store_can_be_discarded_but_not_released(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        world.door.store.objects.clear()
        with pytest.raises(Failed, match="not there any more"):
            await world.release()
        await quarantine.discarded(world.outside(), world.row(), NOON)

        assert world.row().state == "discarded"

    inside(tmp_path, test)


def test_nothing_is_discarded_while_the_broker_does_not_answer(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        row = world.row()
        world.door.events.outage = Outage.REFUSES
        with pytest.raises(Unavailable):
            await quarantine.discarded(world.outside(), row, NOON)
        assert world.door.stored(Bucket.QUARANTINE) == [NO_UID]
        world.door.events.outage = Outage.NONE
        await quarantine.discarded(world.outside(), row, NOON)

        assert world.row().state == "discarded"

    inside(tmp_path, test)


@dataclass
class Deaf(MemoryEventLog):
    """A broker that goes after it was asked whether it is there."""

    async def publish(self, topic: Topic, event: Event) -> Position:  # noqa: ARG002 - it hears nothing
        raise Unavailable("broker")


@pytest.mark.parametrize(
    ("decide", "said", "left"),
    [
        (quarantine.released, "is stored, and stays in quarantine.*release it again", 1),
        (quarantine.discarded, "is gone, but the broker.*discard it again", 0),
    ],
    ids=["release", "discard"],
)
def test_a_broker_that_goes_half_way_is_said_and_the_decision_can_be_made_again(
    tmp_path: Path, decide: Decide, said: str, left: int
) -> None:
    async def test(world: World) -> None:
        await world.by_dimse(MR, "1.2.3.1.1", GOOD)
        row = world.row()
        with pytest.raises(Failed, match=said):
            await decide(world.outside(events=Deaf()), row, NOON)
        assert len(world.door.stored(Bucket.QUARANTINE)) == left
        await decide(world.outside(), world.row(), NOON)

        assert world.row().state == decide.__name__
        assert world.door.stored(Bucket.QUARANTINE) == []

    inside(tmp_path, test)


def test_a_store_that_goes_after_a_release_leaves_it_to_be_released_again(tmp_path: Path) -> None:
    @dataclass
    class Keeping(MemoryObjectStore):
        async def delete(self, bucket: Bucket, key: str) -> None:  # noqa: ARG002 - it removes nothing
            raise Unavailable("store")

    async def test(world: World) -> None:
        await world.by_dimse(MR, "1.2.3.1.1", GOOD)
        keeping = Keeping(objects=world.door.store.objects)
        with pytest.raises(Failed, match=r"still lies in quarantine.*release it again"):
            await quarantine.released(world.outside(store=keeping), world.row(), NOON)
        assert world.row().state == "released"
        await world.release()

        assert world.door.stored(Bucket.QUARANTINE) == []

    inside(tmp_path, test)


def test_a_decision_is_on_what_lies_there_now_not_on_a_row_that_lags(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        lagging = world.row()
        await quarantine.discarded(world.outside(), lagging, NOON)
        await world.door.post(multipart(NO_UID))
        again = world.row()
        await quarantine.discarded(world.outside(), lagging, NOON)

        row = world.row()
        assert again.state == "held"
        assert (row.state, row.stored_at) == ("discarded", again.stored_at)
        assert again.stored_at > lagging.stored_at

    inside(tmp_path, test)


@pytest.mark.parametrize("sent", [NO_UID, NOT_PART10], ids=["no-uid", "not-part-10"])
def test_the_bytes_are_had_as_they_came_in_a_file_of_one_s_own(tmp_path: Path, sent: bytes) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(sent))
        row, path = world.row(), tmp_path / "kept"
        with shared.new_file(path) as file:
            await shared.copy(world.door.store, Bucket.QUARANTINE, row.object_key, row.data_hash, file)

        assert path.read_bytes() == sent
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(Failed, match="there already"), shared.new_file(path):
            pass

    inside(tmp_path, test)


def test_damaged_bytes_leave_no_file(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        row = world.row()
        with pytest.raises(Failed, match="not what was stored"), shared.new_file(tmp_path / "kept") as file:
            await shared.copy(world.door.store, Bucket.QUARANTINE, row.object_key, "0" * 64, file)

        assert not (tmp_path / "kept").exists()

    inside(tmp_path, test)


def kept(*events: InstanceQuarantined) -> MemoryHiddenRows:
    catalog = MemoryCatalog()
    run(catalog, [numbered(events)])
    return MemoryHiddenRows(tables=catalog.tables)


def test_a_hash_may_be_cut_as_long_as_it_names_one() -> None:
    aside = kept(quarantined("p"), quarantined("q"))
    (row, other) = aside.quarantined(None, 9)

    assert quarantine.the_one(aside, row.data_hash[:6], None) == row
    assert quarantine.the_one(aside, other.data_hash, "local") == other


@pytest.mark.parametrize(
    ("asked", "said"),
    [("00", "is no hash"), ("../../x", "is no hash"), ("0123abcd", "nothing is or was"), ("AB" * 32, "is no hash")],
)
def test_what_names_nothing_is_said(asked: str, said: str) -> None:
    with pytest.raises(Failed, match=said):
        quarantine.the_one(kept(quarantined("p")), asked, None)


def test_a_list_moves_no_cursor_and_names_no_patient() -> None:
    (row,) = kept(quarantined("p")).quarantined(None, 1)
    text = shared.table(quarantine.HEADINGS, [quarantine.line(row), ("\x1b[2J", "ä", "", "r", 1, "s", NOON, NOON)])

    assert text.splitlines()[0].split() == list(quarantine.HEADINGS)
    assert "\x1b" not in text
    assert "2026-03-01 12:00:00Z" in text


@contextmanager
def web(status: int, body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Have a server that answers every POST so, and keeps what came."""
    came: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/dicomweb/studies", came
        finally:
            server.shutdown()
            thread.join()


def test_a_file_is_sent_as_one_part() -> None:
    data_set = bytes(3_000_000)
    with web(200, b"{}") as (address, came):
        answer = quarantine.stow(address, b"prefix", memoryview(data_set))

    assert answer == Answer(200, b"{}")
    head, _, rest = came[0].partition(b"\r\n\r\n")
    boundary = head.splitlines()[0]
    assert rest == b"prefix" + data_set + b"\r\n" + boundary + b"--\r\n"


def test_a_door_that_is_not_there_is_said() -> None:
    with pytest.raises(Failed, match="does not answer"):
        quarantine.stow("http://127.0.0.1:1/dicomweb/studies", b"", memoryview(b"x"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Failed("no stack runs on /x"), "no stack runs on /x"),
        (Unavailable("store-503"), "the object store does not answer"),
        (Unavailable("catalog"), "the catalog's database does not answer"),
        (Rejected("no-envelope"), "nothing of ours: no-envelope"),
    ],
)
def test_a_problem_is_a_line_and_a_status(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error

    assert shared.run(command) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["release"], ["show"], ["list", "--most", "-1"], ["list", "--tenant", "A B"]]
)
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        quarantine.main(arguments)

    assert caught.value.code == 2
    assert "usage: python -m deploy.commands.quarantine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (["list", "--most", "0"], "'0' should be a whole number from 1 to 1000000"),
        (["list", "--most", "many"], "'many' should be a whole number from 1 to 1000000"),
        (["list", "--tenant", "A"], "'A' should be 1 to 32 of a-z, 0-9 and -"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_right(
    arguments: list[str], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        quarantine.main(arguments)

    assert right in capsys.readouterr().err


def test_without_a_stack_each_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_DATA", str(tmp_path))
    for arguments in (["list"], ["show", "abcd"], ["release", "abcd"], ["discard", "abcd", "--yes"]):
        assert quarantine.main(arguments) == 1

    assert capsys.readouterr().err.count("no stack runs on") == 4

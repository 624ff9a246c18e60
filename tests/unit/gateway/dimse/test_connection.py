"""A connection keeps its place until its socket is closed, and no end of it and no silence lasts for ever."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.dimse.connection import DimseConnection
from gateway.dimse.door import OpenConnection
from gateway.dimse.pace import Pace
from gateway.dimse.requests import Requests
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.dimse.pdu import BUFFER_BYTES
from operators.tasks import report_unhandled
from schemas.events import TransferEnded
from schemas.topics import TRANSFER_ENDED
from tests.support.senders.scu import pdv
from tests.support.worlds.dimse import (
    ABORT,
    ACCEPT,
    LAST,
    P_DATA,
    REJECT,
    RELEASE_RP,
    VERIFICATION,
    Streams,
    associate_request,
    associated,
    connected,
    echo_message,
    is_answered,
    memory_door,
    next_kind,
    next_pdu,
    only_connection,
    release_request,
    settings,
    store_command,
    store_message,
    until,
)
from tests.support.worlds.gateway import door_of

A_ABORT = b"\x07\0\0\0\0\4\0\0\0\0"


def test_a_sender_that_pauses_between_requests_keeps_its_association_beyond_the_stall(tmp_path: Path) -> None:
    async def answers() -> list[int]:
        patient, events = settings(tmp_path).changed(stall_s=0.1, idle_s=0.4), MemoryEventLog()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, patient, Connectors(MemoryObjectStore(), events)):
                reader, writer = await associated(listening)
                writer.write(store_message(1))
                stored, began_at = (await next_pdu(reader))[0], asyncio.get_running_loop().time()
                ended = (await next_pdu(reader))[0]
                writer.transport.abort()
                assert asyncio.get_running_loop().time() - began_at > 0.3
                async with asyncio.timeout(5):
                    while not events.events(TRANSFER_ENDED):  # noqa: ASYNC110 - the memory twin has no event to wait for
                        await asyncio.sleep(0.001)
                return [stored, ended]

    assert asyncio.run(answers()) == [P_DATA, ABORT]


STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.mark.parametrize(
    ("sent", "stall_s", "answers"),
    [
        (release_request(), 20.0, [ACCEPT, RELEASE_RP]),
        (store_message(1), 20.0, [ACCEPT, ABORT]),
        (b"", 0.1, [ACCEPT, ABORT]),
    ],
    ids=["released", "used all the same", "left open"],
)
def test_an_association_without_an_accepted_context_is_accepted_and_may_only_be_released(
    tmp_path: Path, sent: bytes, stall_s: float, answers: list[int]
) -> None:
    async def kinds() -> list[int]:
        async with memory_door(settings(tmp_path).changed(stall_s=stall_s)) as (listening, _):
            peer = await connected(listening, associate_request(STUDY_FIND) + sent)
            found = [await next_kind(peer) for _ in answers]
            peer[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == answers


def test_a_message_that_stops_between_its_pdus_ends_the_association(tmp_path: Path) -> None:
    async def ended() -> int:
        hasty = settings(tmp_path).changed(stall_s=0.1)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, hasty, Connectors(MemoryObjectStore(), MemoryEventLog())):
                reader, writer = await associated(listening)
                writer.write(store_command(1))
                kind = (await next_pdu(reader))[0]
                writer.transport.abort()
                return kind

    assert asyncio.run(ended()) == ABORT


def has_large_buffer(connection: OpenConnection) -> bool:
    assert isinstance(connection, DimseConnection)
    return len(connection._reader._buffer) > 2**16


ONLY_ELSEWHERE = """
[[peer]]
name = "ct1"
calling_ae = "CT1"
networks = ["10.0.0.0/8"]
tenant = "local"
services = ["store"]
"""


@pytest.mark.parametrize(
    "more", [b"", release_request(), release_request() * 3, store_message(1), associate_request()], ids=len
)
def test_a_rejected_connection_counts_until_its_socket_is_closed_whatever_it_sends(tmp_path: Path, more: bytes) -> None:
    (tmp_path / "peers.toml").write_text(ONLY_ELSEWHERE)
    closed = settings(tmp_path).changed(peers_file=str(tmp_path / "peers.toml"), associations_per_address=4)

    async def held() -> tuple[list[int], int, int]:
        async with memory_door(closed) as (listening, door):
            peers = [await connected(listening, associate_request() + more) for _ in range(8)]
            kinds = [await next_kind(peer) for peer in peers]
            await until(lambda: len(door.connections) == 4)
            counted, large = door.admission.unassociated, sum(map(has_large_buffer, door.connections))
            for _, writer in peers:
                writer.transport.abort()
            await until(lambda: not door.connections)
            assert door.admission.unassociated == 0
            return kinds, counted, large

    assert asyncio.run(held()) == ([REJECT] * 4 + [0] * 4, 4, 0)


def test_a_released_connection_counts_until_its_socket_is_closed_and_is_dropped_for_a_new_one(tmp_path: Path) -> None:
    async def held() -> tuple[list[int], int, int]:
        async with memory_door(settings(tmp_path).changed(associations=3)) as (listening, door):
            peers = [await connected(listening, associate_request() + release_request()) for _ in range(3)]
            assert [await next_kind(peer) for peer in peers * 2] == [ACCEPT] * 3 + [RELEASE_RP] * 3
            counted = door.associated
            peers += [await connected(listening, associate_request()) for _ in range(3)]
            kinds = [await next_kind(peer) for peer in peers]
            await until(lambda: len(door.connections) == 3)
            associated = door.associated
            for _, writer in peers:
                writer.transport.abort()
            return kinds, counted, associated

    assert asyncio.run(held()) == ([0] * 3 + [ACCEPT] * 3, 3, 3)


def test_connections_that_have_ended_leave_no_buffers_to_the_collection_of_garbage(tmp_path: Path) -> None:
    async def left_bytes() -> int:
        async with memory_door(settings(tmp_path)) as (listening, door):
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(30):
                peer = await connected(listening, associate_request() + release_request())
                assert [await next_kind(peer) for _ in range(2)] == [ACCEPT, RELEASE_RP]
                peer[1].transport.abort()
                await until(lambda: not door.connections)
            return tracemalloc.get_traced_memory()[0] - before

    gc.disable()
    tracemalloc.start()
    try:
        left = asyncio.run(left_bytes())
    finally:
        tracemalloc.stop()
        gc.enable()

    assert left < 4 * BUFFER_BYTES


def test_a_released_connection_is_closed_even_if_it_keeps_sending(tmp_path: Path) -> None:
    async def ends() -> None:
        async with memory_door(settings(tmp_path).changed(silence_s=0.2)) as (listening, door):
            peer = await connected(listening, associate_request() + release_request())
            assert [await next_kind(peer) for _ in range(2)] == [ACCEPT, RELEASE_RP]

            def is_gone() -> bool:
                peer[1].write(b"\x04")
                return not door.connections

            await until(is_gone)
            peer[1].transport.abort()

    asyncio.run(ends())


def test_peers_that_only_echo_shut_no_storing_peer_out(tmp_path: Path) -> None:
    async def hears() -> list[int]:
        async with memory_door(settings(tmp_path).changed(associations=2, yield_s=0.2)) as (listening, door):
            echoing = [await connected(listening, associate_request(VERIFICATION)) for _ in range(2)]
            assert [await next_kind(peer) for peer in echoing] == [ACCEPT] * 2

            async def ask(peer: Streams) -> None:
                number = 1
                while await is_answered(peer, echo_message(number) * 50, 50):
                    number += 1

            asking = [asyncio.create_task(ask(peer)) for peer in echoing]
            storing = await connected(listening, associate_request(), "127.0.0.2")
            async with asyncio.timeout(5):
                while (kind := await next_kind(storing)) == REJECT:
                    storing[1].transport.abort()
                    await asyncio.sleep(0.02)
                    storing = await connected(listening, associate_request(), "127.0.0.2")
            storing[1].write(store_message(1))
            found = [kind, await next_kind(storing)]
            for _, writer in [*echoing, storing]:
                writer.transport.abort()
            await asyncio.gather(*asking)
            await until(lambda: not door.connections)
            return found

    assert asyncio.run(hears()) == [ACCEPT, P_DATA]


def test_an_association_between_rare_echoes_is_idle_not_stalled(tmp_path: Path) -> None:
    async def kinds() -> list[int]:
        patient = settings(tmp_path).changed(stall_s=0.1, idle_s=30.0)
        async with memory_door(patient) as (listening, _):
            peer = await connected(listening, associate_request(VERIFICATION))
            peer[1].write(echo_message(1))
            found = [await next_kind(peer) for _ in range(2)]
            await asyncio.sleep(0.3)
            assert await is_answered(peer, echo_message(2), 1)
            peer[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == [ACCEPT, P_DATA]


def abort(writer: asyncio.StreamWriter) -> None:
    writer.write(A_ABORT)


def half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


@pytest.mark.parametrize(("end", "silence_s"), [(abort, 30.0), (half_close, 0.2)])
def test_an_ended_connection_is_closed_in_time_even_if_its_peer_reads_no_answer(
    tmp_path: Path, end: Callable[[asyncio.StreamWriter], None], silence_s: float
) -> None:
    async def ends() -> None:
        async with memory_door(settings(tmp_path).changed(silence_s=silence_s, unanswered_requests=10_000)) as (
            listening,
            door,
        ):
            peer = await connected(listening, associate_request(VERIFICATION))
            assert await next_kind(peer) == ACCEPT
            connection = only_connection(door)
            # More answers than the sockets hold: some stay in the transport's buffer.
            connection._transport.set_write_buffer_limits(high=2**24)
            connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            peer[1].transport.pause_reading()  # type: ignore[attr-defined]
            peer[1].write(echo_message(1) * 5_000)
            await until(lambda: connection._pace._completed_pdus == 5_001 and connection.task is None)
            assert connection._transport.get_write_buffer_size()
            end(peer[1])
            await until(lambda: not door.connections)
            assert door.admission.associated == 0
            peer[1].transport.abort()

    asyncio.run(ends())


def test_a_check_of_the_limits_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, left = Pace.measure, [RuntimeError()]

    def fail_once(pace: Pace) -> None:
        if left:
            raise left.pop()
        measure(pace)

    async def kinds() -> list[int]:
        asyncio.get_running_loop().set_exception_handler(report_unhandled)
        async with memory_door(settings(tmp_path).changed(idle_s=0.2)) as (listening, _):
            monkeypatch.setattr(Pace, "measure", fail_once)
            peer = await connected(listening, associate_request())
            found = [await next_kind(peer) for _ in range(2)]
            peer[1].transport.abort()
            return found

    with capture_logs() as logs:
        assert asyncio.run(kinds()) == [ACCEPT, ABORT]
    assert [entry["task"] for entry in logs if entry["event"] == "task_failed"] == ["callback"]


def test_a_place_is_given_back_even_if_freeing_a_request_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Requests) -> None:
        raise RuntimeError

    async def associations() -> int:
        asyncio.get_running_loop().set_exception_handler(report_unhandled)
        async with memory_door(settings(tmp_path)) as (listening, door):
            monkeypatch.setattr(Requests, "close", fail)
            _, writer = await associated(listening)
            writer.transport.abort()
            await until(lambda: not door.connections)
            return door.associated

    with capture_logs() as logs:
        assert asyncio.run(associations()) == 0
    assert [entry["task"] for entry in logs if entry["event"] == "task_failed"] == ["callback"]


UNREADABLE = store_command(2) + pdv(b"no data set", LAST)


@pytest.mark.parametrize(
    ("sent", "outage", "logged", "published"),
    [
        ((), Outage.NONE, ("well", 0, 0), []),
        ((store_message(1),), Outage.NONE, ("well", 1, 0), ["well"]),
        ((UNREADABLE,), Outage.NONE, ("refused", 0, 1), ["well"]),
        ((UNREADABLE, store_message(1)), Outage.NONE, ("well", 1, 1), ["well"]),
        ((UNREADABLE,), Outage.REFUSES, ("partial", 0, 0), []),
        ((store_message(1),), Outage.REFUSES, ("partial", 0, 0), ["partial"]),
    ],
    ids=["nothing sent", "stored", "refused", "refused and stored", "refused for now", "not stored for now"],
)
def test_an_association_is_logged_by_what_became_of_its_instances(
    tmp_path: Path, sent: tuple[bytes, ...], outage: Outage, logged: tuple[str, int, int], published: list[str]
) -> None:
    store, events = MemoryObjectStore(), MemoryEventLog()

    async def send() -> None:
        now = settings(tmp_path).changed(late_put_s=0)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, now, Connectors(store, events)) as door:
                peer = await connected(listening, associate_request())
                assert await next_kind(peer) == ACCEPT
                store.outage = outage
                assert all([await is_answered(peer, message, 1) for message in sent])
                peer[1].write(release_request())
                assert await next_kind(peer) == RELEASE_RP
                peer[1].transport.abort()
                store.outage = Outage.NONE
                await until(lambda: door.intake.outbox.is_empty and not door.connections)

    with capture_logs() as logs:
        asyncio.run(send())

    (ended,) = (line for line in logs if line["event"] == "association_ended")
    assert (ended["outcome"], ended["instances"], ended["refused"]) == logged
    found = [event for event in events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)]
    assert [event.outcome for event in found] == published

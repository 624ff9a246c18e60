"""Requests are answered once each and in order; a peer that sends too many without waiting for answers is aborted."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog
from operators.store.ports import PlainUpload
from schemas.objects import Bucket
from schemas.telemetry import GATEWAY_ABORTED
from tests.support.worlds.dimse import (
    ABORT,
    ACCEPT,
    P_DATA,
    RELEASE_RP,
    VERIFICATION,
    GatedStore,
    associate_request,
    associated,
    cancel_message,
    connected,
    echo_message,
    memory_door,
    next_kind,
    next_pdu,
    only_connection,
    release_request,
    settings,
    store_message,
    until,
)
from tests.support.worlds.gateway import door_of
from tests.support.worlds.intake import CT


@pytest.mark.parametrize(
    ("second", "answer"),
    [(store_message(2), P_DATA), (b"\x05\0\0\0\0\4\0\0\0\0", RELEASE_RP)],
    ids=["store", "release"],
)
def test_a_request_that_arrives_just_as_the_task_ends_is_answered(tmp_path: Path, second: bytes, answer: int) -> None:
    async def answers() -> list[int]:
        gated = GatedStore()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings(tmp_path), Connectors(gated, MemoryEventLog())):
                reader, writer = await associated(listening)
                writer.write(store_message(1))
                await gated.reached.wait()
                gated.gate.set()
                # The bytes are readable in the same turn of the loop in which the task wakes and ends.
                writer.get_extra_info("socket")._sock.send(second)
                kinds = [(await next_pdu(reader))[0] for _ in range(2)]
                writer.transport.abort()
                return kinds

    assert asyncio.run(answers()) == [P_DATA, answer]


def test_a_request_after_the_release_request_is_a_violation(tmp_path: Path) -> None:
    async def kinds() -> list[int]:
        async with memory_door(settings(tmp_path)) as (listening, _):
            peer = await connected(
                listening, associate_request() + store_message(1) + release_request() + store_message(2)
            )
            found = [await next_kind(peer) for _ in range(2)]
            peer[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == [ACCEPT, ABORT]


def test_a_cancel_has_no_answer(tmp_path: Path) -> None:
    async def answers() -> list[int]:
        async with memory_door(settings(tmp_path)) as (listening, _):
            peer = await connected(
                listening, associate_request(VERIFICATION) + cancel_message() + echo_message(1) + release_request()
            )
            found = [await next_kind(peer) for _ in range(3)]
            peer[1].transport.abort()
            return found

    assert asyncio.run(answers()) == [ACCEPT, P_DATA, RELEASE_RP]


@pytest.mark.parametrize("what", ["echo", "store", "cancel"])
def test_a_peer_that_keeps_sending_requests_without_reading_the_answers_is_aborted(tmp_path: Path, what: str) -> None:
    sop_class, asks = {
        "echo": (VERIFICATION, b"".join(map(echo_message, range(1, 11)))),
        "store": (CT, b"".join(map(store_message, range(1, 11)))),
        "cancel": (VERIFICATION, cancel_message() * 10),
    }[what]

    async def left() -> int:
        async with memory_door(settings(tmp_path).changed(unanswered_requests=8)) as (listening, door):
            peer = await connected(listening, associate_request(sop_class))
            assert await next_kind(peer) == ACCEPT
            peer[1].write(asks)
            while await next_kind(peer) == P_DATA:
                pass
            peer[1].transport.abort()
            await until(lambda: not door.connections)
            return door.intake.room.held_bytes

    counted = GATEWAY_ABORTED.labels("too-many-unanswered")
    before = counted._value.get()

    assert asyncio.run(left()) == 0
    assert counted._value.get() == before + 1


def test_a_peer_may_send_a_few_requests_without_waiting_for_answers(tmp_path: Path) -> None:
    async def kinds() -> list[int]:
        async with memory_door(settings(tmp_path).changed(unanswered_requests=8)) as (listening, _):
            peer = await connected(listening, associate_request(VERIFICATION))
            peer[1].write(b"".join(map(echo_message, range(1, 9))) + release_request())
            found = [await next_kind(peer) for _ in range(10)]
            peer[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == [ACCEPT] + [P_DATA] * 8 + [RELEASE_RP]


def test_no_request_is_answered_once_the_door_closes_except_the_running_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(GatedStore):
        puts = 0

        async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
            self.puts += 1
            return await super().put(bucket, upload)

    async def puts() -> int:
        for module in ("process", "intake.lifespan"):
            monkeypatch.setattr(f"gateway.{module}.STOP_S", 0.05)
        gated = Counting()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings(tmp_path), Connectors(gated, MemoryEventLog())) as door:
                peer = await associated(listening)
                peer[1].write(store_message(1) + store_message(2) + store_message(3))
                await gated.reached.wait()
                connection = only_connection(door)
                await until(lambda: connection._exchange and connection._exchange.requests._waiting)
            peer[1].transport.abort()
        return gated.puts

    assert asyncio.run(puts()) == 1

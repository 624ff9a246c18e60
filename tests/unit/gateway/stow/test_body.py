"""The body of a store request is read at the client's pace, unless it pauses too long, grows too large or is broken off."""

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import pytest
from starlette.types import Message

from gateway.stow.body import ClientGone, RequestBody
from operators.errors import Rejected
from operators.http.problem import Problem
from schemas.settings.web import StowSettings

# 1000 bytes in every 10 s of waiting.
SETTINGS = StowSettings(silence_s=10.0, slowest_bytes_per_s=100.0, yield_s=5.0, request_bytes=10_000)
END: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}

Arrival = tuple[float, Message]
T = TypeVar("T")


class Skipping(selectors.SelectSelector):
    """A selector that lets virtual time pass instead of waiting."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "a test waits for what never happens"
        self.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all tasks wait, and then at once."""

    def __init__(self) -> None:
        self._skipping = Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now_s


def run(test: Callable[[], Awaitable[T]]) -> T:
    async def awaited() -> T:
        return await test()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(awaited())


def now_s() -> float:
    return asyncio.get_running_loop().time()


def sent(size_bytes: int, *, is_last: bool = False) -> Message:
    return {"type": "http.request", "body": bytes(size_bytes), "more_body": not is_last}


def body_of(arrivals: Iterable[Arrival], settings: StowSettings = SETTINGS, length: int | None = None) -> RequestBody:
    """Return the body of a client that sends each message after a pause in seconds, and then nothing for ever."""
    coming = iter(arrivals)

    async def receive() -> Message:
        pause_s, message = next(coming, (math.inf, END))
        if pause_s == math.inf:
            await asyncio.Event().wait()
        if pause_s:
            await asyncio.sleep(pause_s)
        return message

    return RequestBody(receive, settings, length)


async def chunks_of(body: RequestBody) -> list[int]:
    """Return the sizes of all chunks of a body."""
    sizes = []
    while chunk := await body.chunk():
        sizes.append(len(chunk))
    return sizes


def answer_to(reading: Callable[[], Awaitable[object]]) -> tuple[int, str]:
    """Return the status and the reason of the problem that a body is answered with."""
    with pytest.raises(Problem) as caught:
        run(reading)
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize(
    ("messages", "sizes"),
    [
        ([END], []),
        ([sent(3), sent(1), END], [3, 1]),
        ([sent(3), sent(1, is_last=True)], [3, 1]),
        ([sent(0), sent(3), sent(0), sent(0), END], [3]),
        ([{"type": "http.request"}], []),
        ([{"type": "http.request", "more_body": True}, sent(1, is_last=True)], [1]),
    ],
    ids=["empty", "an empty end", "a last chunk", "empty messages", "no keys", "no body"],
)
def test_chunks_are_those_of_the_client_without_empty_ones(messages: list[Message], sizes: list[int]) -> None:
    assert run(lambda: chunks_of(body_of((0, message) for message in messages))) == sizes


def test_a_body_that_has_ended_is_not_received_any_further() -> None:
    body = body_of([(0, sent(1, is_last=True))])

    assert run(lambda: chunks_of(body)) == [1]
    assert run(body.chunk) == b""


@pytest.mark.parametrize("before", [[], [(1.0, sent(100))]], ids=["at once", "after a chunk"])
def test_a_client_that_disconnects_is_gone(before: list[Arrival]) -> None:
    with pytest.raises(ClientGone):
        run(lambda: chunks_of(body_of([*before, (0, GONE)])))


@pytest.mark.parametrize("length", [None, 5])
def test_a_body_of_its_content_length_is_whole(length: int | None) -> None:
    assert run(lambda: chunks_of(body_of([(0, sent(3)), (0, sent(2)), (0, END)], length=length))) == [3, 2]


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_body_of_another_length_is_rejected_at_its_end(length: int) -> None:
    body = body_of([(0, sent(3)), (0, sent(2)), (0, END)], length=length)

    assert [len(run(body.chunk)) for _ in range(2)] == [3, 2]
    with pytest.raises(Rejected, match="content-length"):
        run(body.chunk)


def test_a_body_may_have_as_many_bytes_as_a_request_may_have_and_no_more() -> None:
    exact = [(0.0, sent(9_999)), (0.0, sent(1))]

    assert run(lambda: chunks_of(body_of([*exact, (0, END)]))) == [9_999, 1]
    assert answer_to(lambda: chunks_of(body_of([*exact, (0, sent(1, is_last=True))]))) == (413, "request-bytes")


END_NOW = (0.0, END)
IN_TIME: dict[str, list[Arrival]] = {
    "one byte just in time": [(9.9, sent(1)), END_NOW],
    "two pauses and enough bytes between": [(6, sent(1000)), (6, sent(1)), END_NOW],
    "enough bytes just in time": [(6, sent(999)), (3.9, sent(1)), (9.9, sent(1)), END_NOW],
    "a steady pace": [*[(4.9, sent(600))] * 10, END_NOW],
}
TOO_SLOW: dict[str, list[Arrival]] = {
    "nothing": [],
    "one byte too late": [(10.1, sent(1)), END_NOW],
    "two pauses and too little between": [(6, sent(999)), (6, sent(1)), END_NOW],
    "silence after enough bytes": [(0, sent(1000))],
    "empty messages": [(6, sent(0)), (6, sent(0)), END_NOW],
    "single bytes however often": [(0.1, sent(1))] * 1000,
}


@pytest.mark.parametrize("arrivals", IN_TIME.values(), ids=IN_TIME)
def test_a_body_may_pause_as_long_as_enough_arrives_in_each_silence_s_of_waiting(arrivals: list[Arrival]) -> None:
    sizes = [len(message["body"]) for _, message in arrivals[:-1]]

    assert run(lambda: chunks_of(body_of(arrivals))) == sizes


@pytest.mark.parametrize("arrivals", TOO_SLOW.values(), ids=TOO_SLOW)
def test_a_body_of_which_too_little_arrives_for_too_long_is_answered_408(arrivals: list[Arrival]) -> None:
    async def reading() -> None:
        try:
            await chunks_of(body_of(arrivals))
        finally:
            assert now_s() == pytest.approx(10.0)

    assert answer_to(reading) == (408, "too-slow")


def test_without_a_slowest_pace_any_byte_ends_a_pause() -> None:
    arrivals: list[Arrival] = [*[(9.0, sent(1))] * 100, END_NOW]

    assert run(lambda: chunks_of(body_of(arrivals, replace(SETTINGS, slowest_bytes_per_s=0.0)))) == [1] * 100


def test_the_time_in_which_nobody_waits_for_the_body_does_not_count() -> None:
    async def test() -> list[int]:
        body = body_of([(6, sent(1)), (3, sent(1)), END_NOW])
        sizes = []
        while chunk := await body.chunk():
            sizes.append(len(chunk))
            await asyncio.sleep(3600)
        return sizes

    assert run(test) == [1, 1]


def closing() -> Problem:
    return Problem(503, "closing", "try again")


def test_a_body_that_is_waited_for_can_be_broken_off_at_once() -> None:
    async def reading() -> None:
        body = body_of([(9.0, sent(1))])
        asyncio.get_running_loop().call_later(2.0, body.break_off, closing)
        try:
            await body.chunk()
        finally:
            assert now_s() == pytest.approx(2.0)

    assert answer_to(reading) == (503, "closing")


@pytest.mark.parametrize("pause_s", [0.0, 1.0], ids=["bytes are there", "bytes would come"])
def test_a_body_that_was_broken_off_gives_no_more_bytes(pause_s: float) -> None:
    async def reading() -> None:
        body = body_of([(0, sent(1)), *[(pause_s, sent(5000))] * 2])
        await body.chunk()
        body.break_off(closing)
        with pytest.raises(Problem):
            await body.chunk()
        await body.chunk()

    assert answer_to(reading) == (503, "closing")


def test_a_body_that_has_arrived_whole_is_not_broken_off() -> None:
    body = body_of([(0, sent(1, is_last=True))])
    run(body.chunk)
    body.break_off(closing)

    assert run(body.chunk) == b""


@pytest.mark.parametrize(
    ("arrivals", "bytes_per_s"),
    [
        ([], math.inf),
        ([(0, sent(1000))], math.inf),
        ([(2.0, sent(100)), (2.9, sent(100))], math.inf),
        ([(2.5, sent(500)), (2.5, sent(1))], 100.0),
        ([(0, sent(500)), (2.5, sent(500)), (3.5, sent(1))], 1000 / 6),
        ([(2.5, sent(500)), (2.5, sent(1)), (4.9, sent(1))], 100.0),
        ([(2.5, sent(500)), (2.5, sent(1)), (2.5, sent(2)), (2.5, sent(1))], 3 / 5),
    ],
    ids=["new", "no wait", "a short wait", "a window", "a longer window", "the next is not over", "the next"],
)
def test_the_pace_is_that_of_the_last_yield_s_of_waiting(arrivals: list[Arrival], bytes_per_s: float) -> None:
    async def test() -> float:
        body = body_of(arrivals, replace(SETTINGS, silence_s=60.0))
        for _ in arrivals:
            await body.chunk()
        return body.bytes_per_s

    assert run(test) == pytest.approx(bytes_per_s)


def test_a_body_that_was_broken_off_is_never_the_slowest_again() -> None:
    async def test() -> float:
        body = body_of([(2.5, sent(1)), (2.5, sent(1)), (2.5, sent(1))])
        await body.chunk()
        await body.chunk()
        assert body.bytes_per_s < 1
        body.break_off(closing)
        with pytest.raises(Problem):
            await body.chunk()
        return body.bytes_per_s

    assert run(test) == math.inf

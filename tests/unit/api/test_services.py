"""Requests share one parser and a few slots for inflated instances, and give back what they hold."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from starlette.requests import Request

from api.services import InflatedSlots, Services, hold_inflated, hold_until_sent, reader_of, services_of
from operators.catalog.ports import Location
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.memory.stores import MemoryObjectStore
from operators.connectors.sandbox.pool import Sandbox
from operators.http.problem import Problem
from schemas.settings.web import ApiSettings, RenderSettings
from schemas.telemetry import API_LIMITED
from tests.support.worlds.reading import scope_of


@contextmanager
def shared(settings: ApiSettings) -> Iterator[Services]:
    """Make the services of an application with these settings, and end their thread and processes after the block."""
    render = RenderSettings()
    services = Services(MemoryQueries(), MemoryObjectStore(), settings, render, Sandbox(render))
    try:
        yield services
    finally:
        services.parser.shutdown()
        services.renderer.close()


@pytest.fixture
def services() -> Iterator[Services]:
    with shared(ApiSettings(inflated_at_once=1)) as made:
        yield made


def stored(transfer_syntax: str) -> Location:
    """Return the location of an instance that is stored in a transfer syntax."""
    return Location("1", "1.1", "1.1.1", "1.2", transfer_syntax, "key", "hot", 1, "", 0, 0, "")


def test_a_slot_is_refused_at_once_while_all_are_taken_and_may_be_taken_again_later() -> None:
    slots, limited = InflatedSlots(2), API_LIMITED.labels("inflated")
    before = limited._value.get()
    with slots.taken():
        with slots.taken(), pytest.raises(Problem) as refused, slots.taken():
            pass
        with slots.taken():
            pass

    assert (refused.value.status, refused.value.reason) == (503, "inflated-busy")
    assert int(refused.value.headers["Retry-After"]) > 0
    assert limited._value.get() == before + 1


def test_a_slot_is_given_back_when_its_answer_breaks_off() -> None:
    slots = InflatedSlots(1)
    with pytest.raises(ConnectionResetError), slots.taken():
        raise ConnectionResetError

    with slots.taken():
        pass


def test_as_many_headers_are_read_at_a_time_as_the_settings_say() -> None:
    async def taken(services: Services) -> int:
        count = 0
        while not services.header_slots.locked():
            await services.header_slots.acquire()
            count += 1
        return count

    with shared(ApiSettings(headers_at_once=3)) as services:
        assert asyncio.run(taken(services)) == 3


def test_the_parser_is_one_thread_beside_that_of_the_requests(services: Services) -> None:
    async def parsed() -> list[int]:
        return await asyncio.gather(*(services.run_in_parser(threading.get_ident) for _ in range(4)))

    (ident,) = set(asyncio.run(parsed()))

    assert ident != threading.get_ident()


def test_the_parser_returns_the_result_and_raises_the_errors_of_a_function(services: Services) -> None:
    assert asyncio.run(services.run_in_parser(int, "12", 16)) == 0x12
    with pytest.raises(ValueError, match="no number"):
        asyncio.run(services.run_in_parser(int, "no number"))


def test_a_request_finds_the_services_and_the_reader_that_it_was_given(services: Services) -> None:
    reader = object()
    request = Request(scope_of("/") | {"services": services, "reader": reader})

    assert services_of(request) is services
    assert reader_of(request) is reader


def test_what_a_request_holds_is_left_when_its_answer_was_sent_the_latest_first(services: Services) -> None:
    left: list[str] = []

    @contextmanager
    def holding(name: str) -> Iterator[None]:
        yield
        left.append(name)

    with ExitStack() as held:
        request = Request(scope_of("/") | {"services": services, "held": held})
        hold_until_sent(request, holding("first"))
        hold_until_sent(request, holding("second"))
        assert left == []

    assert left == ["second", "first"]


def test_only_a_deflated_instance_holds_a_slot_and_only_until_its_answer_was_sent(services: Services) -> None:
    for _ in range(2):
        with ExitStack() as held:
            request = Request(scope_of("/") | {"services": services, "held": held})
            hold_inflated(request, stored(DeflatedExplicitVRLittleEndian))
            for _ in range(3):
                hold_inflated(request, stored(ExplicitVRLittleEndian))
            with pytest.raises(Problem, match="inflated-busy"):
                hold_inflated(request, stored(DeflatedExplicitVRLittleEndian))

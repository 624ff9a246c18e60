"""A data set is examined as by a plain call, and holds the event loop for a moment only, deflated ones too."""

import asyncio
import threading
import time
import zlib
from pathlib import Path

import pytest

from gateway.intake.examiner import Examiner
from operators.connectors.memory.stores import Outage
from operators.dicom.instance import examine
from operators.dicom.scan import ScanLimits
from operators.errors import Rejected
from tests.support.data.elements import CODE, ITEM_END, OPEN, SEQUENCE_END, element, item
from tests.support.worlds.intake import EXPLICIT, IntakeWorld, data_set, killed_during

DEFLATED = "1.2.840.10008.1.2.1.99"
SMALL = data_set(1, "1.2.3")
ITEMS = element(0x0040A730, "SQ", (item(length=OPEN) + CODE + ITEM_END) * 10_000 + SEQUENCE_END, OPEN)
LARGE = SMALL.partition(b"\xe0\x7f\x10\0")[0] + ITEMS
MOST_TURN_S = 0.05


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    return deflate.compress(data) + deflate.flush() + bytes(len(data) // 90)


CASES = {
    "small": (SMALL, EXPLICIT),
    "large": (LARGE, EXPLICIT),
    "deflated": (deflated(SMALL), DEFLATED),
    "deflated and large": (deflated(LARGE), DEFLATED),
}


@pytest.mark.parametrize("case", CASES)
def test_a_data_set_is_examined_as_by_a_plain_call(case: str) -> None:
    data, transfer_syntax = CASES[case]

    assert asyncio.run(Examiner().examine(data, transfer_syntax, 300)) == examine(data, transfer_syntax, 300)


def test_its_limits_hold_before_and_after_inflating() -> None:
    with pytest.raises(Rejected, match="too-many-items"):
        asyncio.run(Examiner(ScanLimits(items=9_999)).examine(*CASES["deflated and large"], 300))
    with pytest.raises(Rejected, match="too-inflated"):
        asyncio.run(Examiner(ScanLimits(inflate_ratio=1)).examine(*CASES["deflated and large"], 300))


def test_what_a_dead_process_left_deflated_is_inflated_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, threads = IntakeWorld(tmp_path), list[str]()
    monkeypatch.setattr("tests.support.worlds.intake.EXPLICIT", DEFLATED)
    monkeypatch.setattr("tests.support.worlds.intake.data_set", lambda *given: deflated(data_set(*given)))
    killed_during(world, world.events, Outage.REFUSES)
    real = zlib.decompressobj

    def noted(wbits: int) -> object:
        threads.append(threading.current_thread().name)
        return real(wbits)

    monkeypatch.setattr("operators.dicom.scan.zlib.decompressobj", noted)
    world.heal()

    assert len(world.stored) == 1
    assert threads
    assert all(name.startswith("inflate") for name in threads)


async def longest_turn_s(data: bytes, transfer_syntax: str) -> float:
    """Return the CPU seconds of the event loop's longest turn during an examination."""
    longest_s, is_over = 0.0, False

    async def turn() -> None:
        nonlocal longest_s
        while not is_over:
            began_s = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - began_s)

    async with asyncio.TaskGroup() as group:
        group.create_task(turn())
        await Examiner().examine(data, transfer_syntax, 300)
        is_over = True
    return longest_s


@pytest.mark.parametrize("case", CASES)
def test_no_examination_holds_the_event_loop(case: str) -> None:
    assert any(asyncio.run(longest_turn_s(*CASES[case])) < MOST_TURN_S for _ in range(3))

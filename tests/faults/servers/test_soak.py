"""While a server is slow or gone, modalities go on: memory is bounded, the rest answers, and all drains without a human.

    FLUORO_TEST_FAULTS=full FLUORO_TEST_SOAK_S=600 .venv/bin/python -m pytest -s tests/faults/servers/test_soak.py

keeps each so for ten minutes.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import psutil
import pytest

from deploy.install.preflight import GIB
from deploy.local.running import RunningStack, wait_until
from tests.support.faults.matrix import Healing
from tests.support.faults.memory import anonymous_bytes
from tests.support.faults.proxy import REFUSES, WORKS, Fault
from tests.support.faults.reading import Reading
from tests.support.faults.senders import echo
from tests.support.faults.servers.database import session
from tests.support.faults.servers.faulty_archive import MEMORY_BYTES, FaultyArchive
from tests.support.faults.servers.offering import Offering

SOAK_S = float(os.environ.get("FLUORO_TEST_SOAK_S", "20"))
RATE = 116.0
EVERY_S = 2.0
ECHOED_S = 2.0
# What is offered during the fault is stored, and shown, in as long a time again.
DRAINED_S = 60.0 + SOAK_S
# What a gateway's process holds besides instances: a receive buffer for each association, what the outbox has left to do,
# the contents that it knows, and what the allocator keeps.
BESIDES_BYTES = 64 * 2**20
MOST_BYTES = 4 * GIB
SHOWN = "SELECT count(*) FROM instance WHERE study_uid = ANY(%s)"


@dataclass(frozen=True)
class Case:
    """A server that is not what it should be, and the row of the matrix."""

    row: str
    server: str
    said: str
    fault: Fault = REFUSES


CASES = (
    Case("F5", "minio", "the store is gone"),
    # Less than the gateway waits: what is sent is stored, and holds memory until then.
    Case("F6", "minio", "the store answers 4 s late", Fault(delay_s=4.0)),
    Case("F10", "kafka", "the broker is gone"),
    Case("F14", "postgres", "the database is gone"),
)


def shown(stack: RunningStack, studies: list[str]) -> int:
    with session(stack, "writer") as catalog:
        ((count,),) = catalog.execute(SHOWN, [studies]).fetchall()
    return int(count)


def memory(archive: RunningStack) -> dict[str, int]:
    """Return the resident memory of each server, and for each process of the gateway what it has allocated."""
    gateway = psutil.Process(archive.state().servers["gateway"].process.pid)
    own = {f"gateway {number}": anonymous_bytes(one.pid) for number, one in enumerate(gateway.children())}
    return archive.rss_bytes() | own


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            marks=pytest.mark.fault(
                case.row, f"{case.said} for {SOAK_S:.0f} s, {RATE:.0f} instances/s are offered", full=True
            ),
            id=case.said.replace(" ", "-"),
        )
        for case in CASES
    ],
)
def test_modalities_go_on_while_a_server_is_slow_or_gone(case: Case, faulty: FaultyArchive, healing: Healing) -> None:
    archive, proxy = faulty.proof.archive, faulty.proxies[case.server]
    before, held, echoed_s = memory(archive), list[dict[str, int]](), list[float]()
    seed = 10_000 * (7 + CASES.index(case))

    with (
        Reading(archive) as reading,
        Offering(faulty.proof.peer, faulty.proof.ledger, RATE, seed) as offering,
    ):
        wait_until(lambda: offering.acked > RATE, DRAINED_S, "nothing is stored")
        proxy.fault = case.fault
        until = time.monotonic() + SOAK_S
        while time.monotonic() < until:
            echoed_s.append(echo(faulty.proof.peer))
            held.append(memory(archive))
            time.sleep(EVERY_S)
        stored = offering.acked
        proxy.fault = WORKS
        with healing.timed():
            offering.end()
            wait_until(lambda: offering.is_over, DRAINED_S, "not all was stored")
            wait_until(lambda: shown(archive, offering.studies) == len(offering.offered), DRAINED_S, "not all is shown")

    say(f"{case.said}: {len(offering.offered)} offered, {stored} stored meanwhile, {offering.refused} refusals")
    say(f"queries answered: {dict(reading.statuses)}; all stored and shown {healing.seconds:.0f} s later")
    say(f"MiB before, and after each quarter: {quarters([before, *held])}")
    most = {name: max(one[name] for one in held) for name in before}
    assert sum(count for name, count in most.items() if name in archive.rss_bytes()) < MOST_BYTES
    for name in before:
        assert not name.startswith("gateway ") or most[name] < before[name] + MEMORY_BYTES + BESIDES_BYTES
    assert max(echoed_s) < ECHOED_S
    away = {httpx.codes.SERVICE_UNAVAILABLE} if case.server == "postgres" else set[int]()
    assert set(reading.statuses) <= {httpx.codes.OK, httpx.codes.NO_CONTENT} | away
    # Nobody who sends needs the database.
    assert case.server != "postgres" or offering.refused == 0
    assert healing.audited(faulty.proof.wrong()) == {}


def quarters(held: Sequence[Mapping[str, int]]) -> dict[str, list[int]]:
    """Return the MiB of each server at five moments of a run, from its beginning to its end."""
    moments = [held[(len(held) - 1) * quarter // 4] for quarter in range(5)]
    return {name: [one[name] >> 20 for one in moments] for name in held[0]}


def say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")

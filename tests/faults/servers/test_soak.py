"""While a server is gone, modalities go on: memory is bounded, the rest answers, and all drains without a human.

    FLUORO_TEST_FAULTS=full FLUORO_TEST_SOAK_S=600 .venv/bin/python -m pytest -s tests/faults/servers/test_soak.py

keeps each away for ten minutes.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence

import httpx
import pytest

from deploy.install.preflight import GIB
from deploy.local.running import RunningStack, wait_until
from tests.support.faults.matrix import Healing
from tests.support.faults.proxy import REFUSES, WORKS
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
# What a gateway's process holds more than before besides instances.
BESIDES_BYTES = 64 * 2**20
MOST_BYTES = 4 * GIB
NAMES = {"minio": "store", "kafka": "broker", "postgres": "database"}
ROWS = {"minio": "F5", "kafka": "F10", "postgres": "F14"}
SHOWN = "SELECT count(*) FROM instance WHERE study_uid = ANY(%s)"


def shown(stack: RunningStack, studies: list[str]) -> int:
    with session(stack, "writer") as catalog:
        ((count,),) = catalog.execute(SHOWN, [studies]).fetchall()
    return int(count)


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(
            server,
            marks=pytest.mark.fault(
                row, f"the {NAMES[server]} is gone for {SOAK_S:.0f} s, {RATE:.0f} instances/s are offered", full=True
            ),
        )
        for server, row in ROWS.items()
    ],
)
def test_modalities_go_on_while_a_server_is_gone(server: str, faulty: FaultyArchive, healing: Healing) -> None:
    archive, proxy = faulty.proof.archive, faulty.proxies[server]
    before, held, echoed_s = archive.rss_bytes(), list[dict[str, int]](), list[float]()
    seed = 10_000 * (7 + list(ROWS).index(server))

    with (
        Reading(archive) as reading,
        Offering(faulty.proof.peer, faulty.proof.ledger, RATE, seed) as offering,
    ):
        wait_until(lambda: offering.acked > RATE, DRAINED_S, "nothing is stored")
        proxy.fault = REFUSES
        until = time.monotonic() + SOAK_S
        while time.monotonic() < until:
            echoed_s.append(echo(faulty.proof.peer))
            held.append(archive.rss_bytes())
            time.sleep(EVERY_S)
        stored = offering.acked
        proxy.fault = WORKS
        with healing.timed():
            offering.end()
            wait_until(lambda: offering.is_over, DRAINED_S, "not all was stored")
            wait_until(lambda: shown(archive, offering.studies) == len(offering.offered), DRAINED_S, "not all is shown")

    say(
        f"{NAMES[server]} gone: {len(offering.offered)} offered, {stored} stored meanwhile, {offering.refused} refusals"
    )
    say(f"MiB before, and after each quarter: {quarters([before, *held])}")
    most = {name: max(one[name] for one in held) for name in before}
    assert sum(most.values()) < MOST_BYTES
    assert most["gateway"] < before["gateway"] + archive.plan.dimse.processes * (MEMORY_BYTES + BESIDES_BYTES)
    assert max(echoed_s) < ECHOED_S
    away = {httpx.codes.SERVICE_UNAVAILABLE} if server == "postgres" else set[int]()
    assert set(reading.statuses) <= {httpx.codes.OK, httpx.codes.NO_CONTENT} | away
    # Nobody who sends needs the database.
    assert server != "postgres" or offering.refused == 0
    assert healing.audited(faulty.proof.wrong()) == {}


def quarters(held: Sequence[Mapping[str, int]]) -> dict[str, list[int]]:
    """Return the MiB of each server at five moments of a run, from its beginning to its end."""
    moments = [held[(len(held) - 1) * quarter // 4] for quarter in range(5)]
    return {name: [one[name] >> 20 for one in moments] for name in held[0]}


def say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")

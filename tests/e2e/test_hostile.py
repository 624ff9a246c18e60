"""A modality that stores while 60 hostile sockets attack from its own address is served as before."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.hostile import Attacked, Plan, Sender, measure, record, report
from tests.support.data.generate import Volume, instances
from tests.support.machine.running_stack import processes_of
from tests.support.proof import Proof

PLAN = Plan(sockets=60, seconds=8.0, quiet_s=4.0, grace_s=30.0)
# The machine is shared with the attackers. Without guards an answer takes minutes, or never comes.
STORE_MS = 2_000.0
PROCESS_BYTES = 512 << 20


@pytest.fixture(scope="module")
def attacked(proof: Proof) -> Attacked:
    every = instances(Volume(studies=10, slices=100, size=64, seed=31))
    sender = Sender(replace(proof.peer, answer_s=10.0), every)
    found = measure(sender, proof.peer, lambda: processes_of(proof.archive, "gateway"), PLAN)
    record(found, proof.ledger)
    return found


def test_nothing_is_refused_to_a_sender_during_the_attack(attacked: Attacked) -> None:
    assert [experience.refused for experience in attacked.experience.values()] == [[], [], []], report(attacked)
    assert all(len(experience.stores) > 10 for experience in attacked.experience.values()), report(attacked)


def test_answers_come_in_time_during_the_attack(attacked: Attacked) -> None:
    assert attacked.p99_ms("during") < STORE_MS, report(attacked)


def test_no_process_of_the_gateway_exceeds_its_memory_limit(attacked: Attacked) -> None:
    assert attacked.rss_bytes < PROCESS_BYTES, report(attacked)


def test_every_hostile_socket_is_closed_30_s_later(attacked: Attacked) -> None:
    assert attacked.held == 0, report(attacked)


def test_everything_acknowledged_during_the_attack_is_stored(attacked: Attacked, proof: Proof) -> None:
    assert attacked.acked
    assert proof.wrong() == {}


@pytest.mark.usefixtures("attacked")
def test_no_log_contains_a_traceback(proof: Proof) -> None:
    said = [path.name for path in Path(proof.archive.logs).glob("gateway*") if "Traceback" in path.read_text()]

    assert said == []

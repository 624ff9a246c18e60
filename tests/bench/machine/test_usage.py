"""CPU and memory are those of a family of processes, and of no others."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.local.supervision.processes import Process, identify
from tests.bench.machine import usage
from tests.bench.machine.meter import metered
from tests.bench.machine.usage import Usage

# Works in a child of its own for a while, says so, and waits.
FAMILY = """
import subprocess, sys
work = "import time; end = time.process_time() + 0.3\\nwhile time.process_time() < end: pass"
sys.stdin.readline()
subprocess.run([sys.executable, "-S", "-c", work]); print(flush=True); sys.stdin.read()
"""


@pytest.fixture
def family() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


def work(family: "subprocess.Popen[str]") -> None:
    assert family.stdin
    assert family.stdout
    family.stdin.write("\n")
    family.stdin.flush()
    family.stdout.readline()


def test_the_cpu_of_a_family_includes_its_ended_children(family: "subprocess.Popen[str]") -> None:
    heads = {"family": identify(family.pid)}
    before = usage.read(heads)

    work(family)

    used = usage.read(heads).since(before)
    assert used.families["family"] >= 0.25
    assert used.machine >= used.families["family"]


def test_a_metered_piece_of_work_costs_what_its_family_used(family: "subprocess.Popen[str]") -> None:
    with metered(lambda: {"family": identify(family.pid)}) as cost:
        work(family)

    assert cost.used.families["family"] >= 0.25
    assert cost.seconds > 0


def test_memory_of_a_family_is_resident_memory(family: "subprocess.Popen[str]") -> None:
    assert 1 << 20 < usage.memory_bytes([identify(family.pid)]) < 1 << 30


def test_another_process_with_the_id_of_a_head_does_not_count(family: "subprocess.Popen[str]") -> None:
    assert usage.members(usage.table(), Process(family.pid, 0)) == set()


def test_others_are_what_neither_we_nor_the_archive_used() -> None:
    before = Usage({"web": 1.0}, 1.0, 10.0)

    used = Usage({"web": 3.0, "new": 1.0}, 2.0, 20.0).since(before)

    assert (used.total, used.ours, used.others) == (3.0, 1.0, 6.0)
    assert Usage({"web": 0.5}, 1.0, 10.0).since(before).total == 0

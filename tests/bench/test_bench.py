"""The benchmarks measure what they say, and refuse what they cannot measure."""

import os
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.latency import Clock, at, made, send, split
from tests.support.data.generate import Volume, instances
from tests.support.machine.arguments import amount, count
from tests.support.senders.scp import Archive, always
from tests.support.senders.scu import AssociationLost, associated, fragment_bytes, fragments

ROOT = Path(__file__).parents[2]
SMALL = Volume(studies=2, slices=5, size=32)


def test_the_benchmarks_sender_sends_every_generated_byte() -> None:
    archive = Archive(always(0))
    every = list(instances(SMALL))

    with archive.running() as peer, associated(peer, every[0].sop_class, every[0].transfer_syntax) as association:
        answers = [association.store(one) for one in every]

    assert answers == [0] * 10
    assert archive.kept == {one.sop_uid: one.data_hash for one in every}


def test_the_benchmarks_sender_returns_a_failure() -> None:
    one = next(instances(SMALL))

    with (
        Archive(always(0xA700)).running() as peer,
        associated(peer, one.sop_class, one.transfer_syntax) as association,
    ):
        assert association.store(one) == 0xA700


def test_the_benchmarks_sender_fails_on_a_refused_presentation_context() -> None:
    one = next(instances(SMALL))

    with Archive(always(0)).running("1.2.840.10008.1.1") as peer, pytest.raises(AssociationLost):
        associated(peer, one.sop_class, one.transfer_syntax).__enter__()


@given(data=st.binary(min_size=1, max_size=300), maximum=st.integers(8, 80))
def test_fragments_join_to_the_data_and_only_the_last_is_marked(data: bytes, maximum: int) -> None:
    size = fragment_bytes(maximum)

    pdus = list(fragments(data, size))

    assert b"".join(pdu[12:] for pdu in pdus) == data
    assert [pdu[11] for pdu in pdus] == [0] * (len(pdus) - 1) + [2]
    assert all(len(pdu) - 6 <= maximum for pdu in pdus)
    assert size % 2 == 0


def test_instances_are_divided_over_lanes_by_whole_studies() -> None:
    every = made(SMALL)

    lanes = split(every, 2)

    assert [[len(study) for study in lane] for lane in lanes] == [[5], [5]]
    assert {one.sop_uid for lane in lanes for study in lane for one in study} == {one.sop_uid for one in every}
    assert every[0].pixels is every[-1].pixels


def test_a_delay_counts_from_the_acknowledgement() -> None:
    clock = Clock(due={"1": 0.0, "2": 1.0}, acked={"1": 1.0, "2": 2.0, "3": 3.0}, seen={"1": 1.5, "2": 3.0})

    assert clock.delays() == [0.5, 1.0]
    assert clock.unseen() == ["3"]
    assert replace(clock, acked={}).delays() == []


def test_a_sender_that_is_stopped_waits_for_no_later_instance() -> None:
    archive, clock, every = Archive(always(0)), Clock(), list(instances(SMALL))
    clock.over.set()

    with archive.running() as peer:
        send([every], peer, clock, time.monotonic() + 3600, 1.0)

    assert (clock.acked, archive.kept) == ({}, {})


def test_a_percentile_is_one_of_the_values() -> None:
    ordered = [n / 1000 for n in range(1, 101)]

    assert [at(share, ordered) for share in (0.5, 0.99, 1)] == [51, 100, 100]


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", ["latency", "hostile", "gateway"])
def test_a_benchmark_without_a_running_stack_says_so_and_leaves_no_file(module: str, tmp_path: Path) -> None:
    done = run(f"tests.bench.{module}", "--data", tmp_path / "none")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"no stack runs on {tmp_path / 'none'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("tests.bench", "latency"),
        ("tests.bench", "--only", "ingest,other"),
        ("tests.bench", "--rounds", "0"),
        ("tests.bench.check",),
        ("tests.bench.read_load", "http://127.0.0.1:8060/", "0", "1"),
        ("tests.bench.fill_catalog", "0"),
        ("tests.bench.latency", "--data", "none", "--associations", "0"),
        ("tests.bench.gateway", "--data", "none", "--slices", "3"),
        ("tests.support.machine.running_stack", "none"),
    ],
    ids=" ".join,
)
def test_impossible_arguments_are_a_usage_error(words: tuple[str, ...]) -> None:
    done = run(*words)

    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: python -m {words[0]} ")


@pytest.mark.parametrize(
    ("read", "wrong", "right"),
    [
        (count(1), "0", "a whole number, at least 1"),
        (count(20), "19", "a whole number, at least 20"),
        (count(1), "two", "a whole number, at least 1"),
        (amount, "0", "a number above 0"),
        (amount, "nan", "a number above 0"),
        (amount, "fast", "a number above 0"),
    ],
)
def test_an_invalid_number_is_refused_with_what_is_expected(
    read: Callable[[str], float], wrong: str, right: str
) -> None:
    with pytest.raises(ArgumentTypeError, match=f"'{wrong}' should be {right}"):
        read(wrong)


def test_a_valid_number_is_read() -> None:
    assert (count(1)("1"), amount("0.5")) == (1, 0.5)


def test_a_benchmarks_temporary_folder_is_removed_on_sigterm(tmp_path: Path) -> None:
    waiting = (
        "import sys, tempfile; from tests.support.machine.running_stack import end_on_term; end_on_term();"
        "folder = tempfile.TemporaryDirectory(); folder.__enter__(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", waiting],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = list(tmp_path.iterdir())
        process.terminate()
        process.wait(30)

    assert len(before) == 1
    assert list(tmp_path.iterdir()) == []

"""An audit is quick, bounded in memory, and goes on where it was killed.

    FLUORO_TEST_INSTANCES=10000 .venv/bin/python -m pytest -s tests/e2e/auditing/test_ten_thousand.py

is the measurement for docs/guarantees.md.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deploy.local.running import wait_until
from tests.audit.collect.object_store import GROUP
from tests.support.data.generate import token, uid
from tests.support.data.small_instances import part10_file
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.stow import Door, stow

INSTANCES = int(os.environ.get("FLUORO_TEST_INSTANCES", "300"))
IN_A_STUDY = 250
# What an audit may take of the processor's time: to begin, and for each instance.
BEGIN_S, CPU_MS = 10.0, 4.0
# The full measurement, by a clock on the wall.
FULL, FULL_S = 10_000, 60.0
# Resident memory: to begin, and for each instance.
BEGIN_MB, KB = 250, 16


class Run(NamedTuple):
    """One run of the auditor: its verdict, seconds, CPU seconds, and the most memory that it had, in MB."""

    verdict: dict[str, Any]
    wall_s: float
    cpu_s: float
    most_mb: float


def small_files(folder: Path) -> list[Path]:
    return [written(folder, number) for number in range(INSTANCES)]


def written(folder: Path, number: int) -> Path:
    study, series = uid("speed", number // IN_A_STUDY), uid("speed", number // IN_A_STUDY, number % 2)
    facts = {"modality": ("CS", b"CT"), "patient_name": ("PN", token(31, number // IN_A_STUDY).encode())}
    path = folder / f"{number}.dcm"
    path.write_bytes(part10_file(study, series, uid("speed", number), **facts))
    return path


def command(proof: Proof, out: Path) -> list[str]:
    address = address_of(proof.archive)
    options = {"--api": [address.api], "--dimse-ledger": [str(proof.ledger.path)], "--logs": map(str, address.logs)}
    options |= {"--metrics": address.metrics, "--out": [str(out / "out.json")], "--resume": [str(out / "resume")]}
    given = [text for name, values in options.items() for value in values for text in (name, value)]
    return [sys.executable, "-m", "tests.audit.auditor", *given]


def audited(proof: Proof, folder: Path) -> Run:
    began = time.monotonic()
    env = os.environ | dict(address_of(proof.archive).env)
    process = subprocess.Popen(command(proof, folder), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr
    with process.stderr as said:
        assert process.returncode == 0, said.read()
    verdict = json.loads((folder / "out.json").read_text())
    return Run(verdict, time.monotonic() - began, used.ru_utime + used.ru_stime, verdict["most_mb"])


def has_group(resume: Path) -> bool:
    """True if the file has the first group of objects, and not just a part of it."""
    return resume.exists() and resume.read_text().count("\n") > GROUP


def kill_while_it_reads(proof: Proof, folder: Path) -> None:
    env, resume = os.environ | dict(address_of(proof.archive).env), folder / "resume"
    with subprocess.Popen(command(proof, folder), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: has_group(resume) or run.poll() is not None, 60, "nothing was read")
        run.send_signal(signal.SIGKILL)


def test_an_audit_is_quick_and_goes_on_where_it_was_killed(proof: Proof, tmp_path: Path) -> None:
    statuses = stow(small_files(tmp_path), Door(proof.archive.api_url), proof.ledger, requests=6, at_once=50)
    assert set(statuses.values()) == {"0000"}
    assert proof.wrong() == {}

    whole = audited(proof, tmp_path)
    kill_while_it_reads(proof, tmp_path)
    resumed = audited(proof, tmp_path)

    report([whole, resumed])
    objects = whole.verdict["seen"]["objects"]
    assert whole.verdict["seen"]["hashed"] == resumed.verdict["seen"]["hashed"] == objects
    assert whole.verdict["seen"]["hashed before"] == 0
    assert resumed.verdict["seen"]["hashed before"] >= GROUP
    assert not (tmp_path / "resume").exists()
    assert whole.cpu_s < BEGIN_S + CPU_MS * objects / 1000
    assert whole.wall_s < FULL_S or objects < FULL
    assert whole.most_mb < BEGIN_MB + KB * objects / 1024


def report(runs: Sequence[Run]) -> None:
    for run in runs:
        sys.stdout.write(
            f"\n{run.verdict['verdict']}\n{run.wall_s:.1f} s, {run.cpu_s:.1f} s of CPU, {run.most_mb:.0f} MB\n"
        )
        sys.stdout.write(f"{run.verdict['seconds']}, {run.verdict['seen']['hashed before']} hashed before\n")

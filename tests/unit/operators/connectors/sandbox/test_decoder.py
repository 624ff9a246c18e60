"""A decoding process is isolated and stays within its limits, whatever bytes it decodes."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from operators.connectors.sandbox.process import ProcessDied, SandboxProcess
from operators.imaging.job import RenderJob
from operators.imaging.request import Rendering
from schemas.settings.web import RenderSettings
from tests.support.data.render_jobs import job_of, storable_job_of
from tests.support.faults.memory import memory_bytes
from tests.support.machine.sandbox import GOOD_JOB
from tests.support.worlds.pictures import LIMITS, image


def test_a_process_that_computes_too_long_is_ended_by_the_kernel() -> None:
    endless = "from operators.connectors.sandbox.decoder import limit_cpu; limit_cpu(0)\nwhile True: pass"
    found = subprocess.run([sys.executable, "-c", endless], check=False, timeout=60)

    assert found.returncode == -signal.SIGXCPU


def test_the_largest_image_that_may_be_rendered_fits_into_the_memory_of_a_process() -> None:
    side = 5792  # 64 MiB of 16 bits
    whole = image({"Rows": side, "Columns": side, "BitsAllocated": 16})
    process = SandboxProcess(RenderSettings()).wait_until_ready()
    try:
        for rendering in (Rendering(), Rendering("image/png")):
            job = job_of(whole, rendering=rendering)
            assert job
            assert process.render(job, 60)[0] == ""
        most = memory_of(process.pid)
    finally:
        process.end()

    assert most["VmHWM"] < most["VmPeak"] < 2**30


def memory_of(pid: int) -> dict[str, int]:
    """Return the peaks of a process's memory in bytes: resident (VmHWM) and virtual (VmPeak)."""
    return {name: memory_bytes(name, pid) for name in ("VmHWM", "VmPeak")}


def test_a_process_has_no_secret_and_no_other_descriptor_and_can_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUORO_STORE_SECRET_KEY", "canary")
    with (Path(__file__)).open():
        process = SandboxProcess(LIMITS).wait_until_ready()
        try:
            assert process.render(GOOD_JOB, 20)[0] == ""
            seen = psutil.Process(process.pid)
            limits = Path(f"/proc/{process.pid}/limits").read_text()

            assert seen.num_fds() == 4
            assert not [name for name in seen.environ() if name.startswith("FLUORO")]
            assert seen.rlimit(psutil.RLIMIT_NOFILE) == (4, 4)
            assert seen.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
            assert seen.rlimit(psutil.RLIMIT_AS) == (LIMITS.memory_bytes,) * 2
            assert "Max processes             0" in limits
            assert "NoNewPrivs:\t1" in Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.end()


STARTS_A_PROCESS = """
import time
from operators.connectors.sandbox.process import SandboxProcess
from tests.support.machine.sandbox import GOOD_JOB
from tests.support.worlds.pictures import LIMITS

process = SandboxProcess(LIMITS).wait_until_ready()
process.render(GOOD_JOB, 20)
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_process_ends_with_its_parent_even_when_suspended() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_A_PROCESS], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        child.suspend()
        parent.kill()

        assert child.wait(10) is not None or not child.is_running()


def test_every_odd_and_fuzzed_file_is_answered_by_one_process_within_its_memory(corpus: Path) -> None:
    process, answered = SandboxProcess(LIMITS).wait_until_ready(), 0
    try:
        for path in sorted((corpus / "odd").rglob("*")):
            job = storable_job_of(path.read_bytes()) if path.is_file() else None
            if job:
                reason, picture = process.render(job, 30)
                answered += 1

                assert bool(reason) != bool(picture), path.name
        most = memory_of(process.pid)
    finally:
        process.end()

    assert answered > 60
    assert most["VmPeak"] <= LIMITS.memory_bytes


def test_damaged_frames_can_end_only_their_own_process(corpus: Path) -> None:
    rng = np.random.default_rng(11)
    files = [*sorted((corpus / "ts").rglob("*.dcm"))[::6], *sorted((corpus / "ts/DICOMHTJ2K").iterdir())[:4]]
    process, deaths = SandboxProcess(LIMITS).wait_until_ready(), 0
    try:
        for path in files:
            job = storable_job_of(path.read_bytes())
            for _ in range(4 if job else 0):
                assert job
                frame = bytearray(job.frame[: rng.integers(1, len(job.frame) + 1)])
                for at in rng.integers(0, len(frame), 8):
                    frame[at] = rng.integers(256)
                try:
                    process.render(RenderJob(**{**vars(job), "frame": bytes(frame)}), 30)
                except ProcessDied:
                    deaths += 1
                    process.end()
                    process = SandboxProcess(LIMITS).wait_until_ready()
    finally:
        process.end()

    assert deaths <= len(files)

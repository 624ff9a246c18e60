"""Steps run side by side in the order of their needs; the first failure stops the others and is reported with its log."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.errors import Failed
from deploy.install.step_context import StepContext
from deploy.install.steps import Installation, InstallStep, StepResult, summary


def silent(_: str) -> None:
    return None


def step(
    name: str, make: Callable[[StepContext], object], *needs: str, is_ready: bool = False, result: Path = Path("/none")
) -> InstallStep:
    def made(context: StepContext) -> None:
        make(context)

    return InstallStep(
        name=name,
        needs=needs,
        room=Path("/"),
        room_bytes=0,
        results=(result,),
        is_ready=lambda: is_ready,
        make=made,
    )


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "logs", silent)


def test_a_step_waits_for_the_steps_that_it_needs(installation: Installation) -> None:
    done: list[str] = []
    results = installation.run(
        [
            step("jars", lambda _: done.append("jars")),
            step("class", lambda _: done.append("class"), "jars"),
        ]
    )

    assert done == ["jars", "class"]
    assert list(results) == ["jars", "class"]


def test_a_step_is_reported_with_its_time_and_the_bytes_that_it_left(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "jars"
    made = step("jars", lambda _: path.write_bytes(bytes(3_000_000)), result=path)
    result = Installation(tmp_path / "logs", lines.append).run([made])["jars"]

    assert result.disk_bytes == 3_000_000
    assert 0 <= result.took_s < 60
    assert lines == ["jars ...", f"jars: {result.took_s:.1f} s, 3 MB on disk"]


def test_a_part_that_is_ready_is_not_made_again(installation: Installation) -> None:
    def again(_: StepContext) -> None:
        raise AssertionError

    assert installation.run([step("jars", again, is_ready=True)]) == {}


def test_steps_run_side_by_side(installation: Installation) -> None:
    both = threading.Barrier(2)
    results = installation.run([step(name, lambda _: both.wait(10)) for name in ("one", "two")])

    assert set(results) == {"one", "two"}


def test_a_failure_stops_the_subprocesses_of_the_others(installation: Installation) -> None:
    began = threading.Event()

    def long(context: StepContext) -> None:
        began.set()
        context.run([sys.executable, "-c", "import time; time.sleep(600)"])

    def broken(_: StepContext) -> None:
        began.wait(10)
        raise Failed("it broke: mend it")

    start = time.monotonic()
    with pytest.raises(Failed, match="broken: it broke: mend it"):
        installation.run([step("long", long), step("broken", broken), step("after", lambda _: None, "broken")])

    assert time.monotonic() - start < 60
    assert "after" not in installation.began
    assert all(child.poll() is not None for child in installation.subprocesses.running)


def test_a_failed_command_is_reported_with_what_to_do_and_its_output_is_in_the_log(installation: Installation) -> None:
    output = "error: dns error: failed to lookup address information"
    command = [sys.executable, "-c", f"raise SystemExit({output!r})"]
    with pytest.raises(Failed, match=r"no network.*log: .*jars\.log"):
        installation.run([step("jars", lambda context: context.run(command))])

    assert output in (installation.logs / "jars.log").read_text(encoding="utf-8")


def test_a_missing_program_is_reported_like_a_failed_command(installation: Installation) -> None:
    with pytest.raises(Failed, match=r"No such file.*log: "):
        installation.run([step("jars", lambda context: context.run(["/nonexistent/program"]))])


def test_the_summary_adds_megabytes_but_not_overlapping_seconds() -> None:
    lines = summary({"a": StepResult(5.0, 3_000_000), "b": StepResult(6.0, 0)}, 7.0).splitlines()

    assert lines[-1].split()[-2:] == ["7.0", "3.0"]

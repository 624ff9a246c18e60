"""A step builds a folder that appears only when complete, one installer at a time, and logs its commands."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.errors import Failed
from deploy.install.step_context import StepContext
from deploy.install.subprocesses import Stopped, Subprocesses


def silent(_: str) -> None:
    return None


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StepContext]:
    with (tmp_path / "log").open("wb") as log:
        yield StepContext(Subprocesses(), log, silent)


def test_a_folder_appears_only_when_complete(context: StepContext, tmp_path: Path) -> None:
    path = tmp_path / "server-1"

    def fail() -> None:
        with context.building(path) as building:
            assert building is not None
            (building[1] / "half").touch()
            raise Failed("no network")

    with pytest.raises(Failed):
        fail()
    left = {path.name for path in tmp_path.iterdir()} - {"log"}
    with context.building(path) as building:
        assert building is not None
        (building[1] / "whole").touch()
        hidden = not path.exists()

    assert left == {"server-1.lock"}
    assert hidden
    assert [path.name for path in path.iterdir()] == ["whole"]


def test_the_leftovers_of_a_killed_run_are_deleted(context: StepContext, tmp_path: Path) -> None:
    (tmp_path / "server-1.partial" / "old").mkdir(parents=True)
    with context.building(tmp_path / "server-1") as building:
        assert building is not None
        names = list(building[1].iterdir())

    assert names == []


def test_a_second_installer_waits_and_then_finds_the_folder_made(context: StepContext, tmp_path: Path) -> None:
    path = tmp_path / "server-1"
    waits = threading.Event()
    found: list[bool] = []

    def second() -> None:
        other = StepContext(context.subprocesses, context.log, lambda _: waits.set())
        with other.building(path) as building:
            found.append(building is None)

    with context.building(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(20)
    thread.join(20)

    assert found == [True]


def test_a_step_that_waits_for_another_installer_can_be_stopped(context: StepContext, tmp_path: Path) -> None:
    outcome: list[str] = []

    def second() -> None:
        stop_at_once = StepContext(Subprocesses(), context.log, lambda _: stop_at_once.subprocesses.stop())
        try:
            with stop_at_once.building(tmp_path / "server-1"):
                outcome.append("made")
        except Stopped:
            outcome.append("stopped")

    with context.building(tmp_path / "server-1"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(20)

    assert outcome == ["stopped"]


def test_the_output_of_a_command_does_not_include_that_of_an_earlier_one(context: StepContext) -> None:
    outputs = [context.run([sys.executable, "-c", f"print({word!r})"]) for word in ("one", "two")]

    assert outputs == ["one\n", "two\n"]


def test_a_subprocess_has_no_standard_input(context: StepContext) -> None:
    assert context.run([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]).strip() == "''"

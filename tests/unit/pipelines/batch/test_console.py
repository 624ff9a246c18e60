"""A batch pipeline's command names its run, goes on with it, and tells by its exit status how it ended."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from operators.errors import Unavailable
from pipelines.batch.console import BatchCommand, carry_out, make_parser, parsed
from pipelines.batch.journal import Finished
from pipelines.batch.rebuild import command as rebuild
from pipelines.batch.running import Shift, Work
from pipelines.batch.selection import Selection
from pipelines.batch.terminal import DONE, LEFT_OUT, NOT_DONE, STOPPED_BY_USER, WRONG, ended
from pipelines.batch.verify import command as verify
from pipelines.batch.walk import Size

Command = Callable[[Sequence[str], Mapping[str, str]], int]
PIPELINES: tuple[Command, ...] = (rebuild.main, verify.main)


async def finish(shift: Shift) -> None:
    shift.journal.finish(Finished("local/1.2/", {"studies": 1, "objects": 3}))


async def leave_out(shift: Shift) -> None:
    shift.journal.finish(Finished("local/1.2/", {"objects": 1}, {"local/1.2/x": "no-envelope"}))


async def leave_out_a_hostile_key(shift: Shift) -> None:
    shift.journal.finish(Finished("local/1.2/", {"objects": 1}, {"local/1.2/\x1b[2J\n": "foreign-key"}))


async def lack_the_store(_: Shift) -> None:
    raise Unavailable("store-503", "http://127.0.0.1:9: 503")


async def be_interrupted(_: Shift) -> None:
    raise KeyboardInterrupt


async def look() -> Size:
    return Size(1, 3)


def carried_out(runs: Path, work: Work, *arguments: str, selection: Selection = Selection()) -> int:  # noqa: B008
    options, rest = parsed(make_parser("rebuild", "", "some were left out"), ["--run", "one", *arguments])
    return ended(lambda: carry_out(BatchCommand("rebuild", work, selection, runs, look), options, rest))


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (finish, DONE, "rebuild: done: 1 studies."),
        (leave_out, LEFT_OUT, "local/1.2/x: no-envelope"),
        (leave_out_a_hostile_key, LEFT_OUT, "local/1.2/?[2J?: foreign-key"),
        (lack_the_store, NOT_DONE, "the object store cannot be used: http://127.0.0.1:9: 503: --run one goes on."),
        (be_interrupted, STOPPED_BY_USER, "Interrupted: --run one goes on."),
    ],
)
def test_the_status_and_a_line_tell_how_a_run_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], work: Work, status: int, said: str
) -> None:
    assert carried_out(tmp_path, work) == status
    assert said in capsys.readouterr().err


def test_a_finished_run_says_so_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    carried_out(tmp_path, finish)
    capsys.readouterr()

    assert carried_out(tmp_path, lack_the_store) == DONE
    assert "--again begins it anew" in capsys.readouterr().err
    assert carried_out(tmp_path, lack_the_store, "--again") == NOT_DONE


def test_a_run_with_another_selection_is_refused(tmp_path: Path) -> None:
    carried_out(tmp_path, finish)

    assert carried_out(tmp_path, finish, selection=Selection(tenant="local")) == WRONG


def test_what_stopped_a_run_does_not_stop_the_next_one(tmp_path: Path) -> None:
    carried_out(tmp_path, lack_the_store)

    assert carried_out(tmp_path, finish) == DONE


def test_what_is_meant_for_beam_stands_behind_two_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser("rebuild", "", "some were left out")

    options, beams = parsed(parser, ["--run", "one", "--", "--direct_num_workers=2"])
    assert (options.run, beams) == ("one", ["--direct_num_workers=2"])
    with pytest.raises(SystemExit, match="2"):
        parsed(parser, ["--studdy", "1.2.3"])
    assert "--studdy" in capsys.readouterr().err


def test_a_runner_that_beam_does_not_have_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(make_parser("rebuild", "", ""), ["--runner", "Foo"])
    assert "Foo" in capsys.readouterr().err


def test_a_full_disk_of_the_journal_is_a_line_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each line asks the disk for room, and a device that is always full has none.
    journal = tmp_path / "one"
    journal.mkdir()

    async def fill_the_disk(shift: Shift) -> None:
        with open("/dev/full", "ab", buffering=0) as full:  # noqa: ASYNC230, PTH123
            os.dup2(full.fileno(), shift.journal.fileno())
        shift.journal.finish(Finished("local/1.2/"))

    assert carried_out(tmp_path, fill_the_disk) == NOT_DONE
    said = capsys.readouterr().err
    assert "the run's folder cannot be used: " in said
    assert said.endswith("No space left on device: --run one goes on.\n")
    assert carried_out(tmp_path, finish) == DONE


@pytest.mark.parametrize("command", PIPELINES)
def test_settings_that_are_missing_are_named(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(lambda: command([], {})) == WRONG
    assert "FLUORO_STORE_ACCESS_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("command", PIPELINES)
def test_a_store_that_is_down_is_named_and_no_run_begins(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Nobody listens at this port.
    environment = {"FLUORO_STORE_ENDPOINT": "http://127.0.0.1:9", "FLUORO_BATCH_RUNS_DIR": str(tmp_path)}
    keys = {"FLUORO_STORE_ACCESS_KEY": "a", "FLUORO_STORE_SECRET_KEY": "b"}

    assert ended(lambda: command([], environment | keys)) == NOT_DONE
    said = capsys.readouterr().err
    assert said.startswith("the object store cannot be used: ")
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

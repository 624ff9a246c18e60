"""A batch pipeline's command names its run, goes on with it, and tells by its exit status how it ended."""

from argparse import ArgumentParser
from pathlib import Path

import pytest

from operators.errors import Unavailable
from pipelines.batch.console import DONE, LEFT_OUT, NOT_DONE, STOPPED_BY_USER, WRONG, BatchCommand, carry_out
from pipelines.batch.journal import Finished, add_run
from pipelines.batch.running import Shift, Work, add_running
from pipelines.batch.selection import Selection
from pipelines.batch.walk import Size


async def finish(shift: Shift) -> None:
    shift.journal.finish(Finished("local/1.2/", {"studies": 1, "objects": 3}))


async def leave_out(shift: Shift) -> None:
    shift.journal.finish(Finished("local/1.2/", {"objects": 1}, {"local/1.2/x": "no-envelope"}))


async def lack_the_store(_: Shift) -> None:
    raise Unavailable("store-503", "http://127.0.0.1:9: 503")


async def be_interrupted(_: Shift) -> None:
    raise KeyboardInterrupt


def carried_out(runs: Path, work: Work, *arguments: str, selection: Selection = Selection()) -> int:  # noqa: B008
    parser = ArgumentParser()
    add_run(parser)
    add_running(parser)
    options, rest = parser.parse_known_args(["--run", "one", *arguments])
    return carry_out(BatchCommand("rebuild", work, selection, runs, Size(1, 3)), options, rest)


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (finish, DONE, "rebuild: done: 1 studies."),
        (leave_out, LEFT_OUT, "local/1.2/x: no-envelope"),
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

"""The command tells in a line what keeps it from its work."""

from functools import partial
from pathlib import Path

import pytest

from pipelines.batch.rebuild.command import main
from pipelines.batch.terminal import NOT_DONE, WRONG, ended

KEYS = {"FLUORO_STORE_ACCESS_KEY": "a", "FLUORO_STORE_SECRET_KEY": "b"}
# Nobody listens at this port.
NOWHERE = "127.0.0.1:9"


def test_settings_that_are_missing_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(partial(main, [], {})) == WRONG
    assert "FLUORO_STORE_ACCESS_KEY" in capsys.readouterr().err


def test_a_store_that_is_down_is_named_and_no_run_begins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    environment = {**KEYS, "FLUORO_STORE_ENDPOINT": f"http://{NOWHERE}", "FLUORO_BATCH_RUNS_DIR": str(tmp_path)}

    assert ended(partial(main, [], environment)) == NOT_DONE
    said = capsys.readouterr().err
    assert said.startswith("the object store cannot be used: ")
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argument",
    ["--tenant=../x", "--study=1.2/3", "--stored-from=soon", "--shares=0", "--studdy=1.2.3", "--direct_num_workers=2"],
)
def test_wrong_arguments_are_refused(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([argument], KEYS)
    assert argument[2:].split("=", maxsplit=1)[0] in capsys.readouterr().err


def test_the_help_tells_arguments_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"], {})
    said = capsys.readouterr().out
    assert all(word in said for word in ("--stored-from", "--run", "--again", "--runner", "Exit status"))

"""The command refuses what it does not know, and tells in its help what it knows."""

import pytest

from pipelines.batch.rebuild.command import main

KEYS = {"FLUORO_STORE_ACCESS_KEY": "a", "FLUORO_STORE_SECRET_KEY": "b"}


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

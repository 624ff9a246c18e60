"""A command that fails prints a line, without a traceback, and returns a status for scripts."""

import pytest

from deploy.commands import problems
from deploy.errors import Failed
from operators.errors import Rejected, Unavailable
from schemas.settings.reading import SettingsError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (Failed("no conflict is known"), 1, "no conflict is known\n"),
        (Unavailable("store-503"), 1, "the object store does not answer: try again\n"),
        (Unavailable("catalog"), 1, "the catalog's database does not answer: try again\n"),
        (Unavailable("broker-_SSL", "b:9093: no trust"), 1, "the broker cannot be used: b:9093: no trust\n"),
        (Rejected("no-envelope"), 1, "the object was not written by this archive: no-envelope\n"),
        (SettingsError("FLUORO_CATALOG_PORT: should be a whole number"), 2, "FLUORO_CATALOG_PORT: should be a whole"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_problem_is_a_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert problems.run(command) == status
    assert capsys.readouterr().err.startswith(line)


def test_a_command_that_is_done_has_status_0() -> None:
    assert problems.run(lambda: None) == 0

"""What keeps something from being published on the command line is said in a line, with what to do."""

from pathlib import Path

import pytest

from deploy.commands.publishing import failing_in_a_line
from deploy.errors import Failed
from operators.errors import Unavailable
from operators.http.problem import Problem
from tests.support.worlds.gateway import intake_in

LINES: list[tuple[Exception, str]] = [
    (Problem(404, "no-such-study", "look at its UID"), "look at its UID"),
    (Unavailable("broker"), "the broker does not answer: again"),
    (Unavailable("store"), "the object store does not answer: again"),
    (OSError(13, "Permission denied"), r"no file can be made in .* \(Permission denied\): name a folder by FLUORO_"),
]


@pytest.mark.parametrize(("error", "line"), LINES)
def test_each_failure_is_a_line_for_people(tmp_path: Path, error: Exception, line: str) -> None:
    with (
        pytest.raises(Failed, match=f"^{line}"),
        failing_in_a_line(intake_in(tmp_path), "{server} does not answer: again"),
    ):
        raise error


def test_what_nobody_expects_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), failing_in_a_line(intake_in(tmp_path), ""):
        raise ZeroDivisionError

"""Each way in which a command can end has a line for people and an exit status, from its first moment on."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from operators.errors import Unavailable
from pipelines.batch.journal import RunRefused
from pipelines.batch.terminal import NOT_DONE, STOPPED_BY_USER, WRONG, NotDone, ended, printable
from schemas.settings.reading import SettingsError
from tests.support.machine.running_stack import environment_without_settings

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (SettingsError("FLUORO_X should be 1"), WRONG, "FLUORO_X should be 1"),
        (RunRefused("run one is going on"), WRONG, "run one is going on"),
        (NotDone("too many"), NOT_DONE, "too many"),
        (Unavailable("store-503", "127.0.0.1: 503"), NOT_DONE, "the object store cannot be used: 127.0.0.1: 503"),
        (Unavailable("broker"), NOT_DONE, "the broker does not answer"),
        (KeyboardInterrupt(), STOPPED_BY_USER, "Interrupted."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_a_line_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert ended(fail) == status
    assert capsys.readouterr().err == f"{said}\n"


def test_what_others_have_chosen_cannot_control_a_terminal() -> None:
    assert printable("x\x1b[2J\n") == "x?[2J?"


def test_a_command_that_is_interrupted_while_it_is_imported_ends_with_a_line() -> None:
    script = """
        import os, signal, sys
        from importlib.abc import MetaPathFinder
        class Interrupting(MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "apache_beam":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Interrupting())
        from pipelines.batch.terminal import started
        sys.exit(started("rebuild"))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (STOPPED_BY_USER, "Interrupted.\n")


def test_a_command_says_nothing_but_what_keeps_it_from_its_work() -> None:
    command = [sys.executable, "-m", "pipelines.batch.rebuild"]
    environment = environment_without_settings()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == WRONG
    assert all(line.startswith("FLUORO_STORE_") for line in done.stderr.splitlines()), done.stderr

"""`python -m tests` runs a group of tests beside the others, each test once, and fails when either group has failed."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from tests.__main__ import PARTS, WITHOUT_STACK, Beside, ignored, run

ROOT = Path(__file__).parents[2]
# The fixtures that are a running stack, and what starts one.
STACK = re.compile(r"\b(stack|archive):\sRunningStack\b|\bproof:\sProof\b|\bbrought_up\(")
# What `tests/conftest.py` is to a test, for one that lies elsewhere.
PLUGIN = {**os.environ, "PYTEST_ADDOPTS": "-p tests.conftest -p no:cacheprovider"}
SOON_S = 180.0
WAITS = """
import pathlib, signal
import pytest

@pytest.fixture(scope="session")
def server():
    yield
    pathlib.Path({ended!r}).touch()

def test_waits(server):
    pathlib.Path({began!r}).touch()
    signal.pause()
"""
PASSES, FAILS = "def test_one() -> None: assert True\n", "def test_one() -> None: assert not 'a claim that is broken'\n"


@pytest.mark.parametrize(
    ("others", "beside"), [(FAILS, PASSES), (PASSES, FAILS)], ids=["others fail", "those beside fail"]
)
def test_a_run_fails_when_either_group_has_failed(
    others: str, beside: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder, text in ((tmp_path, others), (tmp_path / "beside", beside)):
        folder.mkdir(exist_ok=True)
        (folder / "test_one.py").write_text(text)

    status = run([str(tmp_path)], [Beside((str(tmp_path / "beside"),))])
    printed = capfd.readouterr().out

    assert status == 1
    assert (printed.count("1 passed in"), printed.count("1 failed in")) == (1, 1)
    assert "a claim that is broken" in printed


def test_a_run_that_is_asked_to_end_ends_both_groups_by_their_finalizers(tmp_path: Path) -> None:
    for name in ("others", "beside"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "test_one.py").write_text(WAITS.format(began=str(folder / "began"), ended=str(folder / "ended")))
    others, beside = str(tmp_path / "others"), str(tmp_path / "beside")
    code = f"import tests.__main__ as m; raise SystemExit(m.run([{others!r}], [m.Beside(({beside!r},))]))"

    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=PLUGIN, stdout=subprocess.DEVNULL) as running:
        try:
            wait_until(lambda: len([*tmp_path.glob("*/began")]) == len([*tmp_path.iterdir()]), SOON_S, "no test begins")
        finally:
            running.terminate()
        status = running.wait(SOON_S)

    assert status != 0
    assert sorted(path.parent.name for path in tmp_path.glob("*/ended")) == ["beside", "others"]


def test_every_test_is_in_one_group() -> None:
    groups = (PARTS, WITHOUT_STACK)
    found = [collected((), groups), *(collected(group.paths, groups) for group in groups)]

    assert sorted(itertools.chain(*found)) == collected((), ())
    assert all(found)


def collected(paths: Sequence[str], groups: Sequence[Beside]) -> list[str]:
    """Return the modules of tests that pytest would run at these paths, or at all, beside these groups."""
    others = tuple(one.removeprefix("--ignore=") + "/" for one in ignored(paths, groups))
    modules = (f"{path.relative_to(ROOT)}/" for path in (ROOT / "tests").rglob("test_*.py"))
    mine = tuple(f"{path}/" for path in paths) or ("tests/",)
    return sorted(one for one in modules if one.startswith(mine) and not one.startswith(others))


@pytest.mark.parametrize("path", WITHOUT_STACK.paths)
def test_what_runs_beside_the_others_has_tests_and_none_of_them_starts_a_stack(path: str) -> None:
    folder = ROOT / path
    modules = [folder] if folder.is_file() else sorted(folder.rglob("test_*.py"))

    assert modules
    assert [module.name for module in modules if STACK.search(module.read_text(encoding="utf-8"))] == []

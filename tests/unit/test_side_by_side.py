"""`python -m tests` runs a group of tests beside the others, each test once, and fails when either group has failed."""

import re
from pathlib import Path

import pytest

from tests.__main__ import WITHOUT_STACK, run

ROOT = Path(__file__).parents[2]
# The fixtures that are a running stack, and what starts one.
STACK = re.compile(r"\b(stack|archive):\sRunningStack\b|\bproof:\sProof\b|\bbrought_up\(")
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

    status = run([str(tmp_path)], [str(tmp_path / "beside")], niceness=0)
    printed = capfd.readouterr().out

    assert status == 1
    assert (printed.count("1 passed in"), printed.count("1 failed in")) == (1, 1)
    assert "a claim that is broken" in printed


@pytest.mark.parametrize("path", WITHOUT_STACK)
def test_what_runs_beside_the_others_has_tests_and_none_of_them_starts_a_stack(path: str) -> None:
    folder = ROOT / path
    modules = [folder] if folder.is_file() else sorted(folder.rglob("test_*.py"))

    assert modules
    assert [module.name for module in modules if STACK.search(module.read_text(encoding="utf-8"))] == []

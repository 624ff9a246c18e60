"""`python -m tests` runs the laws beside the other tests, each test once, and fails when either has failed."""

from pathlib import Path

import pytest

from tests.__main__ import run

PASSES, FAILS = "def test_one() -> None: assert True\n", "def test_one() -> None: assert not 'a claim that is broken'\n"


@pytest.mark.parametrize(("others", "laws"), [(FAILS, PASSES), (PASSES, FAILS)], ids=["others fail", "laws fail"])
def test_a_run_fails_when_the_laws_or_the_others_have_failed(
    others: str, laws: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder, text in ((tmp_path, others), (tmp_path / "laws", laws)):
        folder.mkdir(exist_ok=True)
        (folder / "test_one.py").write_text(text)

    status = run([str(tmp_path)], laws=str(tmp_path / "laws"), niceness=0)
    printed = capfd.readouterr().out

    assert status == 1
    assert (printed.count("1 passed in"), printed.count("1 failed in")) == (1, 1)
    assert "a claim that is broken" in printed

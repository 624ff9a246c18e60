"""`python -m tests` runs a group of tests beside the others, each test once, and fails when either group has failed."""

from pathlib import Path

import pytest

from tests.__main__ import WITHOUT_SERVERS, run

ROOT = Path(__file__).parents[2]
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


def test_every_folder_beside_the_others_is_a_folder_of_tests() -> None:
    assert all(list((ROOT / folder).rglob("test_*.py")) for folder in WITHOUT_SERVERS)

"""The command prints what a load of one's own needs."""

import pytest

from deploy.sizing.__main__ import main


def test_a_smaller_load_needs_fewer_cores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--studies", "200", "--burst", "2", "--viewers", "10"]) == 0
    small = capsys.readouterr().out
    assert main([]) == 0
    usual = capsys.readouterr().out

    assert together(small) < together(usual)


def together(printed: str) -> int:
    """Return the cores of all parts in the burst."""
    (line,) = [line for line in printed.splitlines() if line.startswith("| together ")]
    return int(line.split("|")[-2])


@pytest.mark.parametrize("wrong", [["--studies", "0"], ["--burst", "none"], ["--megabytes", "-1"]])
def test_a_number_that_makes_no_sense_is_refused_in_a_line(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)

    assert ended.value.code == 2
    assert "should be a number, at least" in capsys.readouterr().err

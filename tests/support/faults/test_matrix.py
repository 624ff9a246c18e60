"""The table of a run names every row of the fault matrix, and what became of the archive."""

import subprocess
import sys
from pathlib import Path

from tests.support.faults.matrix import Healing, Row, table

ROOT = Path(__file__).parents[3]
ROWS = """
import pytest

@pytest.mark.fault("F14", "{server} is killed")
@pytest.mark.parametrize("server", ["the database"])
def test_heals(server, healing):
    with healing.timed():
        pass
    assert healing.audited({"drift": ["a study"], "doubled": ["1.2", "1.3"], "unindexed": ["1.4"]})

@pytest.mark.fault("F5", "the store is down")
def test_breaks(healing):
    assert healing.audited({}), "a claim that is broken"

@pytest.mark.fault("F6", "the store is slow for ten minutes", full=True)
def test_takes_minutes():
    raise AssertionError

def test_that_is_no_row():
    pass
"""


def test_rows_are_sorted_by_the_number_of_their_fault() -> None:
    rows = [Row("F14", "b", "passed", Healing(0, 0, 1.25)), Row("F5", "a", "passed"), Row("F14", "a", "passed")]

    assert [line.split("|")[1:3] for line in table(rows)[2:]] == [
        [" F5    ", " a            "],
        [" F14   ", " a            "],
        [" F14   ", " b            "],
    ]


def test_a_run_ends_with_the_table_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "test_rows.py").write_text(ROWS)
    plugin = ("-p", "tests.support.faults.matrix", "-p", "no:cacheprovider")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("| F")]

    assert done.returncode == 1
    assert [row.split("|")[1:6] for row in rows] == [
        [" F5    ", " the store is down                 ", " failed  ", " 0    ", " 0       "],
        [" F6    ", " the store is slow for ten minutes ", " skipped ", " -    ", " -       "],
        [" F14   ", " the database is killed            ", " passed  ", " 1    ", " 2       "],
    ]
    assert rows[2].endswith(" 0.0 s        |")

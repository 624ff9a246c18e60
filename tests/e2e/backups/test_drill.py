"""A stack that has lost its broker, its jobs' state and the newest rows has everything again after a restore and a rebuild."""

import pytest

from tests import drill


@pytest.mark.fault("F34", "broker and checkpoints are removed, the database is a backup", full=True)
def test_the_drill_ends_with_an_archive_that_has_everything() -> None:
    assert drill.main(["--instances", "400"]) == 0

"""The quiet time after which a study is due depends on its modality."""

import pytest

from schemas.settings.jobs import StudySettings


@pytest.mark.parametrize(("modality", "seconds"), [("CT", 120), ("US", 300), ("CR", 60), (None, 60)])
def test_the_quiet_time_depends_on_the_modality(modality: str | None, seconds: float) -> None:
    assert StudySettings().quiet(modality) == seconds

"""The Flink settings that a job runs under."""

from pathlib import Path

import pytest

from pipelines.engines.flink import RECOVERY, configuration
from pipelines.jobs import CATALOG, STUDY
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError


def test_more_subtasks_than_shards_are_refused() -> None:
    with pytest.raises(SettingsError, match="FLUORO_JOB_SHARDS"):
        configuration(CATALOG, JobSettings(parallelism=2, shards=1))


def test_the_settings_name_a_checkpoint_only_if_there_is_one() -> None:
    checkpoint = Path("/data/study/thread/run/chk-7")

    assert RECOVERY not in configuration(STUDY, JobSettings())
    assert configuration(STUDY, JobSettings(), checkpoint)[RECOVERY] == "file:///data/study/thread/run/chk-7"

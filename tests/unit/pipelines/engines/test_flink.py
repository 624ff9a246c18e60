"""The Flink settings that a job runs under."""

from pathlib import Path

from pipelines.engines.flink import RECOVERY, configuration
from pipelines.jobs import STUDY
from schemas.settings.jobs import JobSettings


def test_the_settings_name_a_checkpoint_only_if_there_is_one() -> None:
    checkpoint = Path("/data/study/thread/run/chk-7")

    assert RECOVERY not in configuration(STUDY, JobSettings())
    assert configuration(STUDY, JobSettings(), checkpoint)[RECOVERY] == "file:///data/study/thread/run/chk-7"

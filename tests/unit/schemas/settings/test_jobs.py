"""The settings of the jobs: the quiet time depends on the modality, and a key for pseudonyms is no word."""

import pytest

from schemas.settings.jobs import FactsSettings, StudySettings
from schemas.settings.reading import SettingsError, load


@pytest.mark.parametrize(("modality", "seconds"), [("CT", 120), ("US", 300), ("CR", 60), (None, 60)])
def test_the_quiet_time_depends_on_the_modality(modality: str | None, seconds: float) -> None:
    assert StudySettings().quiet(modality) == seconds


def test_a_key_that_can_be_guessed_is_refused_without_being_repeated() -> None:
    with pytest.raises(SettingsError, match="should be at least 32 characters") as refused:
        load(FactsSettings, {"FLUORO_FACTS_KEY": "hunter2"})

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "a key of thirty-two characters.."])
def test_a_long_key_or_none_is_taken_and_never_shown(key: str) -> None:
    settings = load(FactsSettings, {"FLUORO_FACTS_KEY": key})

    assert settings.key == key
    assert "thirty-two" not in repr(settings)

"""What holds for every section: its defaults are valid, its names are its own, .env.example lists it."""

import re
from pathlib import Path

import pytest

from schemas.settings.dimse import DimseSettings
from schemas.settings.jobs import StudySettings
from schemas.settings.reading import SettingsError, load, to_env
from tests.support.data.sections import every_section, names_of

EXAMPLE = Path(__file__).parents[4] / ".env.example"


@pytest.mark.parametrize("kind", every_section(), ids=[kind.__name__ for kind in every_section()])
def test_a_child_reads_back_what_its_parent_wrote(kind: type[object]) -> None:
    assert load(kind, to_env(kind())) == kind()


def test_names_of_other_sections_and_tools_are_left_alone() -> None:
    tooling = ("FLUORO_DATA", "FLUORO_CACHE", "FLUORO_MINIO", "FLUORO_TESTS", "FLUORO_CORPUS", "FLUORO_TEST_FRAMES")
    for kind in every_section():
        others = [name for other in every_section() if other is not kind for name in names_of(other)]

        assert load(kind, dict.fromkeys([*tooling, *others], "?")) == kind()


def test_the_example_file_lists_every_setting_with_its_default_in_order() -> None:
    listed = [line.removeprefix("# ") for line in EXAMPLE.read_text().splitlines() if re.match("# FLUORO_.*=", line)]
    known = [[f"{name}={value}" for name, value in to_env(kind()).items()] for kind in every_section()]
    in_file_order = sorted(known, key=lambda lines: listed.index(lines[0]))

    # The number of cores is the default of one.
    assert listed == [one for lines in in_file_order for one in lines if "DIMSE_PROCESSES" not in one]


@pytest.mark.parametrize(("modality", "seconds"), [("CT", 120), ("US", 300), ("CR", 60), (None, 60)])
def test_quiet_time_goes_by_modality(modality: str | None, seconds: float) -> None:
    assert StudySettings().quiet(modality) == seconds


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("FLUORO_DIMSE_AE_TITLE", "", "1 to 16 printable characters, no space or \\"),
        ("FLUORO_DIMSE_ONLY_CALLED_AE", "TWO WORDS", "empty, or 1 to 16 printable characters, no space or \\"),
        ("FLUORO_DIMSE_BALANCERS", "10.1.0.1/16", "networks separated by commas, such as 10.1.0.0/16,10.2.0.0/16"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_with_the_right_form(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(DimseSettings, {name: value})

    assert str(caught.value) == f"{name}: should be {wanted}"

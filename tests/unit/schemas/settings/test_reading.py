"""A section of settings is read from the environment, and all its problems are reported at once."""

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings
from schemas.settings.jobs import StudySettings
from schemas.settings.reading import SettingsError, load, load_all, to_env
from schemas.settings.servers import StoreSettings
from schemas.settings.web import ApiSettings
from tests.support.data.sections import every_section, names_of

EXAMPLE = Path(__file__).parents[4] / ".env.example"


@dataclass(frozen=True)
class Sections:
    """Sections that one process reads."""

    store: StoreSettings
    dimse: DimseSettings
    intake: IntakeSettings


def problems(kind: type[object], env: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(kind, env)
    return str(caught.value).splitlines()


def test_without_variables_every_setting_has_its_default() -> None:
    assert load(DimseSettings, {}) == DimseSettings()


def test_every_problem_is_reported_at_once() -> None:
    env = {"FLUORO_DIMSE_PORT": "dicom", "FLUORO_DIMSE_IDLE_S": "-1", "FLUORO_DIMSE_TENANT": "A B"}

    assert problems(DimseSettings, env) == [
        "FLUORO_DIMSE_PORT: should be a whole number",
        "FLUORO_DIMSE_TENANT: should be 1 to 32 small letters, digits and -",
        "FLUORO_DIMSE_IDLE_S: should be at least 0.1",
    ]


def test_the_problems_of_all_sections_are_reported_each_once() -> None:
    env = {"FLUORO_DIMSE_PORT": "70000", "FLUORO_INTAKE_DEPTH": "0", "FLUORO_GATEWAY_IDEL_S": "5"}

    with pytest.raises(SettingsError) as caught:
        load_all(Sections, env, with_store_keys=True)

    assert str(caught.value).splitlines() == [
        "FLUORO_DIMSE_PORT: should be at most 65535",
        "FLUORO_GATEWAY_IDEL_S: is not a setting; FLUORO_DIMSE_IDLE_S is",
        "FLUORO_INTAKE_DEPTH: should be at least 1",
        "FLUORO_STORE_ACCESS_KEY, FLUORO_STORE_SECRET_KEY: should be set, or each as a _FILE",
    ]


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hidden\n")

    assert load(StoreSettings, {"FLUORO_STORE_SECRET_KEY_FILE": str(tmp_path / "key")}).secret_key == "hidden"


def test_a_missing_secret_file_is_reported_without_a_traceback(tmp_path: Path) -> None:
    env = {"FLUORO_STORE_SECRET_KEY_FILE": str(tmp_path / "absent")}

    assert problems(StoreSettings, env) == ["FLUORO_STORE_SECRET_KEY_FILE: cannot be read: No such file or directory"]


def test_a_secret_given_instead_of_the_name_of_its_file_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    for path in ("hidden", str(tmp_path / "key")):
        (problem,) = problems(StoreSettings, {"FLUORO_STORE_SECRET_KEY_FILE": path})

        assert problem.startswith("FLUORO_STORE_SECRET_KEY_FILE: ")
        assert path not in problem


def test_a_secret_is_masked() -> None:
    assert "hidden" not in repr(StoreSettings(secret_key="hidden"))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused(number: str) -> None:
    env = {"FLUORO_DIMSE_IDLE_S": number}

    assert problems(DimseSettings, env) == ["FLUORO_DIMSE_IDLE_S: should be a finite number"]


@pytest.mark.parametrize(
    ("kind", "name", "likely"),
    [
        (DimseSettings, "FLUORO_DIMSE_IDEL_S", "FLUORO_DIMSE_IDLE_S"),
        (DimseSettings, "FLUORO_DIMSE_PORT_FILE", None),
        (DimseSettings, "FLUORO_GATEWAY_IDEL_S", "FLUORO_DIMSE_IDLE_S"),
        (IntakeSettings, "FLUORO_GATEWAY_IDEL_S", "FLUORO_DIMSE_IDLE_S"),
        (DimseSettings, "FLUORO_DIMSE_SPOOL_DIR", "FLUORO_INTAKE_SPOOL_DIR"),
        (StoreSettings, "FLUORO_STORE_SPOOL_DIR", None),
        (ApiSettings, "FLUORO_API_RENDER_QEUE", "FLUORO_RENDER_QUEUE"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_likely_right_one(
    kind: type[object], name: str, likely: str | None
) -> None:
    line = f"{name}: is not a setting" + (f"; {likely} is" if likely else "")

    assert problems(kind, {name: "5"}) == [line]


def test_a_misspelt_name_is_left_to_the_processes_that_read_its_section() -> None:
    assert load(StudySettings, {"FLUORO_DIMSE_IDEL_S": "5", "FLUORO_GATEWAY_IDEL_S": "5"}) == StudySettings()


@pytest.mark.parametrize(("flag", "is_refused"), [("", True), ("0", True), ("1", False)])
def test_a_setting_for_tests_is_refused_outside_of_tests(flag: str, is_refused: bool) -> None:  # noqa: FBT001
    env = {"FLUORO_INTAKE_FAILPOINT": "after_put:3", "FLUORO_TESTS": flag}

    with pytest.raises(SettingsError, match="for tests only") if is_refused else nullcontext():
        load(IntakeSettings, env)


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

    # The default of FLUORO_DIMSE_PROCESSES is the number of cores.
    assert listed == [line for lines in in_file_order for line in lines if "DIMSE_PROCESSES" not in line]

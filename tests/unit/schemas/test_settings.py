"""Settings are read once, whole, and say everything that is wrong with them."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from schemas import settings
from schemas.settings import GatewaySettings, SettingsError, StoreSettings, StudySettings, load, to_env


def test_no_variables_give_the_defaults_of_the_local_stack() -> None:
    assert load(GatewaySettings, {}) == GatewaySettings()


def test_every_problem_is_reported_at_once() -> None:
    env = {"FLUORO_GATEWAY_PORT": "dicom", "FLUORO_GATEWAY_IDLE_S": "-1", "FLUORO_GATEWAY_TENANT": "A B"}
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, env)

    assert str(caught.value).splitlines() == [
        "FLUORO_GATEWAY_PORT: should be a whole number",
        "FLUORO_GATEWAY_TENANT: is not a usable value",
        "FLUORO_GATEWAY_IDLE_S: should be at least 0.1",
    ]


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hidden\n")

    assert load(StoreSettings, {"FLUORO_STORE_SECRET_KEY_FILE": str(tmp_path / "key")}).secret_key == "hidden"


def test_a_missing_secret_file_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(StoreSettings, {"FLUORO_STORE_SECRET_KEY_FILE": str(tmp_path / "absent")})

    assert str(caught.value) == "FLUORO_STORE_SECRET_KEY_FILE: cannot be read: No such file or directory"


def test_a_secret_in_the_place_of_its_file_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    for path in ("hidden", str(tmp_path / "key")):
        with pytest.raises(SettingsError, match="FLUORO_STORE_SECRET_KEY_FILE") as caught:
            load(StoreSettings, {"FLUORO_STORE_SECRET_KEY_FILE": path})

        assert path not in str(caught.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused(number: str) -> None:
    with pytest.raises(SettingsError, match=r"^FLUORO_GATEWAY_IDLE_S: should be a finite number$"):
        load(GatewaySettings, {"FLUORO_GATEWAY_IDLE_S": number})


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("FLUORO_GATEWAY_IDEL_S", "FLUORO_GATEWAY_IDEL_S: is no setting; FLUORO_GATEWAY_IDLE_S is"),
        ("FLUORO_GATEWAY_PORT_FILE", "FLUORO_GATEWAY_PORT_FILE: is no setting"),
    ],
)
def test_a_misspelt_name_is_refused(name: str, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {name: "5", "FLUORO_GATEWAY_STALL_S": "5"})

    assert str(caught.value) == line


def test_names_of_others_are_left_alone() -> None:
    tooling = ("FLUORO_DATA", "FLUORO_CACHE", "FLUORO_MINIO", "FLUORO_TESTS", "FLUORO_CORPUS", "FLUORO_TEST_FRAMES")
    others = [name for kind in settings.SECTIONS for name in to_env(kind())]

    for kind in settings.SECTIONS:
        env = dict.fromkeys([*tooling, *(name for name in others if f"_{kind.section}_" not in name)], "?")
        assert load(kind, env) == kind()


def test_the_misspelt_name_of_a_section_that_is_not_read_is_its_readers_to_tell() -> None:
    assert load(StudySettings, {"FLUORO_GATEWAY_IDEL_S": "5"}) == StudySettings()


def test_a_secret_never_shows() -> None:
    assert "hidden" not in repr(StoreSettings(secret_key="hidden"))


@pytest.mark.parametrize("kind", settings.SECTIONS, ids=[kind.__name__ for kind in settings.SECTIONS])
def test_a_child_reads_back_what_its_parent_wrote(kind: type[object]) -> None:
    assert load(kind, to_env(kind())) == kind()


@pytest.mark.parametrize(("modality", "seconds"), [("CT", 120), ("US", 300), ("CR", 60), (None, 60)])
def test_quiet_time_goes_by_modality(modality: str | None, seconds: float) -> None:
    assert StudySettings().quiet(modality) == seconds


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    example = (Path(__file__).parents[3] / ".env.example").read_text()
    listed = [line.removeprefix("# ") for line in example.splitlines() if line.startswith("# FLUORO_") and "=" in line]
    known = [f"{name}={value}" for kind in settings.SECTIONS for name, value in to_env(kind()).items()]

    assert listed == [one for one in known if "PROCESSES" not in one]


@pytest.mark.parametrize(("flag", "is_refused"), [("", True), ("0", True), ("1", False)])
def test_what_only_hurts_is_refused_outside_of_tests(flag: str, is_refused: bool) -> None:  # noqa: FBT001
    env = {"FLUORO_GATEWAY_FAILPOINT": "after_put:3", "FLUORO_TESTS": flag}

    with pytest.raises(SettingsError, match="for tests alone") if is_refused else nullcontext():
        load(GatewaySettings, env)

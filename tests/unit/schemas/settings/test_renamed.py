"""The old name of a renamed setting is read for one release, and a line names the new one."""

import pytest

from schemas.settings import renamed
from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.jobs import StudySettings
from schemas.settings.reading import SettingsError, load
from schemas.settings.renamed import RENAMED, without_old_names
from schemas.settings.servers import StoreSettings
from schemas.settings.web import ApiSettings, RenderSettings
from tests.support.data.sections import every_section, names_of


def test_every_new_name_is_a_setting_and_no_old_name_is() -> None:
    known = {name for section in every_section() for name in names_of(section)}

    assert set(RENAMED.values()) <= known
    assert not RENAMED.keys() & known
    assert len(set(RENAMED.values())) == len(RENAMED)


@pytest.mark.parametrize(
    ("old", "value", "read"),
    [
        ("FLUORO_GATEWAY_PORT", "104", DimseSettings(port=104)),
        ("FLUORO_GATEWAY_FIRST_PDU_BYTES", "8192", DimseSettings(associate_pdu_bytes=8192)),
        ("FLUORO_GATEWAY_DEPTH", "8", IntakeSettings(depth=8)),
        ("FLUORO_GATEWAY_QUARANTINE_DAYS", "7", QuarantineSettings(days=7)),
        ("FLUORO_API_RENDER_CHILDREN", "3", RenderSettings(processes=3)),
    ],
)
def test_an_old_name_is_read_as_the_new_one(old: str, value: str, read: object) -> None:
    assert load(type(read), {old: value}) == read
    assert load(type(read), {old: value, RENAMED[old]: value}) == read


def test_an_old_name_is_reported_once_for_each_process(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        load(IntakeSettings, {"FLUORO_GATEWAY_INFLATE_RATIO": "9"})

    assert capsys.readouterr().err == (
        "FLUORO_GATEWAY_INFLATE_RATIO is now FLUORO_INTAKE_INFLATE_RATIO; the old name is read until the next release\n"
    )


def test_an_old_name_of_a_section_that_is_not_read_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    env = {"FLUORO_GATEWAY_ITEMS": "9", "FLUORO_API_RENDER_CPU_S": "9"}

    assert [load(StudySettings, env), load(ApiSettings, env)] == [StudySettings(), ApiSettings()]
    assert capsys.readouterr().err == ""


def test_both_names_with_different_values_are_a_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        load(IntakeSettings, {"FLUORO_GATEWAY_DEPTH": "8", "FLUORO_INTAKE_DEPTH": "9"})

    assert str(caught.value) == (
        "FLUORO_GATEWAY_DEPTH: is now FLUORO_INTAKE_DEPTH, which has another value: remove FLUORO_GATEWAY_DEPTH"
    )


def test_a_problem_with_the_value_of_an_old_name_names_the_new_one() -> None:
    with pytest.raises(SettingsError, match=r"^FLUORO_INTAKE_DEPTH: should be at most 64$"):
        load(IntakeSettings, {"FLUORO_GATEWAY_DEPTH": "65"})


def test_the_file_of_a_renamed_secret_is_read_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("secrets") / "key"
    path.write_text("hidden\n")
    monkeypatch.setitem(renamed.RENAMED, "FLUORO_OLD_KEY", "FLUORO_STORE_SECRET_KEY")

    assert load(StoreSettings, {"FLUORO_OLD_KEY_FILE": str(path)}).secret_key == "hidden"


def test_an_environment_can_be_written_with_new_names_alone() -> None:
    env = {"FLUORO_GATEWAY_PORT": "1", "FLUORO_DIMSE_HOST": "::1", "FLUORO_GATEWAY_HOST": "127.0.0.1", "HOME": "/"}

    assert without_old_names(env) == {"FLUORO_DIMSE_PORT": "1", "FLUORO_DIMSE_HOST": "::1", "HOME": "/"}

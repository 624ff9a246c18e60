"""A command uses the servers that the environment names, or this machine's local stack if it names none."""

from pathlib import Path

import pytest

from deploy.commands.sections import ADDRESSES, ObjectSections, RowSections, load_sections
from deploy.local.running import RunningStack
from schemas.settings.reading import SettingsError
from tests.support.data.sections import every_section, names_of

CLUSTER = {
    "FLUORO_CATALOG_HOST": "db.example.org",
    "FLUORO_CATALOG_USER": "writer",
    "FLUORO_CATALOG_PASSWORD": "hidden",
    "FLUORO_STORE_ENDPOINT": "http://store.example.org:9000",
    "FLUORO_STORE_ACCESS_KEY": "key",
    "FLUORO_STORE_SECRET_KEY": "secret",
}


class LocalPlan:
    """The plan of a local stack with two settings."""

    def settings(self, role: str) -> dict[str, str]:
        return {"FLUORO_CATALOG_PORT": "20001", "FLUORO_CATALOG_USER": role}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLUORO_DATA", str(tmp_path))


def problem(kind: type[object]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_sections(kind)
    return str(caught.value)


def test_the_environment_is_enough_for_a_cluster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.environ", dict(CLUSTER))
    found = load_sections(ObjectSections)

    assert (found.catalog.host, found.store.endpoint) == ("db.example.org", "http://store.example.org:9000")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["FLUORO_BROKER_BOOTSTRAP", "FLUORO_STORE_SECRET_KEY_FILE"])
def test_with_one_named_server_the_local_stack_is_not_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(RunningStack, "plan", LocalPlan())
    monkeypatch.setenv(name, "/absent")

    assert problem(ObjectSections).splitlines()[-1].startswith("FLUORO_STORE_")


def test_without_a_named_server_the_local_stack_is_used_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(RunningStack, "plan", LocalPlan())
    monkeypatch.setenv("FLUORO_CATALOG_CONNECTIONS", "4")
    found = load_sections(RowSections)

    assert (found.catalog.port, found.catalog.user) == (20001, "writer")
    assert capsys.readouterr().err == f"On the local stack in {tmp_path}:\n"


def test_without_a_named_server_or_a_local_stack_both_ways_are_explained(tmp_path: Path) -> None:
    first, second = problem(RowSections).splitlines()

    assert first == f"no stack runs on {tmp_path}: start one (make up), or set FLUORO_DATA to its folder."
    assert second.startswith("To work with other servers, export FLUORO_CATALOG_*")


def test_the_role_reader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {name: value for name, value in CLUSTER.items() if "USER" not in name})

    assert problem(RowSections) == ("FLUORO_CATALOG_USER: should be writer; reader sees one tenant alone")


def test_every_address_is_a_setting() -> None:
    assert {name for section in every_section() for name in names_of(section)} >= set(ADDRESSES)

